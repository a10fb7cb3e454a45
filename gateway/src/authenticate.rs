//! Who a client is: the port's authenticator is asked, apart from the connection's turn.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Instant, SystemTime},
};

use bytestring::ByteString;
use catena_authentication::{Authenticator, Credentials, Verdict};
use catena_connection::{
    Identity, Input,
    input::Now,
    outside::{AuthOutcome, AuthRequest},
};
use catena_mqtt::{ReasonCode, Version, packet::Connect};
use catena_shard::{ClientKey, ConnId};
use tokio::task::{AbortHandle, spawn_local};

use crate::{
    clients::{Came, Client},
    proofs::Proof,
    router::Router,
    worker::Shared,
};

/// A question that is not answered yet. Dropped, it is forgotten.
#[derive(Debug)]
pub(crate) struct Call(AbortHandle);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is to be known of whoever asks.
pub(crate) struct Asking<'a> {
    pub conn: ConnId,
    pub came: &'a Came,
    /// Where the question is kept until it is answered.
    pub call: &'a mut Option<Call>,
}

/// Answers at once, or later by [`Input::Authenticated`].
pub(crate) fn authenticate(
    asking: Asking<'_>,
    router: &Router,
    request: &AuthRequest<'_>,
) -> Option<AuthOutcome> {
    if let AuthRequest::Connect(connect) = request
        && is_kept_away(router, connect)
    {
        router.counters.kept_away.add();
        return Some(AuthOutcome::Refused(ReasonCode::ServerUnavailable));
    }
    let authenticator = asking.came.entrance.rules().authentication.clone();
    let Some(authenticator) = authenticator else {
        return Some(without_authentication(request));
    };
    let (Some(seat), Some(worker)) = (router.calls.enter(), router.worker.upgrade()) else {
        router.counters.authentications_full.add();
        return Some(AuthOutcome::Refused(ReasonCode::ServerBusy));
    };
    let (credentials, is_again) = credentials(asking.came, request);
    let conn = asking.conn;
    let task = spawn_local(async move {
        let verdict = ask(&authenticator, credentials, is_again).await;
        drop(seat);
        worker.authenticated(conn, verdict, &authenticator);
    });
    // One that was there before is of no use any more.
    *asking.call = Some(Call(task.abort_handle()));
    None
}

/// Whether it was closed a moment ago because there was no memory for what it publishes `[F-63]`.
fn is_kept_away(router: &Router, connect: &Connect) -> bool {
    !router.backoffs.is_empty() && connect.version != Version::V5 && {
        let client = ClientKey::of(&connect.client_id);
        router.backoffs.keeps_away(client, Instant::now())
    }
}

/// Everybody may come, and is anonymous. Who asks for a method by which to prove more is refused: it would be told that
/// it was believed.
fn without_authentication(request: &AuthRequest<'_>) -> AuthOutcome {
    match request {
        AuthRequest::Connect(connect) if connect.authentication_method.is_none() => {
            AuthOutcome::Accepted {
                identity: Identity::default(),
                data: None,
            }
        }
        _ => AuthOutcome::Refused(ReasonCode::BadAuthenticationMethod),
    }
}

/// What the client brings; and whether it proves itself again.
fn credentials(came: &Came, request: &AuthRequest<'_>) -> (Credentials, bool) {
    let brought = Credentials {
        certificates: came.certificates.to_vec(),
        peer: Some(came.peer.ip()),
        ..Credentials::default()
    };
    match request {
        AuthRequest::Connect(connect) => {
            let credentials = Credentials {
                client_id: connect.client_id.clone(),
                username: connect.username.clone(),
                password: connect.password.clone(),
                method: connect.authentication_method.clone(),
                data: connect.authentication_data.clone(),
                ..brought
            };
            (credentials, false)
        }
        AuthRequest::Continue {
            client_id,
            username,
            method,
            data,
            reauthenticate,
        } => {
            let credentials = Credentials {
                client_id: ByteString::from(*client_id),
                username: username.map(ByteString::from),
                method: Some(ByteString::from(*method)),
                data: data.cloned(),
                ..brought
            };
            (credentials, *reauthenticate)
        }
    }
}

async fn ask(authenticator: &Authenticator, credentials: Credentials, is_again: bool) -> Verdict {
    if is_again {
        authenticator.reauthenticate(credentials).await
    } else {
        authenticator.connect(credentials).await
    }
}

impl Shared {
    fn authenticated(self: Rc<Shared>, conn: ConnId, verdict: Verdict, by: &Authenticator) {
        let now = self.now();
        let clients = &mut *self.clients.borrow_mut();
        let router = &mut *self.router.borrow_mut();
        let Some(client) = clients.get_mut(conn).filter(|client| !client.is_closed) else {
            return;
        };
        let verdict = client.doubt(verdict, by);
        let traffic = &client.meter.traffic;
        match &verdict {
            Verdict::Accepted { .. } => traffic.authenticated.add(),
            Verdict::Refused { .. } => traffic.not_authenticated.add(),
            Verdict::TryAgain => traffic.undecided.add(),
        }
        if let Verdict::Refused { reason, why } = &verdict {
            let came = &client.came;
            let listener = &came.entrance.listener;
            router
                .denials
                .log_refusal(listener, came.peer, *reason, why, now);
        }
        let outcome = outcome(verdict, now);
        client.handle(Input::Authenticated(Box::new(outcome)), now, router);
        client.call = None;
        client.wake();
    }
}

impl Client {
    /// The verdict, unless what it was decided by has changed meanwhile, so that it would be another.
    fn doubt(&mut self, verdict: Verdict, by: &Authenticator) -> Verdict {
        let Verdict::Accepted {
            username, method, ..
        } = &verdict
        else {
            return verdict;
        };
        let proof = Proof {
            by: by.name().clone(),
            method: *method,
        };
        let rules = self.came.entrance.rules();
        if std::mem::take(&mut self.is_doubted)
            && let Some(authenticator) = &rules.authentication
            && let Err((reason, why)) = proof.holds(authenticator, username.as_ref(), &self.came)
        {
            return Verdict::Refused { reason, why };
        }
        self.proof = Some(proof);
        verdict
    }
}

/// The verdict in the words of the connection, and by the worker's clock.
fn outcome(verdict: Verdict, now: Now) -> AuthOutcome {
    match verdict {
        Verdict::Accepted {
            username,
            attributes,
            expires,
            data,
            method: _,
        } => AuthOutcome::Accepted {
            identity: Identity {
                username,
                attributes: Arc::new(attributes),
                expires: expires.map(|at| on_our_clock(at, SystemTime::now(), now)),
            },
            data,
        },
        Verdict::Refused { reason, why: _ } => AuthOutcome::Refused(reason),
        Verdict::TryAgain => AuthOutcome::TryAgain,
    }
}

fn on_our_clock(at: SystemTime, wall: SystemTime, now: Now) -> Now {
    let left = at.duration_since(wall).unwrap_or_default();
    now.plus_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    // A client would be closed at once, or never.
    #[test]
    fn an_end_on_the_wall_is_an_end_on_the_worker_s_clock() {
        let wall = SystemTime::now();
        let after = |left| on_our_clock(wall + left, wall, Now(500));
        assert_eq!(after(Duration::from_millis(1_500)), Now(2_000));
        assert_eq!(after(Duration::ZERO), Now(500));
        assert_eq!(
            on_our_clock(wall - Duration::from_secs(9), wall, Now(500)),
            Now(500)
        );
    }
}
