//! Whether a client found its session again at each CONNECT.

use super::Kind;

/// What CONNACK must say of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// There is none.
    Absent,
    /// A connection has ended in a way that leaves it open.
    Either,
    /// It is there.
    Present,
}

/// One client's session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Whose.
    pub kind: Kind,
    /// Which of its kind; in a shared group the members are counted through.
    pub number: usize,
    persistent: bool,
    expected: Expected,
    /// CONNACKs.
    pub connections: u64,
    /// How often the session was there again.
    pub resumed: u64,
    /// How often it was gone.
    pub lost: u64,
    /// How often there was one though there must be none.
    pub stale: u64,
    /// How often the client itself went elsewhere.
    pub moves: u64,
    /// How often the connection broke without the client's doing.
    pub breaks: u64,
    /// How often there was no way to connect.
    pub failures: u64,
}

impl Session {
    /// A client that has never connected.
    pub fn new(kind: Kind, number: usize, persistent: bool) -> Session {
        Session {
            kind,
            number,
            persistent,
            expected: Expected::Absent,
            connections: 0,
            resumed: 0,
            lost: 0,
            stale: 0,
            moves: 0,
            breaks: 0,
            failures: 0,
        }
    }

    /// CONNACK has come.
    pub fn connected(&mut self, present: bool) {
        self.connections += 1;
        match (self.expected, present) {
            (Expected::Absent, true) => self.stale += 1,
            (Expected::Present, false) => self.lost += 1,
            (_, true) => self.resumed += 1,
            (_, false) => {}
        }
        if self.persistent {
            self.expected = Expected::Present;
        }
    }

    /// CONNECT may have arrived, but there was no CONNACK.
    pub fn failed(&mut self) {
        self.failures += 1;
        if self.persistent && self.expected == Expected::Absent {
            self.expected = Expected::Either;
        }
    }

    /// The client has asked the broker to forget the session, which it may have heard or not.
    pub fn resigned(&mut self) {
        self.expected = Expected::Either;
    }
}
