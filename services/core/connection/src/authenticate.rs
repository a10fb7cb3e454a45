//! AUTH, and what the gateway says of the client's proofs. v5 4.12

use catena_mqtt::{Packet, ReasonCode, packet::Auth};

use crate::{
    Connection, Outside,
    connection::Phase,
    input::Now,
    outside::{AuthOutcome, AuthRequest},
};

/// How far the re-authentication of a live client has come. v5 4.12.1
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reauthentication {
    Idle,
    /// The gateway was asked.
    Asked,
    /// It is the client's turn.
    Continues,
    /// It could not be decided: the client may go on, or begin again.
    Failed,
}

impl Connection {
    /// AUTH in the exchange that CONNECT began.
    pub(crate) fn on_auth_at_connect<O: Outside>(
        &mut self,
        auth: &Auth,
        now: Now,
        outside: &mut O,
    ) {
        // v5 [MQTT-4.12.0-3], [MQTT-4.12.0-5]
        if auth.reason != ReasonCode::ContinueAuthentication || !self.is_method_of(auth) {
            return self.refuse(ReasonCode::BadAuthenticationMethod, now, outside);
        }
        if let Phase::Authenticating { waiting, .. } = &mut self.phase {
            *waiting = true;
        }
        self.ask_about(auth, false, now, outside);
    }

    /// AUTH of a live client: re-authentication. v5 4.12.1
    pub(crate) fn on_auth<O: Outside>(&mut self, auth: &Auth, now: Now, outside: &mut O) {
        let begins = auth.reason == ReasonCode::ReAuthenticate;
        let is_in_place = match self.reauthentication {
            Reauthentication::Idle => begins,
            Reauthentication::Continues => !begins,
            Reauthentication::Failed => true,
            Reauthentication::Asked => false,
        };
        // v5 [MQTT-4.12.0-7], [MQTT-4.12.1-1]
        if self.authentication_method.is_none() || !is_in_place {
            return self.fail(ReasonCode::ProtocolError, "AUTH out of place", now, outside);
        }
        if !self.is_method_of(auth) {
            let text = "not the authentication method of CONNECT";
            // DISCONNECT has no word for a wrong method.
            return self.fail(ReasonCode::ProtocolError, text, now, outside);
        }
        self.reauthentication = Reauthentication::Asked;
        self.ask_about(auth, true, now, outside);
    }

    fn is_method_of(&self, auth: &Auth) -> bool {
        auth.method.is_some() && auth.method == self.authentication_method
    }

    fn ask_about<O: Outside>(
        &mut self,
        auth: &Auth,
        reauthenticate: bool,
        now: Now,
        outside: &mut O,
    ) {
        let Some(method) = self.authentication_method.clone() else {
            return;
        };
        let data = auth.data.as_ref();
        let client_id = self.client_id.clone();
        let username = self.username().cloned();
        let request = AuthRequest::Continue {
            client_id: &client_id,
            username: username.as_deref(),
            method: &method,
            data,
            reauthenticate,
        };
        if let Some(outcome) = outside.authenticate(request) {
            self.on_outcome(outcome, now, outside);
        }
    }

    pub(crate) fn on_outcome<O: Outside>(
        &mut self,
        outcome: AuthOutcome,
        now: Now,
        outside: &mut O,
    ) {
        match std::mem::replace(&mut self.phase, Phase::Gone) {
            Phase::Authenticating { mut entering, .. } => match outcome {
                AuthOutcome::Accepted { identity, data } => {
                    entering.principal = identity.username.clone();
                    entering.authentication_data = data;
                    self.come_in(entering, identity, now, outside);
                }
                AuthOutcome::Continue { data } => {
                    self.phase = Phase::Authenticating {
                        entering,
                        waiting: false,
                    };
                    self.write_auth(ReasonCode::ContinueAuthentication, data, outside);
                }
                AuthOutcome::Refused(reason) => self.refuse(reason, now, outside),
                AuthOutcome::TryAgain => {
                    self.refuse(ReasonCode::ServerUnavailable, now, outside);
                }
            },
            other => {
                self.phase = other;
                if self.reauthentication == Reauthentication::Asked && self.is_live() {
                    self.on_reauthenticated(outcome, now, outside);
                }
            }
        }
    }

    fn on_reauthenticated<O: Outside>(&mut self, outcome: AuthOutcome, now: Now, outside: &mut O) {
        match outcome {
            AuthOutcome::Accepted { identity, data } => {
                self.reauthentication = Reauthentication::Idle;
                if self.username() != identity.username.as_ref() {
                    // The session is that of another [F-4].
                    let text = "another user than at CONNECT";
                    return self.fail(ReasonCode::NotAuthorized, text, now, outside);
                }
                if identity.is_expired(now) {
                    return self.fail(ReasonCode::NotAuthorized, "expired", now, outside);
                }
                self.identify(identity);
                if !self.is_still_allowed(outside) {
                    let text = "not allowed by the authorization policy";
                    return self.fail(ReasonCode::NotAuthorized, text, now, outside);
                }
                self.write_auth(ReasonCode::Success, data, outside);
                // Filters beyond those that are kept are judged as the shards tell them.
                self.ask_what_is_held(outside);
            }
            AuthOutcome::Continue { data } => {
                self.reauthentication = Reauthentication::Continues;
                self.write_auth(ReasonCode::ContinueAuthentication, data, outside);
            }
            AuthOutcome::TryAgain => {
                self.reauthentication = Reauthentication::Failed;
                self.write_auth(ReasonCode::ContinueAuthentication, None, outside);
            }
            AuthOutcome::Refused(_) => {
                let text = "the proof was refused";
                self.fail(ReasonCode::NotAuthorized, text, now, outside);
            }
        }
    }

    fn write_auth<O: Outside>(
        &mut self,
        reason: ReasonCode,
        data: Option<bytes::Bytes>,
        outside: &mut O,
    ) {
        let Some(method) = self.authentication_method.clone() else {
            return;
        };
        let mut auth = Box::new(Auth::new(reason, method));
        auth.data = data;
        self.write(&Packet::Auth(auth), outside);
    }
}
