//! Wills: which must be published, and which must not `[F-20]`.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    mqtt::{Socket, device::Device, ledger::Losses},
    workload::Violation,
};

/// In the payload of a will, beside the number of its socket.
const WILL: u64 = 1 << 63;

/// Microseconds: home has waited for the old connection for as long, or almost.
const SLOW: u64 = 850_000;

/// Microseconds after which the shards have heard what a gateway said, or have another chain.
const HEARD: u64 = 3_000_000;

#[derive(Debug)]
struct Will {
    device: usize,
    /// Published as soon as the connection ends.
    is_at_once: bool,
    accepted_at: Option<u64>,
    is_disconnect_sent: bool,
    /// The gateway has taken DISCONNECT.
    is_disconnected: bool,
    /// When the gateway had said everything that it had to say of the connection.
    finished_at: Option<u64>,
    gateway_died: bool,
    /// An administrator has disconnected the client, or ended its session, at about that time.
    is_administered: bool,
    is_received: bool,
}

/// All wills, by socket.
#[derive(Debug, Default)]
pub struct Wills {
    wills: BTreeMap<u64, Will>,
}

pub fn payload(socket: u64) -> Bytes {
    Bytes::copy_from_slice(&(socket | WILL).to_le_bytes())
}

pub fn is_will(id: u64) -> bool {
    id & WILL != 0
}

impl Wills {
    pub fn asked(&mut self, socket: u64, device: &Device, is_at_once: bool) {
        let will = Will {
            device: device.index,
            is_at_once,
            accepted_at: None,
            is_disconnect_sent: false,
            is_disconnected: false,
            finished_at: None,
            gateway_died: false,
            is_administered: device.doomed_at.is_some(),
            is_received: false,
        };
        self.wills.insert(socket, will);
    }

    fn note(&mut self, socket: u64, note: impl FnOnce(&mut Will)) {
        if let Some(will) = self.wills.get_mut(&socket) {
            note(will);
        }
    }

    pub fn accepted(&mut self, socket: u64, now: u64) {
        self.note(socket, |will| will.accepted_at = Some(now));
    }

    pub fn disconnect_sent(&mut self, socket: u64) {
        self.note(socket, |will| will.is_disconnect_sent = true);
    }

    pub fn disconnected(&mut self, socket: u64) {
        self.note(socket, |will| will.is_disconnected = true);
    }

    pub fn finished(&mut self, socket: u64, now: u64) {
        self.note(socket, |will| will.finished_at = Some(now));
    }

    /// What it had still to say is lost, and perhaps what it said a moment ago.
    pub fn gateway_died(&mut self, socket: u64, now: u64) {
        self.note(socket, |will| {
            let is_said = will.finished_at.is_some_and(|at| now - at > HEARD);
            will.gateway_died |= !is_said;
        });
    }

    /// A command may end the client's session or connection before its DISCONNECT has come home.
    pub fn administered(&mut self, device: usize) {
        for will in self.wills.values_mut().filter(|will| will.device == device) {
            will.is_administered = true;
        }
    }

    /// Only the first device hears of all.
    pub fn received(&mut self, device: usize, id: u64) {
        if device == 0 {
            self.note(id & !WILL, |will| will.is_received = true);
        }
    }

    /// How many wills of a device were published.
    pub fn count(&self, device: usize) -> usize {
        let is_it = |will: &&Will| will.device == device && will.is_received;
        self.wills.values().filter(is_it).count()
    }

    pub fn check(
        &self,
        devices: &[Device],
        sockets: &BTreeMap<u64, Socket>,
        losses: &Losses,
    ) -> Result<(), Violation> {
        let Some(listens_since) = devices.first().and_then(|device| {
            let sub = device.subs.iter().find(|sub| sub.filter == "s/+")?;
            sub.since
                .filter(|since| !losses.may_take(sub.asked_at, Some(*since)))
        }) else {
            return Ok(());
        };
        for (socket, will) in &self.wills {
            let Some(accepted_at) = will.accepted_at.filter(|at| *at > listens_since) else {
                continue;
            };
            let asked_at = sockets.get(socket).map_or(0, |known| known.connect_sent);
            if losses.may_take(asked_at, Some(accepted_at)) {
                continue;
            }
            let is_current = devices[will.device].socket == Some(*socket);
            let is_over = !is_current && !will.is_disconnect_sent;
            if is_over && will.is_at_once && !will.is_received {
                return Err(format!("the will of socket {socket} never came: {will:?}"));
            }
            // Another connection of the device that had to wait may have been let in without an answer of this one.
            let has_slow_rival = sockets.iter().any(|(other, rival)| {
                let took = rival.connack_at.map(|at| at - rival.connect_sent);
                let is_later = rival.connack_at.is_none_or(|at| at > accepted_at);
                other != socket
                    && rival.device == will.device
                    && is_later
                    && took.is_none_or(|took| took >= SLOW)
            });
            let must_not = will.is_disconnected
                && will.finished_at.is_some()
                && !losses.may_take(asked_at, will.finished_at)
                && !will.gateway_died
                && !will.is_administered
                && !has_slow_rival;
            if must_not && will.is_received {
                return Err(format!(
                    "the will of socket {socket} came, although it was disconnected well: {will:?}"
                ));
            }
        }
        Ok(())
    }
}
