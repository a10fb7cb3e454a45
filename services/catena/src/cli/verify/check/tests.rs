//! Each fault is found where it is, and a broker that does all that it may do is blamed for nothing.

mod model;

use catena_mqtt::QoS;

use self::model::{Model, Sabotage};
use super::*;
use crate::cli::verify::history::{Arrival, Ending, Retained, Seen};

const ONCE: QoS = QoS::ExactlyOnce;
const LEAST: QoS = QoS::AtLeastOnce;

/// Ten acknowledged messages at `qos`, and a subscriber who has got none of them yet.
fn ten(kind: Kind, qos: QoS) -> History {
    let mut history = History::default();
    let mut sent = Sent::new(0, "t", qos);
    let subscription = Subscription::new(kind, 0, "t", vec![0]);
    history.subscriptions.push(subscription);
    history.subscriptions[0].granted(std::slice::from_ref(&sent));
    for _ in 0..10 {
        let number = sent.send();
        sent.acknowledged.insert(number);
    }
    history.sent.push(sent);
    history
}

fn deliver(history: &mut History, numbers: impl IntoIterator<Item = u64>) {
    for sequence in numbers {
        deliver_one(history, sequence, false);
    }
}

fn deliver_one(history: &mut History, sequence: u64, dup: bool) {
    let arrival = Arrival {
        stream: 0,
        sequence,
        qos: history.sent[0].qos,
        dup,
    };
    history.subscriptions[0].take(arrival, &history.sent);
}

fn faults(history: &History) -> Vec<(Fault, u64)> {
    let found = check(history);
    found
        .iter()
        .map(|finding| (finding.fault, finding.count))
        .collect()
}

#[test]
fn what_is_acknowledged_and_not_delivered_is_lost() {
    for kind in [Kind::Persistent, Kind::Ephemeral, Kind::Shared] {
        let mut history = ten(kind, LEAST);
        deliver(&mut history, [0, 1, 2, 5, 6, 8, 9]);
        assert!(!is_complete(&history));
        let found = check(&history);
        assert_eq!(faults(&history), [(Fault::Lost, 3)], "{kind}");
        assert_eq!(found[0].numbers, ["3-4", "7"]);
        deliver(&mut history, [3, 4, 7]);
        assert!(is_complete(&history));
    }
}

// A broker may drop what it never took.
#[test]
fn what_was_not_acknowledged_may_be_missing() {
    let mut history = ten(Kind::Persistent, LEAST);
    let number = history.sent[0].send();
    deliver(&mut history, 0..10);
    assert_eq!(faults(&history), [(Fault::Unanswered, 1)]);
    history.sent[0].abandoned.insert(number);
    assert_eq!(faults(&history), []);
}

#[test]
fn an_ephemeral_subscriber_is_owed_what_lies_between() {
    let mut history = ten(Kind::Ephemeral, LEAST);
    // 2 is missing, though 3 came over the same connection. 4 to 9 may have been on their way.
    deliver(&mut history, [0, 1, 3]);
    history.subscriptions[0].ended();
    assert_eq!(faults(&history), [(Fault::Lost, 1)]);
    // Comes back late: what was sent in between is not owed.
    let sent = history.sent.clone();
    history.subscriptions[0].granted(&sent);
    assert_eq!(faults(&history), [(Fault::Lost, 1)]);
    let number = history.sent[0].send();
    history.sent[0].acknowledged.insert(number);
    assert_eq!(faults(&history), [(Fault::Lost, 2)]);
    deliver(&mut history, [number]);
    assert_eq!(faults(&history), [(Fault::Lost, 1)]);
}

#[test]
fn a_session_that_the_broker_lost_excuses_nothing() {
    let mut history = ten(Kind::Persistent, LEAST);
    deliver(&mut history, 0..5);
    let sent = history.sent.clone();
    history.subscriptions[0].granted(&sent);
    assert_eq!(faults(&history), [(Fault::Lost, 5)]);
}

#[test]
fn twice_is_wrong_at_qos_2_and_worth_a_note_at_qos_1() {
    let mut history = ten(Kind::Persistent, ONCE);
    deliver(&mut history, 0..10);
    deliver(&mut history, [4, 4, 7]);
    assert_eq!(faults(&history), [(Fault::Doubled, 2)]);

    let mut history = ten(Kind::Persistent, LEAST);
    deliver(&mut history, 0..10);
    history.sent[0].resent.insert(3);
    deliver(&mut history, [3, 5]);
    deliver_one(&mut history, 6, true);
    assert_eq!(faults(&history), []);
    let notes = notes(&history);
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes.iter().all(|note| note.starts_with("1 ")), "{notes:?}");
}

#[test]
fn a_first_delivery_after_a_later_one_is_reordered() {
    let numbers = [0, 1, 2, 4, 3, 5, 6, 7, 8, 9];
    let mut history = ten(Kind::Persistent, LEAST);
    deliver(&mut history, numbers);
    assert_eq!(faults(&history), [(Fault::Reordered, 1)]);
    let mut history = ten(Kind::Shared, LEAST);
    deliver(&mut history, numbers);
    assert_eq!(faults(&history), []);
    assert_eq!(notes(&history).len(), 1);
}

