use catena_mqtt::{
    Packet, ReasonCode, Version,
    packet::{Auth, Connect, Will},
};
use catena_shard::{
    Op,
    effect::{Connected, Held},
};

use super::fake::{Bench, CONN, connect};
use crate::{
    Connection, Identity, Input, Settings,
    bounds::UNKNOWN_PACKET_BYTES_MAX,
    input::Effect,
    outside::{AuthOutcome, Event},
};

fn refusal(connect: Connect) -> ReasonCode {
    let mut bench = Bench::new(1, Settings::default());
    bench.version = connect.version;
    bench.packet(Packet::Connect(Box::new(connect)));
    assert!(bench.connection.finished() && bench.fake.output.is_closing());
    bench.connack().reason
}

// Ten thousand idle connections would not fit the memory that they are given.
#[test]
fn an_idle_connection_is_small() {
    assert!(
        size_of::<Connection>() <= 1024,
        "{}",
        size_of::<Connection>()
    );
    assert!(
        size_of::<crate::guard::Guard>() <= 400,
        "{}",
        size_of::<crate::guard::Guard>()
    );
    assert!(
        size_of::<crate::peers::Peer>() <= 256,
        "{}",
        size_of::<crate::peers::Peer>()
    );
}

// The client would go on with terms that the broker does not keep. [F-16] [MQTT-3.2.2-21]
#[test]
fn connack_tells_the_terms() {
    let settings = Settings {
        keep_alive_max: 60,
        maximum_packet_size: 1000,
        ..Settings::default()
    };
    let mut bench = Bench::new(1, settings);
    let mut connect = connect(Version::V5, u32::MAX);
    connect.keep_alive = 0;
    connect.client_id = "".into();
    bench.packet(Packet::Connect(Box::new(connect)));
    assert!(
        !bench.connection.reads(),
        "what follows CONNECT waits for CONNACK"
    );
    let Op::Connect(op) = bench.op() else {
        panic!()
    };
    assert_eq!((op.expiry, op.attachment.persistent), (3600, true));
    bench.accept(false, Vec::new(), Held::default());
    let connack = bench.connack();
    assert_eq!(connack.session_expiry, Some(3600));
    assert_eq!(connack.server_keep_alive, Some(60));
    assert_eq!(connack.maximum_packet_size, Some(1000));
    assert_eq!(
        connack.assigned_client_id.as_deref(),
        bench.connection.client_id()
    );
    assert_eq!(connack.receive_maximum.map(|m| m.get()), Some(1024));
    assert!(bench.connection.reads());
    assert_eq!(
        bench.fake.events,
        [Event::Connected {
            session_present: false
        }]
    );
}

// Whoever reaches the port could take the memory of the largest packet, without saying who he is.
#[test]
fn packets_are_small_until_the_client_is_known() {
    for (largest, first) in [(u32::MAX, UNKNOWN_PACKET_BYTES_MAX), (1000, 1000)] {
        let settings = Settings {
            maximum_packet_size: largest,
            ..Settings::default()
        };
        let mut bench = Bench::new(1, settings);
        assert_eq!(bench.connection.limits().maximum_packet_size, first);
        bench.packet(Packet::Connect(Box::new(connect(Version::V5, 0))));
        bench.accept(false, Vec::new(), Held::default());
        assert_eq!(bench.connection.limits().maximum_packet_size, largest);
    }
}

// A 3.1.1 session would be lost, or kept against the client's wish. [F-16]
#[test]
fn clean_session_decides_the_expiry_below_5() {
    for (clean, expiry) in [(true, 0), (false, 3600)] {
        let mut bench = Bench::new(1, Settings::default());
        let mut connect = Connect::new(Version::V4, "client");
        connect.clean_start = clean;
        bench.packet(Packet::Connect(Box::new(connect)));
        let Op::Connect(op) = bench.op() else {
            panic!()
        };
        assert_eq!((op.clean_start, op.expiry), (clean, expiry));
    }
}

// Sessions without a name could never be found again. [MQTT-3.1.3-8]
#[test]
fn an_empty_client_id_needs_a_clean_session_below_5() {
    let mut connect = Connect::new(Version::V4, "");
    connect.clean_start = false;
    assert_eq!(refusal(connect), ReasonCode::ClientIdentifierNotValid);
    assert_eq!(
        refusal(Connect::new(Version::V3, "")),
        ReasonCode::ClientIdentifierNotValid
    );
}

// A will could say what its client may not. [F-37]
#[test]
fn a_will_to_a_forbidden_topic_is_refused() {
    let mut connect = connect(Version::V5, 0);
    connect.will = Some(Will {
        topic: "$SYS/x".into(),
        ..Will::default()
    });
    assert_eq!(refusal(connect), ReasonCode::TopicNameInvalid);
}

// A broken client could be two sessions at once. [MQTT-3.1.0-2]
#[test]
fn a_second_connect_ends_the_connection() {
    let mut bench = Bench::live(Version::V5, 0);
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 0))));
    assert_eq!(bench.disconnected(), ReasonCode::ProtocolError);
    assert!(!bench.connection.reads());
}

// [MQTT-3.1.0-1]: anything could be done without saying who one is.
#[test]
fn the_first_packet_must_be_connect() {
    let mut bench = Bench::new(1, Settings::default());
    bench.packet(Packet::Pingreq);
    assert!(bench.connection.finished() && bench.fake.output.is_closing());
    assert_eq!(bench.written(), []);
}

