//! How many sockets a gateway or one of its ports has open, over all workers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bounds the number of open sockets.
#[derive(Debug)]
pub(crate) struct Room {
    open: AtomicUsize,
    max: AtomicUsize,
}

/// The right to one open socket, given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Room>);

impl Room {
    pub fn new(max: usize) -> Arc<Room> {
        Arc::new(Room {
            open: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
        })
    }

    /// A seat, if one is free.
    pub fn enter(self: &Arc<Room>) -> Option<Seat> {
        let seat = Seat(self.clone());
        (self.open.fetch_add(1, Ordering::Relaxed) < self.max()).then_some(seat)
    }

    /// Seats that are taken.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// Who has a seat keeps it.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_that_is_given_back_can_be_taken_again() {
        let room = Room::new(2);
        let (one, two) = (room.enter(), room.enter());
        assert!(one.is_some() && two.is_some() && room.enter().is_none());
        drop(one);
        assert!(room.enter().is_some());
    }
}
