use catena_mqtt::{
    Packet, QoS, ReasonCode, Version,
    packet::{Subscribe, SubscribeFilter, Will},
};
use catena_shard::{Op, effect::Held};

use super::fake::{Bench, connect, packet_id, publish};
use crate::{Input, Settings};

fn live(version: Version) -> Bench {
    let settings = Settings::default().like_azure();
    Bench::live_with(1, connect(version, 0), settings)
}

// A client that was written for the other broker would be told of what that does not have, and begin to use it.
#[test]
fn connack_says_what_the_other_broker_says() {
    let mut bench = Bench::new(1, Settings::default().like_azure());
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 0))));
    bench.accept(false, Vec::new(), Held::default());
    let connack = bench.connack();
    assert_eq!(connack.maximum_qos, Some(QoS::AtLeastOnce));
    assert_eq!(
        connack.receive_maximum.map(|maximum| maximum.get()),
        Some(100)
    );
    assert_eq!(connack.topic_alias_maximum, 0);
    assert!(!connack.subscription_ids_available);
    // A Broker that allows less is still kept to.
    let settings = Settings {
        receive_maximum: 10,
        ..Settings::default()
    };
    assert_eq!(settings.like_azure().receive_maximum, 10);
}

// What was said in CONNACK would not be so. [MQTT-3.2.2-11] [MQTT-3.2.2-9]
#[test]
fn clients_of_5_are_held_to_it() {
    let mut bench = live(Version::V5);
    bench.publish("a", QoS::ExactlyOnce, 1);
    assert_eq!(bench.disconnected(), ReasonCode::QosNotSupported);

    let mut bench = live(Version::V5);
    let mut aliased = publish("a", QoS::AtMostOnce, 0);
    aliased.topic_alias = std::num::NonZeroU16::new(1);
    bench.packet(Packet::Publish(aliased));
    assert_eq!(bench.disconnected(), ReasonCode::TopicAliasInvalid);

    let mut bench = live(Version::V5);
    let filter = || vec![SubscribeFilter::new("a", QoS::ExactlyOnce)];
    let mut subscribe = Subscribe::new(packet_id(1), filter());
    subscribe.subscription_id = Some(1);
    bench.packet(Packet::Subscribe(subscribe));
    let reason = ReasonCode::SubscriptionIdentifiersNotSupported;
    assert_eq!(bench.disconnected(), reason);

    let mut bench = live(Version::V5);
    bench.packet(Packet::Subscribe(Subscribe::new(packet_id(1), filter())));
    assert!(matches!(bench.op(), Op::Subscribe(op)
        if op.subscriptions[0].options.qos == QoS::AtLeastOnce));
}

// [MQTT-3.2.2-12]: a will that nobody may publish would wait for its time.
#[test]
fn a_will_above_the_maximum_is_refused() {
    let mut connect = connect(Version::V5, 0);
    connect.will = Some(Will {
        topic: "w".into(),
        qos: QoS::ExactlyOnce,
        ..Will::default()
    });
    let mut bench = Bench::new(1, Settings::default().like_azure());
    bench.packet(Packet::Connect(Box::new(connect)));
    assert_eq!(bench.connack().reason, ReasonCode::QosNotSupported);
}

// Clients that cannot be told of a maximum would be cut off for what they may do.
#[test]
fn earlier_versions_keep_qos_2() {
    let mut bench = live(Version::V4);
    bench.publish("a", QoS::ExactlyOnce, 1);
    assert_eq!(bench.publishes().len(), 1);
    let filters = vec![SubscribeFilter::new("a", QoS::ExactlyOnce)];
    bench.packet(Packet::Subscribe(Subscribe::new(packet_id(2), filters)));
    assert!(matches!(bench.op(), Op::Subscribe(op)
        if op.subscriptions[0].options.qos == QoS::ExactlyOnce));
}

// Clients of a gateway that drains would not learn where to go. [F-26]
#[test]
fn a_drain_names_the_server_to_go_to() {
    let settings = Settings {
        server_reference: Some("other:1883".into()),
        ..Settings::default()
    };
    let mut bench = Bench::live_with(1, connect(Version::V5, 0), settings.clone());
    bench.input(Input::Drain(ReasonCode::ServerShuttingDown));
    assert!(matches!(&bench.written()[..], [Packet::Disconnect(last)]
        if last.reason == ReasonCode::UseAnotherServer
            && last.server_reference.as_deref() == Some("other:1883")));
    // One that is still coming in is told by CONNACK.
    let mut bench = Bench::new(1, settings);
    bench.packet(Packet::Connect(Box::new(connect(Version::V5, 0))));
    bench.input(Input::Drain(ReasonCode::ServerShuttingDown));
    let connack = bench.connack();
    assert_eq!(connack.reason, ReasonCode::UseAnotherServer);
    assert_eq!(connack.server_reference.as_deref(), Some("other:1883"));
    // Without one the server is said to go.
    let mut bench = Bench::live(Version::V5, 0);
    bench.input(Input::Drain(ReasonCode::ServerShuttingDown));
    assert_eq!(bench.disconnected(), ReasonCode::ServerShuttingDown);
}
