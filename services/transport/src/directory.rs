//! Where processes listen.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use catena_chain::Incarnation;
use catena_slots::ShardId;

/// The addresses of the processes that are registered, shared by all that dial: "host:port" of each thread.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    addresses: Arc<RwLock<BTreeMap<Incarnation, Arc<[String]>>>>,
}

impl Directory {
    /// Knows these addresses from now on, and no others.
    pub fn replace(&self, addresses: BTreeMap<Incarnation, Arc<[String]>>) {
        *self
            .addresses
            .write()
            .unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Where the process `incarnation` has its replica of `shard`: threads take shards in turn. `None` when it is not
    /// known.
    pub fn address(&self, shard: ShardId, incarnation: Incarnation) -> Option<String> {
        let addresses = self
            .addresses
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let threads = addresses.get(&incarnation)?;
        let thread = shard.index().checked_rem(threads.len())?;
        threads.get(thread).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A replica is asked for on the thread that has it, or it would never be found.
    #[test]
    fn shards_are_spread_over_the_threads_of_a_process() {
        let directory = Directory::default();
        let threads: Arc<[String]> = ["a:1".to_owned(), "a:2".to_owned()].into();
        directory.replace([(Incarnation(7), threads)].into());
        let at = |shard, incarnation| directory.address(ShardId(shard), Incarnation(incarnation));
        assert_eq!(at(4, 7).as_deref(), Some("a:1"));
        assert_eq!(at(5, 7).as_deref(), Some("a:2"));
        assert_eq!(at(5, 8), None);
        directory.replace([(Incarnation(7), Arc::from([]))].into());
        assert_eq!(at(0, 7), None);
    }
}