// The client would wait for ever. [F-15]
#[test]
fn a_silent_home_shard_is_told_after_ten_seconds_and_undone_later() {
    let mut bench = Bench::new(1, Settings::default());
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 100))));
    bench.ops();
    bench.pass(9_999);
    assert_eq!(bench.written(), []);
    bench.pass(1);
    assert_eq!(bench.connack().reason, ReasonCode::ServerUnavailable);
    assert!(!bench.connection.finished());
    bench.accept(true, Vec::new(), Held::default());
    let Op::Disconnect(op) = bench.op() else {
        panic!()
    };
    assert!(!op.will, "the client was never told yes");
    assert!(bench.connection.finished());
}

// The session would stay attached to nobody. [F-15]
#[test]
fn a_socket_that_closes_before_the_answer_is_undone() {
    let mut bench = Bench::new(1, Settings::default());
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 100))));
    bench.input(Input::Closed);
    bench.ops();
    assert!(!bench.connection.finished());
    bench.accept(false, Vec::new(), Held::default());
    assert!(matches!(bench.op(), Op::Disconnect(op) if !op.will));
    assert!(bench.connection.finished());
    assert!(bench.fake.events.is_empty());
}

// Connects would be refused as too old while a link is not yet open. [F-15]
#[test]
fn connect_waits_for_the_shards_time() {
    let mut bench = Bench::new(1, Settings::default());
    bench.fake.time_known = false;
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 0))));
    assert_eq!(bench.ops(), []);
    bench.fake.time_known = true;
    bench.pass(100);
    assert!(matches!(bench.op(), Op::Connect(_)));
}

// The client would not learn why, or learn it in a word that CONNACK does not have. [F-4]
#[test]
fn the_home_shards_refusal_is_told() {
    for (said, told) in [
        (ReasonCode::NotAuthorized, ReasonCode::NotAuthorized),
        (ReasonCode::SessionTakenOver, ReasonCode::ServerBusy),
    ] {
        let mut bench = Bench::new(1, Settings::default());
        bench.packet(Packet::Connect(Box::new(connect(Version::V5, 0))));
        let home = bench.home();
        let connected = Connected {
            conn: CONN,
            outcome: Err(said),
        };
        bench.effect(home, Effect::Connected(Box::new(connected)));
        assert_eq!(bench.connack().reason, told);
        assert!(bench.connection.finished());
        assert_eq!(bench.fake.events, [Event::Refused(told)]);
    }
}

// A client could come in half way through its proof. [MQTT-4.12.0-1]
#[test]
fn authentication_goes_on_until_it_is_decided() {
    let mut bench = Bench::new(1, Settings::default());
    bench.fake.outcome = Some(AuthOutcome::Continue {
        data: Some("challenge".into()),
    });
    let mut connect = connect(Version::V5, 0);
    connect.authentication_method = Some("M".into());
    bench.packet(Packet::Connect(Box::new(connect)));
    assert!(matches!(&bench.written()[..], [Packet::Auth(_)]));
    assert_eq!(bench.ops(), []);
    bench.fake.outcome = None;
    let auth = Auth::new(ReasonCode::ContinueAuthentication, "M");
    bench.packet(Packet::Auth(Box::new(auth)));
    assert!(!bench.connection.reads());
    let outcome = AuthOutcome::Accepted {
        identity: Identity {
            username: Some("p".into()),
            ..Identity::default()
        },
        data: Some("yes".into()),
    };
    bench.input(Input::Authenticated(Box::new(outcome)));
    assert!(matches!(bench.op(), Op::Connect(op) if op.principal.as_deref() == Some("p")));
    bench.accept(false, Vec::new(), Held::default());
    let connack = bench.connack();
    assert_eq!(connack.authentication_method.as_deref(), Some("M"));
    assert_eq!(connack.authentication_data.as_deref(), Some(&b"yes"[..]));
    // Once more, for a live client. [MQTT-4.12.1-1]
    bench.fake.outcome = Some(AuthOutcome::Accepted {
        identity: Identity {
            username: Some("p".into()),
            ..Identity::default()
        },
        data: None,
    });
    let auth = Auth::new(ReasonCode::ReAuthenticate, "M");
    bench.packet(Packet::Auth(Box::new(auth)));
    assert!(
        matches!(&bench.written()[..], [Packet::Auth(auth)] if auth.reason == ReasonCode::Success)
    );
    let auth = Auth::new(ReasonCode::ReAuthenticate, "other");
    bench.packet(Packet::Auth(Box::new(auth)));
    assert_eq!(bench.disconnected(), ReasonCode::ProtocolError);
}

// [MQTT-4.12.0-7]: AUTH without a method would start an exchange that nobody agreed on.
#[test]
fn auth_without_a_method_at_connect_is_a_protocol_error() {
    let mut bench = Bench::live(Version::V5, 0);
    let auth = Auth::new(ReasonCode::ReAuthenticate, "M");
    bench.packet(Packet::Auth(Box::new(auth)));
    assert_eq!(bench.disconnected(), ReasonCode::ProtocolError);
}

// Dead clients would stay connected for ever. [MQTT-3.1.2-22]
#[test]
fn silence_beyond_keep_alive_ends_the_connection() {
    let mut connect = connect(Version::V5, 0);
    connect.keep_alive = 10;
    let mut bench = Bench::live_with(1, connect, Settings::default());
    bench.pass(10_000);
    bench.packet(Packet::Pingreq);
    assert_eq!(bench.written(), [Packet::Pingresp]);
    bench.pass(14_999);
    assert!(bench.connection.is_live());
    bench.pass(1);
    assert_eq!(bench.disconnected(), ReasonCode::KeepAliveTimeout);
}
