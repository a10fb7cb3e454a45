//! The log of clients: who comes and goes, what policies did not allow, and who is not who he says. Clients can cause any number
//! of lines, so that most are only counted.

use std::net::SocketAddr;

use catena_connection::{
    input::Now,
    outside::{Denial, Event},
};
use catena_mqtt::ReasonCode;
use catena_shard::ConnId;
use tracing::info;

use crate::clients::Came;
use crate::gateway::SELF_CHECK;
use crate::limits::{DENIALS_LOGGED_BYTES, DENIALS_LOGGED_MAX, DENIALS_LOGGED_MS};

/// How much was logged of late, by one worker: strangers who are refused must not hide what known clients are denied.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    denials: Lines,
    refusals: Lines,
    clients: Lines,
}

/// Lines of one kind.
#[derive(Debug, Default)]
struct Lines {
    /// Since when `logged` counts.
    since: Now,
    logged: u32,
    /// Since the last line.
    left_out: u64,
}

impl Denials {
    /// Logs a denial, unless many were logged in a short time; the next line then tells how many were left out.
    pub fn log(&mut self, denial: &Denial<'_>, conn: ConnId, now: Now) {
        let Some(left_out) = self.denials.make_room(now) else {
            return;
        };
        info!(
            conn = conn.0,
            client_id = front(denial.client_id),
            username = denial.username.map(front),
            policy = denial.policy.name(),
            action = ?denial.action,
            topic = front(denial.topic),
            left_out,
            "not allowed"
        );
    }

    /// Logs who comes, is turned away, or goes and why; as bounded as denials.
    pub fn log_client(
        &mut self,
        event: Event,
        client_id: &str,
        came: &Came,
        conn: ConnId,
        now: Now,
    ) {
        // The gateway's own client comes and goes without a line: what it finds is told.
        if !tracing::enabled!(tracing::Level::INFO) || came.entrance.listener == SELF_CHECK {
            return;
        }
        let Some(left_out) = self.clients.make_room(now) else {
            return;
        };
        let (client_id, conn) = (front(client_id), conn.0);
        let (listener, peer) = (&came.entrance.listener, came.peer);
        match event {
            Event::Connected { session_present } => {
                info!(conn, client_id, %peer, listener, session_present, left_out, "connected");
            }
            Event::Disconnected(ReasonCode::Success) => {
                info!(conn, client_id, %peer, listener, left_out, "disconnected");
            }
            Event::Disconnected(reason) => {
                info!(conn, client_id, %peer, listener, ?reason, left_out, "disconnected");
            }
            Event::Refused(reason) => {
                info!(conn, client_id, %peer, listener, ?reason, left_out, "not let in");
            }
            _ => {}
        }
    }

    /// Logs why a client was refused that does not prove who it is; as bounded as denials.
    pub fn log_refusal(
        &mut self,
        listener: &str,
        peer: SocketAddr,
        reason: ReasonCode,
        why: &str,
        now: Now,
    ) {
        let Some(left_out) = self.refusals.make_room(now) else {
            return;
        };
        info!(listener, %peer, ?reason, why, left_out, "refused");
    }
}

impl Lines {
    /// Whether there is room for a line; and how many had none since the last one.
    fn make_room(&mut self, now: Now) -> Option<u64> {
        if now >= self.since.plus_millis(DENIALS_LOGGED_MS) {
            (self.since, self.logged) = (now, 0);
        }
        if self.logged >= DENIALS_LOGGED_MAX {
            self.left_out += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// As much of what a client has chosen as goes into a line.
fn front(text: &str) -> &str {
    let mut end = text.len().min(DENIALS_LOGGED_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    // One client could fill the disk with its log lines.
    #[test]
    fn what_is_too_much_is_counted() {
        let mut lines = Lines::default();
        for _ in 0..DENIALS_LOGGED_MAX {
            assert_eq!(lines.make_room(Now(0)), Some(0));
        }
        for _ in 0..5 {
            assert_eq!(lines.make_room(Now(DENIALS_LOGGED_MS - 1)), None);
        }
        assert_eq!(lines.make_room(Now(DENIALS_LOGGED_MS)), Some(5));
        assert_eq!(lines.make_room(Now(DENIALS_LOGGED_MS)), Some(0));
    }

    // Who floods a port with wrong passwords would hide what a client of his tries meanwhile.
    #[test]
    fn refusals_leave_room_for_denials() {
        let mut denials = Denials::default();
        let peer = ([127, 0, 0, 1], 1).into();
        for _ in 0..2 * DENIALS_LOGGED_MAX {
            denials.log_refusal("default", peer, ReasonCode::NotAuthorized, "why", Now(0));
        }
        assert_eq!(denials.denials.make_room(Now(0)), Some(0));
    }

    // A topic may have 64 KiB.
    #[test]
    fn lines_are_bounded() {
        let long = "é".repeat(DENIALS_LOGGED_BYTES);
        assert_eq!(front(&long).len(), DENIALS_LOGGED_BYTES);
        assert_eq!(front(&format!("a{long}")).len(), DENIALS_LOGGED_BYTES - 1);
        assert_eq!(front("short"), "short");
    }
}
