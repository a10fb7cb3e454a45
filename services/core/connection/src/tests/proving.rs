use std::sync::Arc;

use catena_mqtt::{
    Packet, QoS, ReasonCode, Version,
    packet::{Auth, Will},
};
use catena_shard::{Op, effect::Held};

use super::{
    fake::{Bench, connect},
    rules::allow_workers,
};
use crate::{
    Identity, Input,
    input::Now,
    outside::{AuthOutcome, Event},
};

fn identity(username: &'static str, role: &str, expires: Option<u64>) -> Identity {
    Identity {
        username: Some(username.into()),
        attributes: Arc::new([("role".to_owned(), role.to_owned())].into()),
        expires: expires.map(Now),
    }
}

fn accepted(identity: Identity) -> AuthOutcome {
    AuthOutcome::Accepted {
        identity,
        data: None,
    }
}

/// A live client who proved itself by the method `M`.
fn live(version: Version, identity: Identity) -> Bench {
    let mut bench = Bench::strict(1, allow_workers());
    bench.version = version;
    bench.fake.outcome = Some(accepted(identity));
    let mut connect = connect(version, 100);
    connect.keep_alive = 0;
    if version == Version::V5 {
        connect.authentication_method = Some("M".into());
    }
    bench.packet(Packet::Connect(Box::new(connect)));
    bench.accept(false, Vec::new(), Held::default());
    assert_eq!(bench.connack().reason, ReasonCode::Success);
    bench.fake.ops.clear();
    bench.fake.events.clear();
    bench
}

fn auth(bench: &mut Bench, reason: ReasonCode) {
    bench.packet(Packet::Auth(Box::new(Auth::new(reason, "M"))));
}

/// The reason of the AUTH that was written.
fn answered(bench: &mut Bench) -> ReasonCode {
    match &bench.written()[..] {
        [Packet::Auth(auth)] => auth.reason,
        other => panic!("{other:?} in place of AUTH"),
    }
}

// Whoever was once let in would stay for ever, by a token that was taken back.
#[test]
fn the_connection_ends_when_the_proof_expires() {
    for version in [Version::V4, Version::V5] {
        let mut bench = live(version, identity("u", "worker", Some(60_000)));
        bench.pass(59_999);
        assert!(bench.connection.is_live());
        bench.pass(1);
        assert!(bench.fake.output.is_closing());
        assert_eq!(bench.written(), [], "no DISCONNECT");
        assert_eq!(bench.fake.events[0], Event::Expired);
        let ops = bench.ops();
        assert!(matches!(&ops.last().unwrap().1, Op::Disconnect(last) if last.will));
    }
}

// A proof that is over before CONNACK would count.
#[test]
fn an_expired_proof_is_none() {
    let mut bench = Bench::strict(1, allow_workers());
    bench.fake.now = 10;
    bench.fake.outcome = Some(accepted(identity("u", "worker", Some(10))));
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 0))));
    assert_eq!(bench.connack().reason, ReasonCode::NotAuthorized);
    // One that expires while the home shard is asked.
    let mut bench = Bench::strict(1, allow_workers());
    bench.fake.outcome = Some(accepted(identity("u", "worker", Some(10))));
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 0))));
    bench.ops();
    bench.pass(10);
    assert!(bench.fake.output.is_closing());
    bench.accept(false, Vec::new(), Held::default());
    assert!(
        matches!(bench.op(), Op::Disconnect(_)),
        "the session is given back"
    );
}

// A client with a new token would have to connect again. [MQTT-4.12.1-1]
#[test]
fn a_new_proof_moves_the_expiry() {
    let mut bench = live(Version::V5, identity("u", "worker", Some(1_000)));
    bench.pass(999);
    bench.fake.outcome = Some(accepted(identity("u", "worker", Some(5_000))));
    auth(&mut bench, ReasonCode::ReAuthenticate);
    assert_eq!(answered(&mut bench), ReasonCode::Success);
    bench.pass(4_000);
    assert!(bench.connection.is_live());
    bench.pass(1);
    assert!(bench.fake.output.is_closing());
}

// The expiry would be put off by asking alone.
#[test]
fn a_question_that_is_open_does_not_move_the_expiry() {
    let mut bench = live(Version::V5, identity("u", "worker", Some(1_000)));
    bench.fake.outcome = None;
    auth(&mut bench, ReasonCode::ReAuthenticate);
    bench.pass(1_000);
    assert!(bench.fake.output.is_closing());
    let late = accepted(identity("u", "worker", None));
    bench.input(Input::Authenticated(Box::new(late)));
    assert_eq!(bench.written(), []);
}

