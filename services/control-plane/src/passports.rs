//! Where passports come together: which messages administrators follow through this replica, who knows of it, and what was seen.
//!
//! Gateways and backends keep a stream to one replica each ([`Desk::carry`]); whoever is asked by an administrator opens a
//! [`Reading`] here, and the other replicas on his behalf at theirs. What is not read in time is dropped and counted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use catena_proto::internal::v1 as proto;
use tokio::sync::{mpsc, watch};

/// Orders through one replica at once.
pub const ORDERS_MAX: usize = 16;
/// What was said and is not read yet, of one order: each up to 512 steps.
const SAID_MAX: usize = 64;

/// The orders, for whoever tells them.
pub type Orders = watch::Receiver<Arc<[proto::PassportOrder]>>;

/// What a process says to one order.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// As `gateway/g1`.
    pub process: String,
    /// It knows of the order from now on.
    pub joined: bool,
    pub steps: Vec<proto::PassportStep>,
    /// Steps that are missing before these.
    pub missed: u64,
}

/// The desk of a replica. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    inner: Arc<Mutex<Inner>>,
    told: Arc<watch::Sender<Arc<[proto::PassportOrder]>>>,
}

impl Default for Desk {
    fn default() -> Desk {
        Desk {
            inner: Arc::default(),
            told: Arc::new(watch::Sender::new(Arc::default())),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    order: proto::PassportOrder,
    to: mpsc::Sender<Said>,
    missed: u64,
}

/// An order that is open for as long as this is held.
#[derive(Debug)]
pub struct Reading {
    id: u64,
    desk: Desk,
    pub said: mpsc::Receiver<Said>,
}

impl Desk {
    /// Follows messages from now on; `None`: there are too many orders.
    pub fn open(&self, of: proto::passport_order::Of) -> Option<Reading> {
        let mut inner = self.lock();
        if inner.open.len() >= ORDERS_MAX {
            return None;
        }
        inner.last += 1;
        let id = inner.last;
        let (to, said) = mpsc::channel(SAID_MAX);
        let order = proto::PassportOrder { id, of: Some(of) };
        let missed = 0;
        inner.open.insert(id, Open { order, to, missed });
        self.tell(&inner);
        Some(Reading {
            id,
            desk: self.clone(),
            said,
        })
    }

    /// All orders, and what becomes of them.
    pub fn orders(&self) -> Orders {
        self.told.subscribe()
    }

    /// A process says something; `known` are the orders that it knew before.
    pub fn carry(&self, process: &str, known: &mut Vec<u64>, message: proto::CarryRequest) {
        let mut inner = self.lock();
        for (id, open) in &mut inner.open {
            let mine = |step: &&proto::PassportStep| step.orders.contains(id);
            let joined = message.taken.contains(id) && !known.contains(id);
            let steps: Vec<_> = message.steps.iter().filter(mine).cloned().collect();
            if !joined && steps.is_empty() && message.dropped == 0 {
                continue;
            }
            let count = steps.len() as u64;
            let said = Said {
                process: process.to_owned(),
                joined,
                steps,
                missed: open.missed + message.dropped,
            };
            open.missed = match open.to.try_send(said) {
                Ok(()) => 0,
                Err(_) => open.missed + message.dropped + count,
            };
        }
        *known = message.taken;
    }

    fn tell(&self, inner: &Inner) {
        let orders = inner.open.values().map(|open| open.order.clone());
        self.told.send_replace(orders.collect());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut inner = self.desk.lock();
        inner.open.remove(&self.id);
        self.desk.tell(&inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(topic: &str) -> proto::passport_order::Of {
        proto::passport_order::Of::TopicFilter(topic.to_owned())
    }

    fn carried(orders: &[u64], steps: usize) -> proto::CarryRequest {
        let step = proto::PassportStep {
            orders: orders.to_vec(),
            ..proto::PassportStep::default()
        };
        proto::CarryRequest {
            taken: vec![1, 2],
            steps: vec![step; steps],
            ..proto::CarryRequest::default()
        }
    }

    // An administrator would read of messages that another one follows, and orders would stay for ever.
    #[test]
    fn each_order_gets_its_own_steps_until_it_is_dropped() {
        let desk = Desk::default();
        let (mut a, mut b) = (desk.open(of("a")).unwrap(), desk.open(of("b")).unwrap());
        assert_eq!(desk.orders().borrow().len(), 2);
        let mut known = Vec::new();
        desk.carry("gateway/g", &mut known, carried(&[a.id], 3));
        let said = a.said.try_recv().unwrap();
        assert!(said.joined && said.steps.len() == 3);
        let said = b.said.try_recv().unwrap();
        assert!(said.joined && said.steps.is_empty());
        desk.carry("gateway/g", &mut known, carried(&[a.id], 1));
        assert!(!a.said.try_recv().unwrap().joined);
        assert!(b.said.try_recv().is_err());
        drop((a, b));
        assert!(desk.orders().borrow().is_empty());
    }

    // A reader that is slow would fill the memory of the control plane; one that was never told would believe that he has all.
    #[test]
    fn what_is_not_read_in_time_is_counted() {
        let desk = Desk::default();
        let mut reading = desk.open(of("a")).unwrap();
        let mut known = vec![1, 2];
        for _ in 0..SAID_MAX + 3 {
            desk.carry("g", &mut known, carried(&[reading.id], 2));
        }
        while reading.said.try_recv().is_ok() {}
        desk.carry("g", &mut known, carried(&[reading.id], 1));
        assert_eq!(reading.said.try_recv().unwrap().missed, 6);
        let more: Vec<_> = (0..ORDERS_MAX).map(|_| desk.open(of("a"))).collect();
        assert!(more.last().unwrap().is_none());
    }
}
