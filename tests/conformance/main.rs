//! Conformance by statement: what the normative statements of MQTT 3.1.1 and 5 ask of a server, shown
//! on a running broker.
//!
//! `statements-v5.toml` and `statements-v3.1.1.toml` list every statement with the tests that show it.
//! A test names its statements in its documentation (`v5 [MQTT-3.1.0-1]`), takes a broker, and runs
//! with one shard and with four. Start reading at [`connect`]; [`statements`] holds tables and tests
//! together.

mod connect;
mod delivery;
mod disconnect;
mod flow;
mod malformed;
mod matching;
mod properties;
mod publish;
mod retained;
mod session;
mod shared;
mod size;
mod statements;
mod subscribe;
mod unsubscribe;
mod will;

use catena_mqtt::Version;
use catena_tests::{broker::Broker, client::Client};

/// The versions that most statements are shown in.
const BOTH: [Version; 2] = [Version::V4, Version::V5];

/// The protocol level in CONNECT.
fn level(version: Version) -> u8 {
    match version {
        Version::V3 => 3,
        Version::V4 => 4,
        Version::V5 => 5,
    }
}

/// Sends a CONNECT that must be refused, and gives the code of the CONNACK if there was one.
///
/// Panics when the broker accepts, does not close, or refuses in a wrong form.
fn refusal(broker: &Broker, version: Version, bytes: &[u8]) -> Option<u8> {
    let mut client = Client::dial(broker.address, version);
    client.send_bytes(bytes);
    let answer = client.read_to_close();
    match (version, &answer[..]) {
        (_, []) => None,
        // v5 [MQTT-3.2.2-6], v3.1.1 [MQTT-3.2.2-4]: session present is 0.
        (Version::V5, [0x20, length, 0, code, ..])
            if usize::from(*length) == answer.len() - 2 && *code >= 0x80 =>
        {
            Some(*code)
        }
        (Version::V3 | Version::V4, [0x20, 2, 0, code @ 1..=5]) => Some(*code),
        _ => panic!("not a refusal: {answer:x?}, to {bytes:x?}"),
    }
}
