//! A table of what must be refused, and with which reason. Each row names the rule that it breaks.

use bytes::Bytes;
use catena_mqtt::{
    ReasonCode, Version,
    decode::{Limits, Role, decode},
};

use ReasonCode::{
    MalformedPacket as Malformed, PacketTooLarge as TooLarge, ProtocolError as Protocol,
    TopicAliasInvalid as Alias, TopicNameInvalid as TopicName,
    UnsupportedProtocolVersion as Unsupported,
};

/// The rule, the role of the receiver, the packet, the reason.
type Row = (&'static str, Role, &'static [u8], ReasonCode);

const SERVER: Role = Role::Server;
const CLIENT: Role = Role::Client;

fn check(version: Option<Version>, rows: &[Row]) {
    for &(rule, role, bytes, expected) in rows {
        let limits = Limits {
            maximum_packet_size: 1_000,
            role,
        };
        let mut buffer = Bytes::from_static(bytes);
        match decode(&mut buffer, version, &limits) {
            Err(error) => assert_eq!(error.reason(), expected, "{rule}: {error}"),
            other => panic!("{rule}: not refused, but {other:?}"),
        }
        assert_eq!(buffer, bytes, "{rule}: the buffer is as it was");
    }
}

#[test]
fn fixed_headers() {
    #[rustfmt::skip]
    check(Some(Version::V5), &[
        ("[MQTT-2.1.2] type 0", SERVER, b"\x00\x00", Malformed),
        ("type 0, from its first byte", SERVER, b"\x0F", Malformed),
        ("[MQTT-2.1.3-1] PUBACK flags", SERVER, b"\x41\x02\x00\x01", Malformed),
        ("[MQTT-2.1.3-1] PUBACK flags, from the first byte", SERVER, b"\x48", Malformed),
        ("[MQTT-2.1.3-1] PUBREC flags", SERVER, b"\x52\x02\x00\x01", Malformed),
        ("[MQTT-3.6.1-1] PUBREL flags", SERVER, b"\x60\x02\x00\x01", Malformed),
        ("[MQTT-3.6.1-1] PUBREL as a duplicate", SERVER, b"\x6A\x02\x00\x01", Malformed),
        ("[MQTT-2.1.3-1] PUBCOMP flags", SERVER, b"\x72\x02\x00\x01", Malformed),
        ("[MQTT-3.8.1-1] SUBSCRIBE flags", SERVER, b"\x80\x06\x00\x01\x00\x00\x01a\x00", Malformed),
        ("[MQTT-3.10.1-1] UNSUBSCRIBE flags", SERVER, b"\xA0\x06\x00\x01\x00\x00\x01a", Malformed),
        ("[MQTT-2.1.3-1] PINGREQ flags", SERVER, b"\xC1\x00", Malformed),
        ("[MQTT-3.14.1-1] DISCONNECT flags", SERVER, b"\xE2\x00", Malformed),
        ("[MQTT-3.15.1-1] AUTH flags", SERVER, b"\xF1\x00", Malformed),
        ("[MQTT-3.3.1-4] QoS 3", SERVER, b"\x36\x05\x00\x01a\x00\x01", Malformed),
        ("[MQTT-3.3.1-2] DUP with QoS 0", SERVER, b"\x38\x04\x00\x01a\x00", Malformed),
        ("[MQTT-1.5.5-1] length not in its shortest form", SERVER, b"\xC0\x80\x00", Malformed),
        ("1.5.5 length of five bytes", SERVER, b"\x30\x80\x80\x80\x80\x01", Malformed),
        ("1.5.5 length of five bytes, from the fourth", SERVER, b"\x30\x80\x80\x80\x80", Malformed),
        ("[MQTT-3.1.2-24] too large, from its header", SERVER, b"\x30\xE8\x07", TooLarge),
        ("[MQTT-3.1.2-24] far too large", SERVER, b"\x30\xFF\xFF\xFF\x7F", TooLarge),
        ("3.12 PINGREQ with a body", SERVER, b"\xC0\x01\x00", Malformed),
        ("3.13 PINGRESP with a body", CLIENT, b"\xD0\x01\x00", Malformed),
        ("[MQTT-3.1.0-2] second CONNECT", SERVER, b"\x10", Protocol),
        ("CONNACK to a server", SERVER, b"\x20\x03\x00\x00\x00", Protocol),
        ("SUBACK to a server", SERVER, b"\x90", Protocol),
        ("UNSUBACK to a server", SERVER, b"\xB0", Protocol),
        ("PINGRESP to a server", SERVER, b"\xD0\x00", Protocol),
        ("CONNECT to a client", CLIENT, b"\x10", Protocol),
        ("SUBSCRIBE to a client", CLIENT, b"\x82", Protocol),
        ("UNSUBSCRIBE to a client", CLIENT, b"\xA2", Protocol),
        ("PINGREQ to a client", CLIENT, b"\xC0\x00", Protocol),
    ]);
}

