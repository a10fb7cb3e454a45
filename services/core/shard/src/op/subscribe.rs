//! Subscribe, Unsubscribe and Replay `[F-30]` to `[F-36]`.

use std::{collections::BTreeSet, sync::Arc};

use catena_mqtt::{Filter, QoS, ReasonCode, packet::RetainHandling};

use crate::{
    account::{FULL_PERCENT, SUBSCRIPTION_BYTES},
    cursor::Cursor,
    effect::{Effect, SubscribeResult, Subscribed, Unsubscribed},
    links::LinkId,
    op::{Replay, Subscribe, Subscription, SubscriptionOptions, Unsubscribe},
    reader::ReaderId,
    shard::Shard,
};

impl Shard {
    pub(crate) fn subscribe(&mut self, link: LinkId, subscribe: &Subscribe) {
        let Some(reader) = self.admit(&subscribe.who) else {
            return;
        };
        let Some(at) = self.readers.get(reader).and_then(|row| row.attached) else {
            return;
        };
        if let Some(home) = self.barred_from(subscribe) {
            return self.end_session_loudly(home);
        }
        let results = subscribe
            .subscriptions
            .iter()
            .map(|one| self.subscribe_one(reader, one))
            .collect();
        let subscribed = Subscribed {
            conn: at.conn,
            token: subscribe.token,
            results,
        };
        self.emit(link, Effect::Subscribed(Box::new(subscribed)));
        self.tell_home(reader);
        self.serve_all(reader);
    }

    fn subscribe_one(&mut self, id: ReaderId, subscription: &Subscription) -> SubscribeResult {
        let Subscription { filter, options } = subscription;
        let refused = |reason| SubscribeResult {
            reason,
            existed: false,
        };
        let Some(reader) = self.readers.get_mut(id) else {
            return refused(ReasonCode::UnspecifiedError);
        };
        let existed = reader.subscriptions.contains_key(filter);
        let is_full = self
            .account
            .is_above(FULL_PERCENT, self.settings.buffer_bytes)
            || reader.subscriptions.len() as u64 >= u64::from(self.settings.subscriptions_max);
        if is_full && !existed {
            return refused(ReasonCode::QuotaExceeded);
        }
        let filter = if existed { filter.clone() } else { own(filter) };
        self.add_subscription(id, &filter, *options);
        if filter.share().is_none() {
            let wanted = match options.retain_handling {
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => !existed,
                RetainHandling::DoNotSend => false,
            };
            // What an earlier SUBSCRIBE is still owed stays owed if this one asks for nothing.
            if wanted {
                self.end_cursor(id, &filter);
                self.begin_cursor(id, &filter, options);
            }
        }
        let reason = match options.qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => ReasonCode::GrantedQos1,
            QoS::ExactlyOnce => ReasonCode::GrantedQos2,
        };
        SubscribeResult { reason, existed }
    }

    /// Adds a subscription, or changes its options.
    pub(crate) fn add_subscription(
        &mut self,
        id: ReaderId,
        filter: &Filter,
        options: SubscriptionOptions,
    ) {
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        let client = reader.who.client;
        let old = reader.subscriptions.insert(filter.clone(), options);
        if old.is_none() {
            self.account
                .add(filter.full().len() as u64 + SUBSCRIPTION_BYTES);
        }
        self.may_deliver(client, options.qos);
        if filter.share().is_some() {
            self.join_group(id, filter, options);
        } else {
            self.index.subscribe(filter, id, options);
        }
    }

    fn join_group(&mut self, id: ReaderId, filter: &Filter, options: SubscriptionOptions) {
        let group_id = match self.groups.find(filter) {
            Some(group) => group,
            None => {
                let group = self.groups.insert(filter.clone());
                self.index.add_group(filter, group);
                group
            }
        };
        if let Some(group) = self.groups.get_mut(group_id) {
            group.members.insert(id, options);
        }
        if let Some(reader) = self
            .readers
            .get_mut(id)
            .filter(|r| !r.groups.contains(&group_id))
        {
            reader.groups.push(group_id);
        }
        self.members_changed(group_id);
    }

    /// Begins the walk over the retained messages of a filter `[F-34]`.
    pub(crate) fn begin_cursor(
        &mut self,
        id: ReaderId,
        filter: &Filter,
        options: &SubscriptionOptions,
    ) {
        let as_of = self.sequence;
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        if self.retained.len() == 0 {
            return;
        }
        reader.cursors.push_back(Cursor {
            filter: filter.clone(),
            qos: options.qos,
            no_local: options.no_local,
            subscription_ids: options.id.map(|id| Arc::from([id].as_slice())),
            passed: None,
            as_of,
            sent_early: BTreeSet::new(),
        });
        self.cursors += 1;
    }

    pub(crate) fn end_cursor(&mut self, id: ReaderId, filter: &Filter) {
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        let before = reader.cursors.len();
        reader.cursors.retain(|cursor| cursor.filter != *filter);
        self.cursors -= (before - reader.cursors.len()) as u64;
    }

    pub(crate) fn unsubscribe(&mut self, link: LinkId, unsubscribe: &Unsubscribe) {
        let Some(reader) = self.admit(&unsubscribe.who) else {
            return;
        };
        let existed = unsubscribe
            .filters
            .iter()
            .map(|filter| self.unsubscribe_one(reader, filter))
            .collect();
        self.look_later(reader);
        let unsubscribed = Unsubscribed {
            conn: unsubscribe.conn,
            token: unsubscribe.token,
            existed,
        };
        self.emit(link, Effect::Unsubscribed(Box::new(unsubscribed)));
    }

    fn unsubscribe_one(&mut self, id: ReaderId, filter: &Filter) -> bool {
        let Some(reader) = self.readers.get_mut(id) else {
            return false;
        };
        if reader.subscriptions.remove(filter).is_none() {
            return false;
        }
        self.end_cursor(id, filter);
        self.drop_subscription(id, filter);
        true
    }

    /// Sends the retained messages of filters that existed here but not everywhere `[F-35]`.
    pub(crate) fn replay(&mut self, replay: &Replay) {
        let Some(reader) = self.admit(&replay.who) else {
            return;
        };
        for filter in &replay.filters {
            let options = self
                .readers
                .get(reader)
                .and_then(|row| row.subscriptions.get(filter).copied());
            if let Some(options) = options.filter(|_| filter.share().is_none()) {
                self.end_cursor(reader, filter);
                self.begin_cursor(reader, filter, &options);
            }
        }
        self.serve(reader);
    }
}

/// The filter in memory of its own: a slice of what came from the network would pin all of that `[F-45]`.
fn own(filter: &Filter) -> Filter {
    Filter::parse(String::from(&**filter.full())).unwrap_or_else(|_| filter.clone())
}
