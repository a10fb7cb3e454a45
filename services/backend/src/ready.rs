//! Which of many connections has something to do: so that a turn costs what it does, not what could be done.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use catena_chain::{Member, message::ConnectionId};

/// What can wake a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// An origin's connection to us.
    Origin(ConnectionId),
    /// A neighbour's stream to us.
    Stream(u64),
    /// Our stream to a neighbour.
    Neighbour(Member),
    /// Our connection to another shard.
    Peer(ConnectionId),
}

/// The keys whose wakers were woken.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    shared: Arc<Mutex<Woken>>,
}

#[derive(Debug, Default)]
struct Woken {
    keys: Vec<Arc<Source>>,
    /// The host's; `None` once it is woken.
    task: Option<Waker>,
}

/// One connection or stream.
#[derive(Debug)]
struct Source {
    key: Key,
    is_listed: AtomicBool,
    shared: Arc<Mutex<Woken>>,
}

impl Ready {
    /// The waker to poll `key` with.
    pub fn waker(&self, key: Key) -> Waker {
        Waker::from(Arc::new(Source {
            key,
            is_listed: AtomicBool::new(false),
            shared: self.shared.clone(),
        }))
    }

    /// Begins a turn: adds the keys that were woken to `keys`; whatever is woken from now on wakes `task`.
    pub fn take(&self, task: &Waker, keys: &mut VecDeque<Key>) {
        let mut woken = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        woken.task = Some(task.clone());
        for source in woken.keys.drain(..) {
            source.is_listed.store(false, Ordering::Release);
            keys.push_back(source.key);
        }
    }
}

impl Wake for Source {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = {
            let mut woken = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            woken.keys.push(self.clone());
            woken.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One that is lost waits for ever; one that is listed for each message makes a turn as long as the burst.
    #[test]
    fn each_is_listed_once_until_it_is_taken() {
        let ready = Ready::default();
        let waker = ready.waker(Key::Stream(7));
        let other = ready.waker(Key::Stream(8));
        waker.wake_by_ref();
        waker.wake_by_ref();
        other.wake();
        let mut keys = VecDeque::new();
        ready.take(Waker::noop(), &mut keys);
        assert_eq!(keys, [Key::Stream(7), Key::Stream(8)]);
        keys.clear();
        ready.take(Waker::noop(), &mut keys);
        assert!(keys.is_empty());
        waker.wake();
        ready.take(Waker::noop(), &mut keys);
        assert_eq!(keys, [Key::Stream(7)]);
    }
}