#[test]
fn the_first_packet() {
    #[rustfmt::skip]
    check(None, &[
        ("[MQTT-3.1.0-1] PUBLISH first", SERVER, b"\x30", Protocol),
        ("[MQTT-3.1.0-1] huge PUBLISH first", SERVER, b"\x30\xFF\xFF\xFF\x7F", Protocol),
        ("[MQTT-3.1.0-1] PINGREQ first", SERVER, b"\xC0\x00", Protocol),
        ("a TLS handshake", SERVER, b"\x16\x03\x01", Malformed),
        ("an HTTP request", SERVER, b"GET / HTTP/1.1\r\n", Malformed),
        ("[MQTT-3.1.2-1] protocol name", SERVER, b"\x10\x0C\x00\x04MQTX\x04\x02\x00\x00\x00\x00", Unsupported),
        ("[MQTT-3.1.2-1] protocol name in lower case", SERVER, b"\x10\x0C\x00\x04mqtt\x04\x02\x00\x00\x00\x00", Unsupported),
        ("[MQTT-3.1.2-1] empty protocol name", SERVER, b"\x10\x08\x00\x00\x04\x02\x00\x00\x00\x00", Unsupported),
        ("[MQTT-3.1.2-2] level 3 of MQTT", SERVER, b"\x10\x0C\x00\x04MQTT\x03\x02\x00\x00\x00\x00", Unsupported),
        ("[MQTT-3.1.2-2] level 6", SERVER, b"\x10\x0C\x00\x04MQTT\x06\x02\x00\x00\x00\x00", Unsupported),
        ("[MQTT-3.1.2-2] a bridge's level", SERVER, b"\x10\x0C\x00\x04MQTT\x84\x02\x00\x00\x00\x00", Unsupported),
        ("[MQTT-3.1.2-2] level 4 of MQIsdp", SERVER, b"\x10\x0E\x00\x06MQIsdp\x04\x02\x00\x00\x00\x00", Unsupported),
        ("empty CONNECT", SERVER, b"\x10\x00", Malformed),
        ("v3.1.1 [MQTT-3.1.2-3] reserved flag", SERVER, b"\x10\x0C\x00\x04MQTT\x04\x03\x00\x00\x00\x00", Malformed),
        ("v5 [MQTT-3.1.2-3] reserved flag", SERVER, b"\x10\x0D\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x00", Malformed),
        ("v5 [MQTT-3.1.2-11] will QoS without a will", SERVER, b"\x10\x0D\x00\x04MQTT\x05\x0A\x00\x00\x00\x00\x00", Malformed),
        ("v5 [MQTT-3.1.2-13] will retain without a will", SERVER, b"\x10\x0D\x00\x04MQTT\x05\x22\x00\x00\x00\x00\x00", Malformed),
        ("v3.1.1 [MQTT-3.1.2-13] will QoS without a will", SERVER, b"\x10\x0C\x00\x04MQTT\x04\x12\x00\x00\x00\x00", Malformed),
        ("v3.1.1 [MQTT-3.1.2-15] will retain without a will", SERVER, b"\x10\x0C\x00\x04MQTT\x04\x22\x00\x00\x00\x00", Malformed),
        ("v5 [MQTT-3.1.2-12] will QoS 3", SERVER, b"\x10\x13\x00\x04MQTT\x05\x1E\x00\x00\x00\x00\x00\x00\x00\x01w\x00\x00", Malformed),
        ("v3.1.1 [MQTT-3.1.2-14] will QoS 3", SERVER, b"\x10\x11\x00\x04MQTT\x04\x1E\x00\x00\x00\x00\x00\x01w\x00\x00", Malformed),
        ("v3.1.1 [MQTT-3.1.2-22] password without a user name", SERVER, b"\x10\x0F\x00\x04MQTT\x04\x42\x00\x00\x00\x00\x00\x01p", Malformed),
        ("v3.1.1 announced user name missing", SERVER, b"\x10\x0C\x00\x04MQTT\x04\x82\x00\x00\x00\x00", Malformed),
        ("v3.1.1 bytes left over", SERVER, b"\x10\x0E\x00\x04MQTT\x04\x02\x00\x00\x00\x00\x00\x00", Malformed),
        ("v5 bytes left over", SERVER, b"\x10\x0E\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00\x00", Malformed),
        ("[MQTT-1.5.4-1] client identifier not UTF-8", SERVER, b"\x10\x0E\x00\x04MQTT\x04\x02\x00\x00\x00\x02\xC3\x28", Malformed),
        ("[MQTT-1.5.4-1] client identifier with a surrogate", SERVER, b"\x10\x0F\x00\x04MQTT\x04\x02\x00\x00\x00\x03\xED\xA0\x80", Malformed),
        ("[MQTT-1.5.4-2] client identifier with U+0000", SERVER, b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x00\x00\x01\x00", Malformed),
        ("[MQTT-4.7.1-1] will topic with a wildcard", SERVER, b"\x10\x11\x00\x04MQTT\x04\x06\x00\x00\x00\x00\x00\x01#\x00\x00", TopicName),
        ("[MQTT-4.7.3-1] empty will topic", SERVER, b"\x10\x10\x00\x04MQTT\x04\x06\x00\x00\x00\x00\x00\x00\x00\x00", TopicName),
    ]);
}

#[test]
fn properties_of_connect() {
    #[rustfmt::skip]
    check(None, &[
        ("2.2.2.2 unknown property", SERVER, b"\x10\x0F\x00\x04MQTT\x05\x02\x00\x00\x02\x05\x00\x00\x00", Malformed),
        ("2.2.2.2 property 0", SERVER, b"\x10\x0F\x00\x04MQTT\x05\x02\x00\x00\x02\x00\x00\x00\x00", Malformed),
        ("2.2.2.2 property of PUBLISH", SERVER, b"\x10\x0F\x00\x04MQTT\x05\x02\x00\x00\x02\x01\x00\x00\x00", Protocol),
        ("2.2.2.2 property of CONNACK", SERVER, b"\x10\x0F\x00\x04MQTT\x05\x02\x00\x00\x02\x24\x00\x00\x00", Protocol),
        ("1.5.5 property identifier not in its shortest form", SERVER, b"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x03\x99\x00\x00\x00\x00", Malformed),
        ("3.1.2.11.2 session expiry twice", SERVER, b"\x10\x17\x00\x04MQTT\x05\x02\x00\x00\x0A\x11\x00\x00\x00\x01\x11\x00\x00\x00\x01\x00\x00", Protocol),
        ("session expiry cut short", SERVER, b"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x03\x11\x00\x00\x00\x00", Malformed),
        ("3.1.2.11.3 receive maximum 0", SERVER, b"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x03\x21\x00\x00\x00\x00", Protocol),
        ("3.1.2.11.4 maximum packet size 0", SERVER, b"\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x05\x27\x00\x00\x00\x00\x00\x00", Protocol),
        ("3.1.2.11.5 topic alias maximum twice", SERVER, b"\x10\x13\x00\x04MQTT\x05\x02\x00\x00\x06\x22\x00\x01\x22\x00\x01\x00\x00", Protocol),
        ("3.1.2.11.6 request response information 2", SERVER, b"\x10\x0F\x00\x04MQTT\x05\x02\x00\x00\x02\x19\x02\x00\x00", Protocol),
        ("3.1.2.11.7 request problem information 2", SERVER, b"\x10\x0F\x00\x04MQTT\x05\x02\x00\x00\x02\x17\x02\x00\x00", Protocol),
        ("3.1.2.11.10 authentication data without a method", SERVER, b"\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x04\x16\x00\x01d\x00\x00", Protocol),
        ("user property without a value", SERVER, b"\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x04\x26\x00\x01k\x00\x00", Malformed),
        ("section longer than the packet", SERVER, b"\x10\x0D\x00\x04MQTT\x05\x02\x00\x00\x7F\x00\x00", Malformed),
        ("3.1.3.2 topic alias in a will", SERVER, b"\x10\x16\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x00\x03\x23\x00\x01\x00\x01w\x00\x00", Protocol),
        ("3.1.3.2.2 will delay twice", SERVER, b"\x10\x1D\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x00\x0A\x18\x00\x00\x00\x01\x18\x00\x00\x00\x01\x00\x01w\x00\x00", Protocol),
        ("3.1.3.2.4 payload format 2 in a will", SERVER, b"\x10\x15\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x00\x02\x01\x02\x00\x01w\x00\x00", Protocol),
        ("3.1.2.11 will delay outside a will", SERVER, b"\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x05\x18\x00\x00\x00\x01\x00\x00", Protocol),
    ]);
}

#[test]
fn publishes() {
    #[rustfmt::skip]
    check(Some(Version::V5), &[
        ("topic longer than the packet", SERVER, b"\x30\x03\x00\x05a", Malformed),
        ("no room for a topic", SERVER, b"\x30\x01\x00", Malformed),
        ("empty PUBLISH", SERVER, b"\x30\x00", Malformed),
        ("[MQTT-3.3.2-2] + in the topic", SERVER, b"\x30\x06\x00\x03a/+\x00", TopicName),
        ("[MQTT-3.3.2-2] # in the topic", SERVER, b"\x30\x04\x00\x01#\x00", TopicName),
        ("3.3.2.1 empty topic without an alias", SERVER, b"\x30\x03\x00\x00\x00", Protocol),
        ("[MQTT-3.3.2-1] topic not UTF-8", SERVER, b"\x30\x04\x00\x01\xFF\x00", Malformed),
        ("[MQTT-1.5.4-1] overlong form", SERVER, b"\x30\x05\x00\x02\xC0\xAF\x00", Malformed),
        ("[MQTT-4.7.3-2] topic with U+0000", SERVER, b"\x30\x04\x00\x01\x00\x00", Malformed),
        ("[MQTT-2.2.1-3] packet identifier 0", SERVER, b"\x32\x06\x00\x01a\x00\x00\x00", Protocol),
        ("packet identifier missing", SERVER, b"\x32\x04\x00\x01a\x00", Malformed),
        ("property length missing", SERVER, b"\x30\x03\x00\x01a", Malformed),
        ("properties longer than the packet", SERVER, b"\x30\x05\x00\x01a\x02\x01", Malformed),
        ("[MQTT-3.3.2-8] topic alias 0", SERVER, b"\x30\x07\x00\x01a\x03\x23\x00\x00", Alias),
        ("3.3.2.3.4 topic alias twice", SERVER, b"\x30\x0A\x00\x01a\x06\x23\x00\x01\x23\x00\x01", Protocol),
        ("3.3.2.3.2 payload format 2", SERVER, b"\x30\x06\x00\x01a\x02\x01\x02", Protocol),
        ("3.3.2.3.2 payload format twice", SERVER, b"\x30\x08\x00\x01a\x04\x01\x01\x01\x01", Protocol),
        ("3.3.2.3.3 message expiry twice", SERVER, b"\x30\x0E\x00\x01a\x0A\x02\x00\x00\x00\x01\x02\x00\x00\x00\x01", Protocol),
        ("3.3.2.3.5 response topic twice", SERVER, b"\x30\x0C\x00\x01a\x08\x08\x00\x01r\x08\x00\x01r", Protocol),
        ("[MQTT-3.3.2-14] response topic with a wildcard", SERVER, b"\x30\x08\x00\x01a\x04\x08\x00\x01+", Protocol),
        ("[MQTT-4.7.3-1] empty response topic", SERVER, b"\x30\x07\x00\x01a\x03\x08\x00\x00", Protocol),
        ("[MQTT-3.3.2-13] response topic not UTF-8", SERVER, b"\x30\x08\x00\x01a\x04\x08\x00\x01\xFF", Malformed),
        ("3.3.2.3.6 correlation data twice", SERVER, b"\x30\x0A\x00\x01a\x06\x09\x00\x00\x09\x00\x00", Protocol),
        ("[MQTT-3.3.2-19] content type not UTF-8", SERVER, b"\x30\x08\x00\x01a\x04\x03\x00\x01\xFF", Malformed),
        ("3.3.2.3.9 content type twice", SERVER, b"\x30\x0A\x00\x01a\x06\x03\x00\x00\x03\x00\x00", Protocol),
        ("[MQTT-3.3.4-6] subscription identifier from a client", SERVER, b"\x30\x06\x00\x01a\x02\x0B\x01", Protocol),
        ("3.3.2.3.8 subscription identifier 0", CLIENT, b"\x30\x06\x00\x01a\x02\x0B\x00", Protocol),
        ("3.3.2.3 property of CONNECT", SERVER, b"\x30\x07\x00\x01a\x03\x21\x00\x01", Protocol),
        ("3.3.2.3 reason string", SERVER, b"\x30\x07\x00\x01a\x03\x1F\x00\x00", Protocol),
        ("user property name with U+0000", SERVER, b"\x30\x0A\x00\x01a\x06\x26\x00\x01\x00\x00\x00", Malformed),
        ("property string beyond its section", SERVER, b"\x30\x0A\x00\x01a\x04\x03\x00\x02xyz", Malformed),
    ]);
    #[rustfmt::skip]
    check(Some(Version::V4), &[
        ("v3.1.1 [MQTT-3.3.2-2] wildcard", SERVER, b"\x30\x03\x00\x01+", TopicName),
        ("v3.1.1 [MQTT-4.7.3-1] empty topic", SERVER, b"\x30\x02\x00\x00", TopicName),
        ("v3.1.1 [MQTT-2.3.1-1] packet identifier 0", SERVER, b"\x32\x05\x00\x01a\x00\x00", Malformed),
        ("v3.1.1 [MQTT-3.3.1-4] QoS 3", SERVER, b"\x36\x05\x00\x01a\x00\x01", Malformed),
    ]);
}

#[test]
fn acknowledgements() {
    #[rustfmt::skip]
    check(Some(Version::V5), &[
        ("empty PUBACK", SERVER, b"\x40\x00", Malformed),
        ("half a packet identifier", SERVER, b"\x40\x01\x00", Malformed),
        ("[MQTT-2.2.1-5] packet identifier 0", SERVER, b"\x40\x02\x00\x00", Protocol),
        ("[MQTT-3.4.2-1] unknown reason", SERVER, b"\x40\x03\x00\x01\x7F", Protocol),
        ("[MQTT-3.4.2-1] reason of PUBREL in PUBACK", SERVER, b"\x40\x03\x00\x01\x92", Protocol),
        ("[MQTT-3.6.2-1] reason of PUBACK in PUBREL", SERVER, b"\x62\x03\x00\x01\x10", Protocol),
        ("[MQTT-3.7.2-1] reason of PUBACK in PUBCOMP", SERVER, b"\x70\x03\x00\x01\x80", Protocol),
        ("3.4.2.2.2 reason string twice", SERVER, b"\x40\x0A\x00\x01\x00\x06\x1F\x00\x00\x1F\x00\x00", Protocol),
        ("3.4.2.2 session expiry", SERVER, b"\x40\x09\x00\x01\x00\x05\x11\x00\x00\x00\x00", Protocol),
        ("bytes left over", SERVER, b"\x40\x05\x00\x01\x00\x00\x00", Malformed),
    ]);
    #[rustfmt::skip]
    check(Some(Version::V4), &[
        ("v3.1.1 3.4 PUBACK with a reason", SERVER, b"\x40\x03\x00\x01\x00", Malformed),
        ("v3.1.1 [MQTT-2.3.1-1] packet identifier 0", SERVER, b"\x50\x02\x00\x00", Malformed),
        ("v3.1.1 [MQTT-3.6.1-1] PUBREL as a duplicate", SERVER, b"\x6A", Malformed),
    ]);
}

#[test]
fn subscriptions() {
    #[rustfmt::skip]
    check(Some(Version::V5), &[
        ("[MQTT-3.8.3-2] no filter", SERVER, b"\x82\x03\x00\x01\x00", Protocol),
        ("[MQTT-2.2.1-3] packet identifier 0", SERVER, b"\x82\x07\x00\x00\x00\x00\x01a\x00", Protocol),
        ("no options", SERVER, b"\x82\x06\x00\x01\x00\x00\x01a", Malformed),
        ("[MQTT-3.8.3-5] reserved option bits", SERVER, b"\x82\x07\x00\x01\x00\x00\x01a\x40", Malformed),
        ("[MQTT-3.8.3-5] the other one", SERVER, b"\x82\x07\x00\x01\x00\x00\x01a\x80", Malformed),
        ("3.8.3.1 QoS 3", SERVER, b"\x82\x07\x00\x01\x00\x00\x01a\x03", Malformed),
        ("3.8.3.1 retain handling 3", SERVER, b"\x82\x07\x00\x01\x00\x00\x01a\x30", Protocol),
        ("3.8.2.1.2 subscription identifier 0", SERVER, b"\x82\x09\x00\x01\x02\x0B\x00\x00\x01a\x00", Protocol),
        ("3.8.2.1.2 subscription identifier twice", SERVER, b"\x82\x0B\x00\x01\x04\x0B\x01\x0B\x02\x00\x01a\x00", Protocol),
        ("[MQTT-3.8.3-4] no local with a share", SERVER, b"\x82\x10\x00\x01\x00\x00\x0A$share/g/t\x04", Protocol),
        ("[MQTT-3.8.3-1] filter not UTF-8", SERVER, b"\x82\x07\x00\x01\x00\x00\x01\xFE\x00", Malformed),
        ("3.8.2.1 reason string", SERVER, b"\x82\x0A\x00\x01\x03\x1F\x00\x00\x00\x01a\x00", Protocol),
        ("[MQTT-3.10.3-2] no filter to unsubscribe", SERVER, b"\xA2\x03\x00\x01\x00", Protocol),
        ("3.10.2.1 subscription identifier", SERVER, b"\xA2\x08\x00\x01\x02\x0B\x01\x00\x01a", Protocol),
        ("filter of UNSUBSCRIBE cut short", SERVER, b"\xA2\x06\x00\x01\x00\x00\x05a", Malformed),
        ("[MQTT-3.9.3-2] unknown code", CLIENT, b"\x90\x04\x00\x01\x00\x03", Protocol),
        ("3.9 no code", CLIENT, b"\x90\x03\x00\x01\x00", Protocol),
        ("[MQTT-3.11.3-2] granted QoS in UNSUBACK", CLIENT, b"\xB0\x04\x00\x01\x00\x01", Protocol),
        ("3.11 no code", CLIENT, b"\xB0\x03\x00\x01\x00", Protocol),
    ]);
    #[rustfmt::skip]
    check(Some(Version::V4), &[
        ("v3.1.1 [MQTT-3.8.3-3] no filter", SERVER, b"\x82\x02\x00\x01", Protocol),
        ("v3.1.1 [MQTT-3.8.3-4] option of v5", SERVER, b"\x82\x06\x00\x01\x00\x01a\x04", Malformed),
        ("v3.1.1 [MQTT-3.8.3-4] QoS 3", SERVER, b"\x82\x06\x00\x01\x00\x01a\x03", Malformed),
        ("v3.1.1 [MQTT-3.9.3-2] code of v5", CLIENT, b"\x90\x03\x00\x01\x87", Malformed),
        ("v3.1.1 3.11 UNSUBACK with a code", CLIENT, b"\xB0\x03\x00\x01\x00", Malformed),
    ]);
}

#[test]
fn ends_of_connections_and_authentication() {
    #[rustfmt::skip]
    check(Some(Version::V5), &[
        ("[MQTT-3.14.2-1] unknown reason", SERVER, b"\xE0\x01\x05", Protocol),
        ("[MQTT-3.14.2-1] reason of CONNACK", SERVER, b"\xE0\x01\x85", Protocol),
        ("table 3-10 a server's reason from a client", SERVER, b"\xE0\x01\x8B", Protocol),
        ("table 3-10 a client's reason from a server", CLIENT, b"\xE0\x01\x04", Protocol),
        ("[MQTT-3.14.2-2] session expiry from a server", CLIENT, b"\xE0\x07\x00\x05\x11\x00\x00\x00\x01", Protocol),
        ("3.14.2.2.5 server reference from a client", SERVER, b"\xE0\x05\x00\x03\x1C\x00\x00", Protocol),
        ("3.14.2.2.2 session expiry twice", SERVER, b"\xE0\x0C\x00\x0A\x11\x00\x00\x00\x01\x11\x00\x00\x00\x01", Protocol),
        ("bytes left over", SERVER, b"\xE0\x03\x00\x00\x00", Malformed),
        ("[MQTT-3.15.2-1] unknown reason", SERVER, b"\xF0\x02\x01\x00", Protocol),
        ("3.15.2.2.2 no method", SERVER, b"\xF0\x02\x18\x00", Protocol),
        ("3.15.2.2.2 method twice", SERVER, b"\xF0\x08\x18\x06\x15\x00\x00\x15\x00\x00", Protocol),
        ("3.15.2.2.3 data without a method", SERVER, b"\xF0\x05\x18\x03\x16\x00\x00", Protocol),
        ("table 3-11 success from a client", SERVER, b"\xF0\x00", Protocol),
        ("table 3-11 re-authenticate from a server", CLIENT, b"\xF0\x05\x19\x03\x15\x00\x00", Protocol),
        ("[MQTT-3.2.2-1] acknowledge flags", CLIENT, b"\x20\x03\x02\x00\x00", Malformed),
        ("[MQTT-3.2.2-6] session present with a failure", CLIENT, b"\x20\x03\x01\x87\x00", Protocol),
        ("[MQTT-3.2.2-8] unknown reason", CLIENT, b"\x20\x03\x00\x01\x00", Protocol),
        ("3.2.2.3.4 maximum QoS 2", CLIENT, b"\x20\x05\x00\x00\x02\x24\x02", Protocol),
        ("3.2.2.3.5 retain available 2", CLIENT, b"\x20\x05\x00\x00\x02\x25\x02", Protocol),
        ("3.2.2.3.3 receive maximum 0", CLIENT, b"\x20\x06\x00\x00\x03\x21\x00\x00", Protocol),
        ("3.2.2.3.6 maximum packet size 0", CLIENT, b"\x20\x08\x00\x00\x05\x27\x00\x00\x00\x00", Protocol),
        ("3.2.2.3.14 server keep alive twice", CLIENT, b"\x20\x09\x00\x00\x06\x13\x00\x01\x13\x00\x01", Protocol),
        ("3.2.2.3.18 authentication data without a method", CLIENT, b"\x20\x06\x00\x00\x03\x16\x00\x00", Protocol),
        ("3.2.2.3 property of CONNECT", CLIENT, b"\x20\x05\x00\x00\x02\x17\x01", Protocol),
    ]);
    #[rustfmt::skip]
    check(Some(Version::V4), &[
        ("v3.1.1 3.14 DISCONNECT with a body", SERVER, b"\xE0\x01\x00", Malformed),
        ("v3.1.1 DISCONNECT to a client", CLIENT, b"\xE0\x00", Protocol),
        ("v3.1.1 AUTH", SERVER, b"\xF0\x00", Protocol),
        ("v3.1.1 table 3.1 return code 6", CLIENT, b"\x20\x02\x00\x06", Malformed),
        ("v3.1.1 [MQTT-3.2.2-4] session present with a failure", CLIENT, b"\x20\x02\x01\x05", Protocol),
        ("v3.1.1 CONNACK with properties", CLIENT, b"\x20\x03\x00\x00\x00", Malformed),
    ]);
}
