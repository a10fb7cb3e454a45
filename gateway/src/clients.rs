//! A worker's connections: each a protocol, what is to be written, and the task that owns the socket.

use std::{net::SocketAddr, sync::Arc, task::Waker, time::Instant};

use catena_connection::{Connection, Input, Output, Settings, input::Now, outside::Event};
use catena_mqtt::{ReasonCode, Version};
use catena_policy::Policy;
use catena_shard::{ClientKey, ConnId};
use rustls::pki_types::CertificateDer;
use slab::Slab;

use crate::{
    authenticate::Call,
    entrance::Entrance,
    proofs::Proof,
    router::{Router, View},
    traffic::Meter,
};

/// Where a client came in, and with what.
#[derive(Debug)]
pub(crate) struct Came {
    pub entrance: Arc<Entrance>,
    pub peer: SocketAddr,
    /// Its own first.
    pub certificates: Box<[CertificateDer<'static>]>,
}

/// One connection, without its socket.
#[derive(Debug)]
pub(crate) struct Client {
    pub id: ConnId,
    pub came: Came,
    /// Who the client is, is asked.
    pub call: Option<Call>,
    /// How it has proved who it is; `None` also for who need not.
    pub proof: Option<Proof>,
    /// What decides who it is has changed while it was asked.
    pub is_doubted: bool,
    pub protocol: Connection,
    pub output: Output,
    pub meter: Meter,
    /// The task that owns the socket, unless it is awake.
    task: Option<Waker>,
    /// The moment at which the worker's timers wake the task, if they will.
    pub armed: Option<Now>,
    /// The socket is gone; the last ops are still to be answered.
    pub is_closed: bool,
    /// Bytes that count as its in the worker's memory.
    pub held: usize,
}

/// All connections of a worker.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    slab: Slab<Box<Client>>,
    /// Connections ever made.
    made: u32,
}

impl Clients {
    /// Adds a connection that waits for CONNECT.
    pub fn insert(
        &mut self,
        came: Came,
        settings: Arc<Settings>,
        policy: Option<Arc<Policy>>,
        entropy: u128,
        now: Now,
        meter: Meter,
    ) -> ConnId {
        let entry = self.slab.vacant_entry();
        // The count makes the name unique, the place in the slab makes it quick to find.
        self.made = self.made.wrapping_add(1);
        let id = ConnId(u64::from(self.made) << 32 | entry.key() as u64);
        entry.insert(Box::new(Client {
            id,
            came,
            call: None,
            proof: None,
            is_doubted: false,
            protocol: Connection::new(settings, policy, id, entropy, now),
            output: Output::default(),
            meter,
            task: None,
            armed: None,
            is_closed: false,
            held: 0,
        }));
        id
    }

    pub fn get(&self, id: ConnId) -> Option<&Client> {
        self.slab
            .get(place(id))
            .map(|client| &**client)
            .filter(|client| client.id == id)
    }

    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Client> {
        self.slab
            .get_mut(place(id))
            .map(|client| &mut **client)
            .filter(|client| client.id == id)
    }

    pub fn remove(&mut self, id: ConnId) {
        if self.get(id).is_some() {
            self.slab.remove(place(id));
        }
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    pub fn ids(&self) -> impl Iterator<Item = ConnId> {
        self.slab.iter().map(|(_, client)| client.id)
    }

    /// Wakes the clients for whom at least `bytes` wait to be written.
    pub fn wake_those_with(&mut self, bytes: usize) {
        for (_, client) in &mut self.slab {
            if client.output.len() >= bytes {
                client.wake();
            }
        }
    }

    /// Whether a client has not yet been sent all that is for it.
    pub fn is_any_open(&self) -> bool {
        self.slab.iter().any(|(_, client)| !client.is_closed)
    }

    /// Whether the client behind `id` is gone.
    pub fn is_closed(&self, id: ConnId) -> bool {
        self.get(id).is_none_or(|client| client.is_closed)
    }
}

fn place(id: ConnId) -> usize {
    id.0 as u32 as usize
}

impl Client {
    pub fn handle(&mut self, input: Input<'_>, now: Now, router: &mut Router) {
        let mut view = View {
            conn: self.id,
            now,
            came: &self.came,
            call: &mut self.call,
            router,
            output: &mut self.output,
            meter: &mut self.meter,
        };
        self.protocol.handle(input, now, &mut view);
        if let Some(event) = self.meter.happened.take() {
            let client_id = self.protocol.client_id().unwrap_or_default();
            if let Event::Disconnected(ReasonCode::QuotaExceeded) = event
                && self.protocol.version() != Some(Version::V5)
            {
                let client = ClientKey::of(client_id);
                router.backoffs.closed(client, Instant::now());
                router.counters.held_and_closed.add();
            }
            router
                .denials
                .log_client(event, client_id, &self.came, self.id, now);
        }
    }

    pub fn flush(&mut self, now: Now, router: &mut Router) {
        let mut view = View {
            conn: self.id,
            now,
            came: &self.came,
            call: &mut self.call,
            router,
            output: &mut self.output,
            meter: &mut self.meter,
        };
        self.protocol.flush(&mut view);
    }

    /// Wakes the task of `waker` at the next [`Client::wake`].
    pub fn sleep(&mut self, waker: &Waker) {
        match &mut self.task {
            Some(task) => task.clone_from(waker),
            task => *task = Some(waker.clone()),
        }
    }

    /// Wakes the task, once however much comes for it.
    pub fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use catena_resources::listener::{Protocol, ProxyProtocol};

    use super::*;
    use crate::{entrance::Rules, traffic::Traffics};

    fn came() -> Came {
        Came {
            entrance: Arc::new(Entrance::new(
                String::new(),
                Protocol::Mqtt,
                ProxyProtocol::Disabled,
                Rules::default(),
            )),
            peer: ([127, 0, 0, 1], 1).into(),
            certificates: Box::default(),
        }
    }

    // An effect for a client that is gone must not reach the one that came after it.
    #[test]
    fn a_place_that_is_used_again_has_another_name() {
        let mut clients = Clients::default();
        let settings = Arc::new(Settings::default());
        let first = clients.insert(
            came(),
            settings.clone(),
            None,
            0,
            Now(0),
            Meter::new(&Traffics::default()),
        );
        clients.remove(first);
        let second = clients.insert(
            came(),
            settings,
            None,
            0,
            Now(0),
            Meter::new(&Traffics::default()),
        );
        assert_eq!(place(first), place(second));
        assert!(clients.get(first).is_none() && clients.get(second).is_some());
        assert!(clients.is_closed(first));
        clients.remove(first);
        assert_eq!(clients.len(), 1);
    }
}
