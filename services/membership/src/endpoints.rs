//! The control plane's replicas, one after another, with a pause that grows while none answers.

use std::{sync::Arc, time::Duration};

use catena_pki::{Connector, Role, Security};
use catena_proto::internal::v1::{
    certificates_client::CertificatesClient, membership_client::MembershipClient,
    passports_client::PassportsClient,
};
use tonic::transport::{Channel, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Pings find a connection that is cut off while a stream is open.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
const PAUSE_MIN_MS: u64 = 20;
const PAUSE_MAX_MS: u64 = 2_000;
/// Largest message that is taken: a snapshot of 256 chains and thousands of gateways is far below.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A text that is no address of a control plane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{endpoint:?} is no address of a control plane: write it as {scheme}://127.0.0.1:9701 or 127.0.0.1:9701{why}"
)]
pub struct InvalidEndpoint {
    pub endpoint: String,
    scheme: &'static str,
    why: &'static str,
}

/// All replicas that were named. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Endpoints {
    channels: Arc<[(String, Channel)]>,
}

impl Endpoints {
    pub fn new(endpoints: &[String], security: &Security) -> Result<Endpoints, InvalidEndpoint> {
        let channels: Result<Arc<[_]>, _> = endpoints
            .iter()
            .map(|text| channel(text, security))
            .collect();
        let channels = channels?;
        if channels.is_empty() {
            return Err(invalid("", security));
        }
        Ok(Endpoints { channels })
    }

    /// Who is asked first is left to chance, so that load spreads.
    pub fn turn(&self) -> Turn {
        Turn {
            endpoints: self.clone(),
            at: fastrand::usize(..self.channels.len()),
            failures: 0,
        }
    }
}

fn invalid(text: &str, security: &Security) -> InvalidEndpoint {
    let is_tls = security.is_tls();
    InvalidEndpoint {
        endpoint: text.to_owned(),
        scheme: if is_tls { "https" } else { "http" },
        why: match text.split_once("://") {
            Some(("http", _)) if is_tls => ", because internal traffic is TLS",
            Some(("https", _)) if !is_tls => ", because internal TLS is off",
            _ => "",
        },
    }
}

fn channel(text: &str, security: &Security) -> Result<(String, Channel), InvalidEndpoint> {
    let invalid = || invalid(text, security);
    let scheme = if security.is_tls() { "https" } else { "http" };
    let authority = match text.split_once("://") {
        Some((given, authority)) if given == scheme && !authority.is_empty() => authority,
        None if !text.is_empty() => text,
        _ => return Err(invalid()),
    };
    // What is spoken is the connector's business.
    let endpoint = Endpoint::from_shared(format!("http://{authority}")).map_err(|_| invalid())?;
    if endpoint.uri().port_u16().is_none() {
        return Err(invalid());
    }
    let channel = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .connect_with_connector_lazy(Connector::new(security.clone(), Role::ControlPlane));
    Ok((format!("{scheme}://{authority}"), channel))
}

/// One task's place among the replicas.
#[derive(Debug)]
pub struct Turn {
    endpoints: Endpoints,
    at: usize,
    failures: u32,
}

impl Turn {
    /// The replica whose turn it is.
    pub fn client(&self) -> MembershipClient<Channel> {
        let (_, channel) = &self.endpoints.channels[self.at];
        MembershipClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The same replica, for certificates.
    pub fn certificates(&self) -> CertificatesClient<Channel> {
        let (_, channel) = &self.endpoints.channels[self.at];
        CertificatesClient::new(channel.clone())
    }

    /// The same replica, for passports.
    pub fn passports(&self) -> PassportsClient<Channel> {
        let (_, channel) = &self.endpoints.channels[self.at];
        PassportsClient::new(channel.clone())
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.endpoints.channels[self.at].0
    }

    /// It answered: the next failure begins with a short pause.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// It did not: it is the next one's turn, after a pause.
    pub async fn failed(&mut self) {
        self.failed_briefly(Duration::MAX).await;
    }

    /// The same, with a pause of `pause_max` at most: a new leader waits for one time-out for everyone, not longer `[C-15]`.
    pub async fn failed_briefly(&mut self, pause_max: Duration) {
        self.at = (self.at + 1) % self.endpoints.channels.len();
        tokio::time::sleep(pause(self.failures).min(pause_max)).await;
        self.failures = self.failures.saturating_add(1);
    }
}

/// Doubles with each failure; from a half to the whole of it, so that those who were cut off at once do not return at once.
fn pause(failures: u32) -> Duration {
    let whole = PAUSE_MIN_MS
        .saturating_mul(1 << failures.min(16))
        .min(PAUSE_MAX_MS);
    Duration::from_millis(fastrand::u64(whole / 2..=whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    // An address that means nothing is to be found when the process starts, not when the control plane is needed.
    #[tokio::test]
    async fn addresses_are_checked() {
        let new = |text: &str| Endpoints::new(&[text.to_owned()], &Security::Plain);
        for good in ["http://127.0.0.1:9701", "localhost:9701", "[::1]:9701"] {
            assert!(new(good).is_ok(), "{good}");
        }
        for bad in ["", "http://", "https://a:1", "localhost", "a b:1"] {
            assert!(new(bad).is_err(), "{bad}");
        }
        assert!(Endpoints::new(&[], &Security::Plain).is_err());
    }

    #[test]
    fn pauses_grow_and_end() {
        assert!(pause(0) <= Duration::from_millis(PAUSE_MIN_MS));
        assert!(pause(u32::MAX) >= Duration::from_millis(PAUSE_MAX_MS / 2));
        assert!(pause(u32::MAX) <= Duration::from_millis(PAUSE_MAX_MS));
    }
}