// A server that is away for a moment would cost every client its connection; and one that is refused could go on.
#[test]
fn only_a_refusal_ends_the_connection() {
    let mut bench = live(Version::V5, identity("u", "worker", Some(1_000)));
    bench.fake.outcome = Some(AuthOutcome::TryAgain);
    for reason in [
        ReasonCode::ReAuthenticate,
        ReasonCode::ContinueAuthentication,
        ReasonCode::ReAuthenticate,
    ] {
        auth(&mut bench, reason);
        assert_eq!(answered(&mut bench), ReasonCode::ContinueAuthentication);
    }
    bench.fake.outcome = Some(AuthOutcome::Refused(ReasonCode::BadUserNameOrPassword));
    auth(&mut bench, ReasonCode::ContinueAuthentication);
    assert_eq!(bench.disconnected(), ReasonCode::NotAuthorized);
}

// At CONNECT there is nobody yet to go on with. [F-4]
#[test]
fn who_cannot_be_judged_is_told_to_come_later() {
    for version in [Version::V4, Version::V5] {
        let mut bench = Bench::strict(1, allow_workers());
        bench.version = version;
        bench.fake.outcome = Some(AuthOutcome::TryAgain);
        bench.packet(Packet::Connect(Box::new(connect(version, 0))));
        assert_eq!(bench.connack().reason, ReasonCode::ServerUnavailable);
    }
}

// Half of the exchange could be left out, or be asked twice at once. [MQTT-4.12.0-7]
#[test]
fn auth_keeps_its_order() {
    let mut bench = live(Version::V5, identity("u", "worker", None));
    auth(&mut bench, ReasonCode::ContinueAuthentication);
    assert_eq!(bench.disconnected(), ReasonCode::ProtocolError);

    let mut bench = live(Version::V5, identity("u", "worker", None));
    bench.fake.outcome = None;
    auth(&mut bench, ReasonCode::ReAuthenticate);
    auth(&mut bench, ReasonCode::ReAuthenticate);
    assert_eq!(bench.disconnected(), ReasonCode::ProtocolError);

    let mut bench = live(Version::V5, identity("u", "worker", None));
    bench.fake.outcome = Some(AuthOutcome::Continue { data: None });
    auth(&mut bench, ReasonCode::ReAuthenticate);
    assert_eq!(answered(&mut bench), ReasonCode::ContinueAuthentication);
    auth(&mut bench, ReasonCode::ReAuthenticate);
    assert_eq!(bench.disconnected(), ReasonCode::ProtocolError);
}

// A session would pass to another user, or a client would keep what only its old attributes allow. [F-4] [F-90]
#[test]
fn a_new_proof_is_of_the_same_user_and_counts_at_once() {
    let mut bench = live(Version::V5, identity("u", "worker", None));
    bench.fake.outcome = Some(accepted(identity("v", "worker", None)));
    auth(&mut bench, ReasonCode::ReAuthenticate);
    assert_eq!(bench.disconnected(), ReasonCode::NotAuthorized);

    let mut bench = live(Version::V5, identity("u", "worker", None));
    bench.publish("a", QoS::AtLeastOnce, 1);
    assert_eq!(bench.publishes().len(), 1);
    bench.fake.outcome = Some(accepted(identity("u", "guest", None)));
    auth(&mut bench, ReasonCode::ReAuthenticate);
    assert_eq!(bench.disconnected(), ReasonCode::NotAuthorized);
}

// Attributes that are gone would go on to count, where there is no name that tells one user from the next.
#[test]
fn attributes_can_be_lost() {
    let nameless = Identity {
        username: None,
        ..identity("u", "worker", None)
    };
    let mut bench = live(Version::V5, nameless);
    bench.fake.outcome = Some(accepted(Identity::default()));
    auth(&mut bench, ReasonCode::ReAuthenticate);
    assert_eq!(bench.disconnected(), ReasonCode::NotAuthorized);
}

// The session would belong to nobody. [F-4]
#[test]
fn the_username_owns_the_session() {
    let mut bench = Bench::strict(1, allow_workers());
    bench.fake.outcome = Some(accepted(identity("u", "worker", None)));
    let mut connect = connect(Version::V5, 0);
    connect.will = Some(Will {
        topic: "w".into(),
        ..Will::default()
    });
    bench.packet(Packet::Connect(Box::new(connect)));
    assert!(matches!(bench.op(), Op::Connect(op) if op.principal.as_deref() == Some("u")));
}