// The publisher sends 0 to 9 again after a break. A subscriber who came when 8 was sent sees 8, 9, 0 ...
#[test]
fn what_is_sent_again_from_before_a_subscription_is_not_reordered() {
    let mut history = ten(Kind::Ephemeral, LEAST);
    history.subscriptions[0].ended();
    let mut early = history.sent.clone();
    early[0].next = 8;
    history.subscriptions[0].granted(&early);
    deliver(&mut history, [8, 9, 0, 1, 2]);
    assert_eq!(faults(&history), []);
}

// The first time 4 was refused and 5 was taken, and then the connection broke; the second time 4 was taken too.
#[test]
fn what_is_sent_again_to_a_broker_that_refuses_some_may_come_late() {
    let late = [0, 1, 2, 3, 5, 4, 6, 7, 8, 9];
    for kind in [Kind::Persistent, Kind::Ephemeral] {
        let mut history = ten(kind, LEAST);
        deliver(&mut history, late);
        history.sent[0].resent.insert_range(4..6);
        assert_eq!(faults(&history), [(Fault::Reordered, 1)]);
        let refused = history.sent[0].send();
        history.sent[0].refused.insert(refused);
        assert_eq!(faults(&history), []);
        assert_eq!(notes(&history).len(), 2, "{:?}", notes(&history));
    }
    // Whoever was away when it was taken does not get it, if the session does not outlive a connection.
    for (kind, lost) in [
        (Kind::Ephemeral, vec![]),
        (Kind::Persistent, vec![(Fault::Lost, 1)]),
    ] {
        let mut history = ten(kind, LEAST);
        deliver(&mut history, [0, 1, 2, 3, 5, 6, 7, 8, 9]);
        history.sent[0].resent.insert_range(4..6);
        let refused = history.sent[0].send();
        history.sent[0].refused.insert(refused);
        assert_eq!(faults(&history), lost, "{kind}");
        assert_eq!(is_complete(&history), lost.is_empty());
    }
}

#[test]
fn what_nobody_sent_is_foreign() {
    let mut history = ten(Kind::Persistent, LEAST);
    deliver(&mut history, 0..11);
    assert_eq!(faults(&history), [(Fault::Foreign, 1)]);
}

#[test]
fn a_session_must_be_there_again() {
    let mut history = History::default();
    let mut session = Session::new(Kind::Persistent, 0, true);
    session.connected(false);
    session.connected(true);
    session.connected(false);
    history.sessions.push(session);
    assert_eq!(faults(&history), [(Fault::SessionLost, 1)]);

    // The first CONNECT has no answer, but the broker may have got it.
    let mut session = Session::new(Kind::Persistent, 0, true);
    session.failed();
    session.connected(true);
    session.failed();
    session.connected(true);
    // An ephemeral session never is.
    let mut ephemeral = Session::new(Kind::Ephemeral, 0, false);
    ephemeral.connected(false);
    ephemeral.failed();
    ephemeral.connected(false);
    history.sessions = vec![session, ephemeral.clone()];
    assert_eq!(faults(&history), []);
    ephemeral.connected(true);
    history.sessions.push(ephemeral);
    assert_eq!(faults(&history), [(Fault::SessionStale, 1)]);
}

#[test]
fn a_topic_retains_the_last() {
    let found = |sequence| {
        let mut retained = Retained::new("r");
        retained.send(0, false);
        retained.send(1, false);
        retained.acknowledge(0);
        retained.acknowledge(1);
        retained.seen.push(Seen {
            endpoint: "a:1".to_owned(),
            sequence,
        });
        let mut history = History::default();
        history.retained.push(retained);
        faults(&history)
    };
    assert_eq!(found(Some(1)), []);
    assert_eq!(found(Some(0)), [(Fault::Retained, 1)]);
    assert_eq!(found(None), [(Fault::Retained, 1)]);
}

#[test]
fn wills_come_when_they_must_and_only_then() {
    let mut wills = Wills::new("w");
    for ending in [
        Ending::Broken,
        Ending::Normal,
        Ending::Unclear,
        Ending::Unclear,
        Ending::Broken,
    ] {
        let number = wills.leave();
        wills.ended(number, ending);
    }
    wills.take(0, ONCE);
    wills.take(2, ONCE);
    let mut history = History::default();
    history.wills.push(wills);
    assert_eq!(faults(&history), [(Fault::WillMissing, 1)]);
    history.wills[0].take(4, ONCE);
    assert_eq!(faults(&history), []);
    history.wills[0].take(4, ONCE);
    history.wills[0].take(1, ONCE);
    history.wills[0].take(5, ONCE);
    let all = [
        (Fault::Doubled, 1),
        (Fault::Foreign, 1),
        (Fault::WillWrong, 1),
    ];
    assert_eq!(faults(&history), all);
}

// A tool that cries wolf is switched off.
#[test]
fn a_correct_broker_is_never_blamed() {
    for seed in 0..400 {
        let history = Model::new(seed, None).play();
        assert!(is_complete(&history), "seed {seed}");
        assert_eq!(check(&history), [], "seed {seed}");
    }
}

#[test]
fn one_wrong_delivery_among_many_is_found() {
    for (sabotage, fault) in [
        (Sabotage::Lose, Fault::Lost),
        (Sabotage::Double, Fault::Doubled),
        (Sabotage::Swap, Fault::Reordered),
    ] {
        let mut done = 0;
        for seed in 0..100 {
            let mut model = Model::new(seed, Some(sabotage));
            let history = model.play();
            if model.is_done() {
                done += 1;
                assert_eq!(faults(&history), [(fault, 1)], "seed {seed}");
            }
        }
        assert!(done > 50, "{sabotage:?} happened {done} times");
    }
}
