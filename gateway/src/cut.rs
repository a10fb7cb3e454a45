//! A gateway that is cut off closes the clients that need what it cannot reach: its PINGRESPs would hide that nothing
//! arrives any more `[C-45]`.
//!
//! Both must hold for a failure time-out: the control plane does not hear us, and a shard is out of reach. If only the
//! shard is, the control plane sees to it; if only the control plane is, nothing is missing. Looks are taken a few times in
//! a time-out, and cost the data path nothing.

use std::{rc::Rc, time::Duration};

use catena_connection::{Input, input::Now};
use catena_mqtt::ReasonCode;
use catena_shard::ConnId;
use catena_slots::ShardId;
use tracing::{info, warn};

use crate::{config::Config, limits::CUT_LOOKS, worker::Shared};

/// How the link to a shard looked so far.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    /// Since when it is not whole.
    since: Option<Now>,
    /// The log has a line of it.
    is_told: bool,
}

/// Looks at all links, for ever.
pub(crate) async fn watch(worker: Rc<Shared>, config: Config) {
    let mut looks = vec![Look::default(); config.slots.shard_count()];
    loop {
        let timeout = config.cluster.borrow().broker.failure_timeout();
        tokio::time::sleep(timeout / CUT_LOOKS).await;
        let is_heard = *config.heard.borrow();
        for (shard, look) in config.slots.shards().zip(&mut looks) {
            worker.see(shard, config.slots.shard_count());
            if worker.is_out_of_reach(shard, timeout, look) && !is_heard {
                worker.close_those_that_need(shard);
            }
        }
    }
}

impl Shared {
    fn is_out_of_reach(&self, shard: ShardId, timeout: Duration, look: &mut Look) -> bool {
        let now = self.now();
        if self.router.borrow_mut().link(shard).is_whole() {
            if look.is_told {
                info!(%shard, "a shard is in reach again");
            }
            *look = Look::default();
            return false;
        }
        let since = *look.since.get_or_insert(now);
        let is_out = u128::from(now.0 - since.0) >= timeout.as_millis();
        if is_out && !look.is_told {
            look.is_told = true;
            warn!(%shard, "a shard is out of reach");
        }
        is_out
    }

    /// Takes note of how a link stands, for metrics.
    fn see(&self, shard: ShardId, shards: usize) {
        let seen = self.router.borrow_mut().link(shard).seen();
        self.counters.links.set(shard, shards, seen);
    }

    fn close_those_that_need(&self, shard: ShardId) {
        let clients = &mut *self.clients.borrow_mut();
        let router = &mut *self.router.borrow_mut();
        let committed_through = router.link(shard).committed_through();
        let now = self.now();
        let ids: Vec<ConnId> = clients.ids().collect();
        for id in ids {
            if let Some(client) = clients.get_mut(id)
                && !client.is_closed
                && client.protocol.needs(shard, committed_through)
            {
                client.handle(Input::Drain(ReasonCode::ServerBusy), now, router);
                client.wake();
            }
        }
    }
}
