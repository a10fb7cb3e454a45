//! The QoS 0 lane: a message that passes by the log goes to everyone who matches, without a change of state `[F-41]` `[C-51]`. One that
//! is for many goes step by step; what is left of it is kept by whoever hosts the shard `[F-60]`.

use std::sync::Arc;

use crate::{
    deliver::{Merged, Targets, merge, untracked},
    effect::{Deliver, Effect},
    id::{ClientKey, Origin, Time},
    index::Matches,
    message::Message,
    op::Publish,
    reader::Attached,
    shard::Shard,
    watch::{What, Why},
};

/// What is left of a message that is for many: it goes to those who matched when it came.
#[derive(Debug)]
pub struct Rest {
    message: Arc<Message>,
    expires_at: Time,
    matches: Arc<Matches>,
    /// How many of the matches have been served.
    done: usize,
}

impl Shard {
    /// Matches a message and delivers it, as far as `work` reaches: one unit, and one for each who matches. What is left goes on by
    /// [`Shard::direct_more`].
    pub fn direct(
        &self,
        publish: &Publish,
        now: Time,
        work: &mut u32,
        out: &mut Vec<(Origin, Effect)>,
    ) -> Option<Rest> {
        *work = work.saturating_sub(1);
        let stale = self
            .readers
            .find(publish.who.client)
            .and_then(|id| self.readers.get(id));
        let message = &publish.message;
        let note = |what| self.watching.note_direct(message, None, what);
        if stale.is_some_and(|reader| publish.who.age() < reader.who.age()) {
            note(What::Dropped(Why::Replaced));
            return None;
        }
        note(What::Applied);
        let matches = self.index.matches(&message.topic);
        if matches.readers.is_empty() && matches.groups.is_empty() {
            note(What::Dropped(Why::NoSubscriber));
            return None;
        }
        let expires_at = message.expires_at(now, self.settings.message_expiry_max);
        let done = self.direct_from(0, message, expires_at, &matches, work, out);
        (done < matches.readers.len() + matches.groups.len()).then(|| Rest {
            message: message.clone(),
            expires_at,
            matches,
            done,
        })
    }

    /// Goes on with what is left, as far as `work` reaches.
    pub fn direct_more(
        &self,
        mut rest: Rest,
        work: &mut u32,
        out: &mut Vec<(Origin, Effect)>,
    ) -> Option<Rest> {
        let (message, matches) = (&rest.message, &rest.matches);
        rest.done = self.direct_from(rest.done, message, rest.expires_at, matches, work, out);
        let is_done = rest.done == rest.matches.readers.len() + rest.matches.groups.len();
        (!is_done).then_some(rest)
    }

    /// Brings a message to the matches from the `from`th on, readers first, then groups; how many have been served then.
    fn direct_from(
        &self,
        from: usize,
        message: &Arc<Message>,
        expires_at: Time,
        matches: &Matches,
        work: &mut u32,
        out: &mut Vec<(Origin, Effect)>,
    ) -> usize {
        let note = |client, what| self.watching.note_direct(message, client, what);
        let mut targets = Targets::default();
        let mut send = |at: Attached, client: Option<ClientKey>, merged: Merged| {
            if self
                .links
                .get(at.link)
                .is_some_and(|link| !link.is_congested)
            {
                note(client, What::Sent);
                targets.push(at.link, untracked(at, merged, false));
            } else {
                note(client, What::Dropped(Why::Congested));
            }
        };
        let all = matches.readers.len() + matches.groups.len();
        let to = all.min(from.saturating_add(*work as usize));
        *work -= (to - from) as u32;
        for number in from..to {
            if let Some(matched) = matches.readers.get(number) {
                let Some(reader) = self.readers.get(matched.reader) else {
                    continue;
                };
                let publisher_is_reader = message.publisher == reader.who.client;
                let merged = merge(&matched.filters, message, publisher_is_reader);
                let client = Some(reader.who.client);
                match (reader.attached, merged) {
                    (Some(at), Some(merged)) => send(at, client, merged),
                    (None, Some(_)) => note(client, What::Dropped(Why::NotConnected)),
                    (_, None) => {}
                }
            } else if let Some(group) = matches.groups.get(number - matches.readers.len()) {
                match self.choose_stateless(*group, message) {
                    Some((at, member, merged)) => send(at, self.client_of(member), merged),
                    None => note(None, What::Dropped(Why::NotConnected)),
                }
            }
        }
        for (link, targets) in targets.into_links() {
            if let Some(row) = self.links.get(link) {
                let deliver = Deliver {
                    message: message.clone(),
                    expires_at,
                    targets,
                };
                out.push((row.origin, Effect::Deliver(deliver)));
            }
        }
        to
    }
}
