//! Reads a history and says what a broker must not have done. Pure: history in, findings out.

#[cfg(test)]
mod tests;

use catena_mqtt::QoS;
use serde::Serialize;

use super::history::{History, Kind, Ranges, Sent, Session, Subscription, Wills};

/// What was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Acknowledged, and never delivered to a subscriber whose subscription stood all the time.
    Lost,
    /// Delivered more than once at QoS 2.
    Doubled,
    /// Delivered for the first time after a later message of its publisher, topic and QoS.
    Reordered,
    /// Delivered and never published, or not to that topic.
    Foreign,
    /// A persistent session was gone when its client came back.
    SessionLost,
    /// A session was there that must not be.
    SessionStale,
    /// A topic retains something else than the last acknowledged message.
    Retained,
    /// A connection ended without DISCONNECT, and its will was not sent.
    WillMissing,
    /// A connection ended with DISCONNECT, and its will was sent.
    WillWrong,
    /// Sent and never answered, though the publisher kept asking.
    Unanswered,
    /// Something else that no broker does.
    Odd,
}

/// One thing to report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub fault: Fault,
    /// To whom.
    pub client: String,
    /// Where, and what exactly.
    pub detail: String,
    /// How many messages, sessions or wills.
    pub count: u64,
    /// Which: the first of the numbers, as `first-last`.
    pub numbers: Vec<String>,
}

/// The most ranges of numbers that a finding lists.
const NUMBERS_MAX: usize = 5;

/// Everything that the history shows to be wrong.
pub fn check(history: &History) -> Vec<Finding> {
    let mut found = Vec::new();
    for subscription in &history.subscriptions {
        check_subscription(subscription, history, &mut found);
    }
    for session in &history.sessions {
        check_session(session, &mut found);
    }
    check_retained(history, &mut found);
    for (number, wills) in history.wills.iter().enumerate() {
        check_wills(number, wills, &mut found);
    }
    for sent in &history.sent {
        let client = format!("publisher {}", sent.publisher);
        add(
            &mut found,
            Fault::Unanswered,
            &client,
            place(sent),
            &sent.unanswered(),
        );
    }
    for (what, count) in &history.oddities {
        found.push(Finding {
            fault: Fault::Odd,
            client: String::new(),
            detail: what.clone(),
            count: *count,
            numbers: Vec::new(),
        });
    }
    found.sort_by_key(|finding| finding.fault);
    found
}

/// What is allowed, and worth a word.
pub fn notes(history: &History) -> Vec<String> {
    let mut notes = Vec::new();
    let streams = || {
        let subscriptions = history.subscriptions.iter();
        subscriptions.flat_map(|subscription| {
            let streams = subscription.streams.iter();
            streams.map(move |(stream, received)| (subscription, &history.sent[*stream], received))
        })
    };
    let late: u64 = history
        .subscriptions
        .iter()
        .filter(|subscription| subscription.kind != Kind::Shared)
        .flat_map(|subscription| &subscription.streams)
        .map(|(stream, received)| {
            let in_doubt = history.in_doubt(*stream);
            received.reordered.intersection(&in_doubt).len()
        })
        .sum();
    note(
        &mut notes,
        late,
        "messages came behind later ones after their publisher had to send them again to a broker that refuses some",
    );
    let redelivered: u64 = streams().map(|(.., received)| received.redelivered).sum();
    note(
        &mut notes,
        redelivered,
        "messages came again at QoS 1 with DUP",
    );
    let repeated = |resent: bool| {
        let counts = streams().map(|(_, sent, received)| {
            let of_resent = received.repeated.intersection(&sent.resent).len();
            if resent {
                of_resent
            } else {
                received.repeated.len() - of_resent
            }
        });
        counts.sum()
    };
    note(
        &mut notes,
        repeated(true),
        "messages came again at QoS 1 because their publisher had to send them again",
    );
    note(
        &mut notes,
        repeated(false),
        "messages came again at QoS 1 without DUP, though their publisher sent them once",
    );
    let turned: u64 = streams()
        .filter(|(subscription, ..)| subscription.kind == Kind::Shared)
        .map(|(.., received)| received.reordered.len())
        .sum();
    note(
        &mut notes,
        turned,
        "messages came out of order to shared groups, between whose members nothing is promised",
    );
    let sum = |count: fn(&Sent) -> u64| history.sent.iter().map(count).sum();
    note(
        &mut notes,
        sum(|sent| sent.refused.len()),
        "publishes were refused by reason code",
    );
    note(
        &mut notes,
        sum(|sent| sent.abandoned.len()),
        "publishes were given up because the broker had lost their session",
    );
    notes
}

