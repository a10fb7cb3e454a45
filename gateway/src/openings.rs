//! Connections of a port on which MQTT has not begun: so many at once, and of one address so many when there are many.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
};

use catena_runtime::network;

use crate::{
    limits::{OPENING_ADDRESSES, OPENINGS_FREE, OPENINGS_MAX, OPENINGS_PER_ADDRESS_MAX},
    room::{Room, Seat},
};

/// Those of one port, over all workers.
#[derive(Debug)]
pub(crate) struct Openings {
    room: Arc<Room>,
    /// By a hash that nobody outside knows, so that nobody chooses with whom to share.
    by_address: Box<[AtomicU16]>,
    keys: RandomState,
}

/// The right to be one of them, given back when dropped.
#[derive(Debug)]
pub(crate) struct Opening {
    _seat: Seat,
    of: Arc<Openings>,
    place: usize,
}

impl Openings {
    pub fn new() -> Arc<Openings> {
        Arc::new(Openings {
            room: Room::new(OPENINGS_MAX),
            by_address: (0..OPENING_ADDRESSES).map(|_| AtomicU16::new(0)).collect(),
            keys: RandomState::new(),
        })
    }

    /// One more of `address`, if it may. `None` for an address: nobody knows yet who it is.
    pub fn enter(self: &Arc<Openings>, address: Option<IpAddr>) -> Option<Opening> {
        let seat = self.room.enter()?;
        let place = self.keys.hash_one(address.map(network::of)) as usize % OPENING_ADDRESSES;
        // No more than there are seats, which fit.
        let before = self.by_address[place].fetch_add(1, Relaxed);
        let opening = Opening {
            _seat: seat,
            of: self.clone(),
            place,
        };
        let has_many = address.is_some() && before >= OPENINGS_PER_ADDRESS_MAX;
        let are_many = self.room.open() > OPENINGS_FREE;
        (!has_many || !are_many).then_some(opening)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.of.by_address[self.place].fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(openings: &Arc<Openings>, address: Option<IpAddr>) -> Vec<Opening> {
        std::iter::from_fn(|| openings.enter(address)).collect()
    }

    // One machine with half-open handshakes would keep all clients of a port out.
    #[test]
    fn one_address_leaves_room_for_others() {
        let openings = Openings::new();
        let first = fill(&openings, Some([192, 0, 2, 1].into()));
        assert_eq!(first.len(), OPENINGS_FREE);
        // Who shares its counter is out of luck: one in thousands.
        let others = (0..10).map(|host| fill(&openings, Some([198, 51, 100, host].into())));
        let others: Vec<_> = others.collect();
        let many = usize::from(OPENINGS_PER_ADDRESS_MAX);
        let served = others.iter().filter(|other| other.len() == many).count();
        assert!(served >= 8, "{served}");

        drop((first, others));
        let all = openings
            .by_address
            .iter()
            .all(|count| count.load(Relaxed) == 0);
        assert!(
            all && openings.room.open() == 0,
            "what was taken is given back"
        );
    }

    // Behind a balancer all clients have its address until the header says who they are.
    #[test]
    fn who_is_not_known_yet_may_have_all() {
        let openings = Openings::new();
        assert_eq!(fill(&openings, None).len(), OPENINGS_MAX);
    }
}
