//! What Broker and listener say of connections.

use std::sync::Arc;

use bytestring::ByteString;
use catena_mqtt::{QoS, encode::PACKET_SIZE_MAX};

use catena_shard::query::Pattern;

use crate::bounds::WINDOW_BYTES;

/// Settings of connections, shared by all of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Publishes above QoS 0 that a client may have unacknowledged; told in CONNACK. 1 to 65,535.
    pub receive_maximum: u16,
    /// Upper bound of the Receive Maximum that a client asks for. 1 to 65,535.
    pub client_receive_maximum_max: u16,
    /// The highest QoS that a client of 5 may publish with, and is granted; told in CONNACK. Earlier versions have no word for
    /// it, and are not held to it.
    pub maximum_qos: QoS,
    /// Whether a client may give subscription identifiers; told in CONNACK.
    pub subscription_ids: bool,
    /// Bytes of a whole packet from a client; told in CONNACK.
    pub maximum_packet_size: u32,
    /// Topic aliases that a client may set; 0: none.
    pub topic_alias_maximum: u16,
    /// Bytes that all shards together may have on their way to a reader.
    pub window_bytes: u32,
    /// Upper bound of the session expiry, in seconds, and that of 3.1.1 sessions with clean session 0 `[F-16]`.
    pub session_expiry_max: u32,
    /// Publishes of the client in a second; `None`: no bound.
    pub publish_rate_max: Option<u32>,
    /// Bytes of their topics, payloads and properties in a second; `None`: no bound.
    pub publish_bytes_rate_max: Option<u64>,
    /// Upper bound of the keep alive, in seconds. 0 and 65,535: none.
    pub keep_alive_max: u16,
    /// Where clients are sent that we turn away `[F-26]`.
    pub server_reference: Option<ByteString>,
    /// Patterns of client ids whose queues outlive a start from disk `[C-59]`.
    pub kept_clients: Arc<[Pattern]>,
    /// The user property by which a client asks for that in CONNECT, and what it says. Empty: none does.
    pub keep_property: (ByteString, ByteString),
}

/// The Receive Maximum of the Azure IoT Operations MQTT broker.
const AZURE_RECEIVE_MAXIMUM: u16 = 100;

impl Settings {
    /// The same for a port with `compatibility: Azure`: what CONNACK says is what that broker says, and clients are held
    /// to it.
    pub fn like_azure(self) -> Settings {
        Settings {
            receive_maximum: self.receive_maximum.min(AZURE_RECEIVE_MAXIMUM),
            maximum_qos: QoS::AtLeastOnce,
            topic_alias_maximum: 0,
            subscription_ids: false,
            ..self
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            receive_maximum: 1024,
            client_receive_maximum_max: u16::MAX,
            maximum_qos: QoS::ExactlyOnce,
            subscription_ids: true,
            maximum_packet_size: PACKET_SIZE_MAX,
            topic_alias_maximum: 32,
            window_bytes: WINDOW_BYTES,
            session_expiry_max: 3600,
            publish_rate_max: None,
            publish_bytes_rate_max: None,
            keep_alive_max: u16::MAX,
            server_reference: None,
            kept_clients: Arc::default(),
            keep_property: (ByteString::default(), ByteString::default()),
        }
    }
}