fn note(notes: &mut Vec<String>, count: u64, what: &str) {
    if count > 0 {
        notes.push(format!("{count} {what}"));
    }
}

/// Whether nothing is missing that may still come.
pub fn is_complete(history: &History) -> bool {
    let complete = |subscription: &Subscription| {
        let mut streams = subscription.streams.keys();
        streams.all(|&stream| history.lost(subscription, stream).is_empty())
    };
    history.sent.iter().all(|sent| sent.unanswered().is_empty())
        && history.subscriptions.iter().all(complete)
        && history.wills.iter().all(|wills| wills.missing().is_empty())
}

fn check_subscription(subscription: &Subscription, history: &History, found: &mut Vec<Finding>) {
    let client = format!("{} {}", subscription.kind, subscription.number);
    for (&stream, received) in &subscription.streams {
        let sent = &history.sent[stream];
        let lost = history.lost(subscription, stream);
        add(found, Fault::Lost, &client, place(sent), &lost);
        let doubled = &received.doubled;
        add(found, Fault::Doubled, &client, place(sent), doubled);
        // A member that goes leaves its messages to others, who have had later ones.
        if subscription.kind != Kind::Shared {
            let reordered = received.reordered.without(&history.in_doubt(stream));
            add(found, Fault::Reordered, &client, place(sent), &reordered);
        }
    }
    let filter = format!("filter {}", subscription.filter);
    add_count(found, Fault::Foreign, &client, filter, subscription.foreign);
}

fn check_session(session: &Session, found: &mut Vec<Finding>) {
    let client = format!("{} {}", session.kind, session.number);
    let gone = "came back and found no session".to_owned();
    add_count(found, Fault::SessionLost, &client, gone, session.lost);
    let stale = "found a session that must not be".to_owned();
    add_count(found, Fault::SessionStale, &client, stale, session.stale);
}

fn check_retained(history: &History, found: &mut Vec<Finding>) {
    let said = |sequence: Option<u64>| match sequence {
        Some(sequence) => format!("message {sequence}"),
        None => "nothing".to_owned(),
    };
    for retained in &history.retained {
        for seen in &retained.seen {
            if !retained.allows(seen.sequence) {
                let detail = format!(
                    "topic {} retains {}; the last acknowledged was {}",
                    retained.topic,
                    said(seen.sequence),
                    said(retained.expected()),
                );
                let client = format!("subscriber at {}", seen.endpoint);
                add_count(found, Fault::Retained, &client, detail, 1);
            }
        }
    }
}

fn check_wills(number: usize, wills: &Wills, found: &mut Vec<Finding>) {
    let client = format!("{} {number}", Kind::Will);
    let place = || format!("topic {}", wills.topic);
    add(
        found,
        Fault::WillMissing,
        &client,
        place(),
        &wills.missing(),
    );
    add(found, Fault::WillWrong, &client, place(), &wills.wrong());
    add(found, Fault::Doubled, &client, place(), &wills.doubled);
    add_count(found, Fault::Foreign, &client, place(), wills.foreign);
}

fn place(sent: &Sent) -> String {
    let qos: QoS = sent.qos;
    format!("topic {} QoS {}", sent.topic, qos as u8)
}

fn add(found: &mut Vec<Finding>, fault: Fault, client: &str, detail: String, numbers: &Ranges) {
    if numbers.is_empty() {
        return;
    }
    let listed = numbers.iter().take(NUMBERS_MAX).map(|range| {
        let (first, last) = (range.start, range.end - 1);
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    found.push(Finding {
        fault,
        client: client.to_owned(),
        detail,
        count: numbers.len(),
        numbers: listed.collect(),
    });
}

fn add_count(found: &mut Vec<Finding>, fault: Fault, client: &str, detail: String, count: u64) {
    if count > 0 {
        found.push(Finding {
            fault,
            client: client.to_owned(),
            detail,
            count,
            numbers: Vec::new(),
        });
    }
}
