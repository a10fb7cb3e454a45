//! Clients that are connected and would not be let in any more: their port asks for a proof, or for another one, or what they
//! proved themselves by was taken away.

use std::{rc::Rc, sync::Arc};

use bytestring::ByteString;
use catena_authentication::Authenticator;
use catena_connection::Input;
use catena_mqtt::ReasonCode;
use catena_resources::authentication::Method;
use catena_shard::ConnId;

use crate::{
    clients::{Came, Client},
    entrance::Entrance,
    limits::PROVED_AT_ONCE,
    worker::Shared,
};

/// How a client has proved who it is.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    /// The BrokerAuthentication that accepted it.
    pub by: Arc<str>,
    pub method: Method,
}

impl Proof {
    /// Whether it is worth something where `authenticator` decides.
    ///
    /// # Errors
    /// What the client is told, and why.
    pub fn holds(
        &self,
        authenticator: &Authenticator,
        username: Option<&ByteString>,
        came: &Came,
    ) -> Result<(), (ReasonCode, String)> {
        if *self.by != **authenticator.name() {
            let why = "the port has another BrokerAuthentication now".to_owned();
            return Err((ReasonCode::AdministrativeAction, why));
        }
        let still = authenticator.still(self.method, username, &came.certificates);
        still.map_err(|why| (ReasonCode::NotAuthorized, why))
    }
}

impl Client {
    /// Whether the client may stay where `authenticator` decides.
    fn may_stay(&mut self, authenticator: &Authenticator) -> Result<(), (ReasonCode, String)> {
        if self.call.is_some() {
            self.is_doubted = true;
        }
        match &self.proof {
            Some(proof) => proof.holds(authenticator, self.protocol.username(), &self.came),
            // It is decided by what holds now: it has said nothing yet, or is not answered.
            None if self.protocol.version().is_none() || self.call.is_some() => Ok(()),
            None => {
                let why = "it is anonymous, and the port asks for a proof now".to_owned();
                Err((ReasonCode::AdministrativeAction, why))
            }
        }
    }
}

impl Shared {
    /// Closes the clients of a port that would not be let in any more. Others have their turn in between.
    pub async fn prove(self: Rc<Shared>, entrance: Arc<Entrance>) {
        let ids: Vec<ConnId> = self.clients.borrow().ids().collect();
        for some in ids.chunks(PROVED_AT_ONCE) {
            self.prove_some(&entrance, some);
            tokio::task::yield_now().await;
        }
    }

    fn prove_some(&self, entrance: &Arc<Entrance>, some: &[ConnId]) {
        let Some(authenticator) = entrance.rules().authentication.clone() else {
            return;
        };
        let clients = &mut *self.clients.borrow_mut();
        let router = &mut *self.router.borrow_mut();
        let now = self.now();
        for id in some {
            let is_of = |client: &&mut Client| {
                !client.is_closed && Arc::ptr_eq(&client.came.entrance, entrance)
            };
            let Some(client) = clients.get_mut(*id).filter(is_of) else {
                continue;
            };
            if let Err((reason, why)) = client.may_stay(&authenticator) {
                let peer = client.came.peer;
                router
                    .denials
                    .log_refusal(&entrance.listener, peer, reason, &why, now);
                client.handle(Input::Drain(reason), now, router);
                client.wake();
            }
        }
    }
}
