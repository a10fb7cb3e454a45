//! rumqttc, the Rust client, with MQTT 5.

use std::time::Duration;

use bytes::Bytes;
use catena_tests::{
    broker::{Broker, unique},
    on_shards,
};
use rumqttc::v5::{
    AsyncClient, Event, MqttOptions,
    mqttbytes::{
        QoS,
        v5::{
            ConnectReturnCode, LastWill, Packet, Publish, PublishProperties, SubscribeProperties,
            SubscribeReasonCode,
        },
    },
};
use tokio::{
    sync::mpsc::{self, Receiver},
    task::JoinHandle,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(10);
/// Packets that arrived and that nobody has asked for yet.
const CAPACITY: usize = 1_000;

on_shards!(
    at_every_qos,
    retained,
    will,
    shared_subscription,
    session_resumed,
    properties_arrive,
);

/// A message arrives at the lower of its own QoS and the subscription's.
#[tokio::main(flavor = "current_thread")]
async fn at_every_qos(broker: &Broker) {
    let mut publisher = Peer::open(options(broker)).await;
    for granted in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let topic = unique("rumqttc/qos");
        let mut subscriber = Peer::open(options(broker)).await;
        subscriber.subscribe(&topic, granted).await;
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            publisher.publish(&topic, qos, false, "payload").await;
            let lower = if (qos as u8) < granted as u8 {
                qos
            } else {
                granted
            };
            subscriber.expect("payload", lower).await;
        }
    }
}

/// A retained message is there for later subscribers until an empty one clears it.
#[tokio::main(flavor = "current_thread")]
async fn retained(broker: &Broker) {
    let topic = unique("rumqttc/retained");
    let mut publisher = Peer::open(options(broker)).await;
    publisher
        .publish(&topic, QoS::AtLeastOnce, true, "first")
        .await;
    publisher
        .publish(&topic, QoS::AtLeastOnce, true, "kept")
        .await;

    let mut later = Peer::open(options(broker)).await;
    later.subscribe(&topic, QoS::AtLeastOnce).await;
    assert!(later.expect("kept", QoS::AtLeastOnce).await.retain);
    publisher
        .publish(&topic, QoS::AtLeastOnce, true, "live")
        .await;
    assert!(!later.expect("live", QoS::AtLeastOnce).await.retain);

    publisher.publish(&topic, QoS::AtLeastOnce, true, "").await;
    let mut last = Peer::open(options(broker)).await;
    last.subscribe(&topic, QoS::AtLeastOnce).await;
    publisher
        .publish(&topic, QoS::AtLeastOnce, false, "marker")
        .await;
    last.expect("marker", QoS::AtLeastOnce).await;
}

/// A client that vanishes leaves its will; one that says goodbye does not.
#[tokio::main(flavor = "current_thread")]
async fn will(broker: &Broker) {
    let topic = unique("rumqttc/will");
    let mut watcher = Peer::open(options(broker)).await;
    watcher.subscribe(&topic, QoS::AtLeastOnce).await;
    let mut mortal = options(broker);
    mortal.set_last_will(LastWill::new(&topic, "gone", QoS::AtLeastOnce, false, None));

    Peer::open(mortal.clone()).await.disconnect().await;
    let mut publisher = Peer::open(options(broker)).await;
    publisher
        .publish(&topic, QoS::AtLeastOnce, false, "marker")
        .await;
    watcher.expect("marker", QoS::AtLeastOnce).await;

    Peer::open(mortal).await.die().await;
    watcher.expect("gone", QoS::AtLeastOnce).await;
}

/// Each message goes to one member of the group, and no member is left out.
#[tokio::main(flavor = "current_thread")]
async fn shared_subscription(broker: &Broker) {
    let topic = unique("rumqttc/shared");
    let filter = format!("$share/group/{topic}");
    let mut first = Peer::open(options(broker)).await;
    let mut second = Peer::open(options(broker)).await;
    first.subscribe(&filter, QoS::AtLeastOnce).await;
    second.subscribe(&filter, QoS::AtLeastOnce).await;
    let mut publisher = Peer::open(options(broker)).await;
    let payloads: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for payload in &payloads {
        publisher
            .publish(&topic, QoS::AtLeastOnce, false, payload)
            .await;
    }

    let (mut got, mut members) = (Vec::new(), [false; 2]);
    while got.len() < payloads.len() {
        let (member, message) = tokio::select! {
            message = first.message() => (0, message),
            message = second.message() => (1, message),
        };
        members[member] = true;
        got.push(String::from_utf8(message.payload.into()).expect("what was sent"));
    }
    got.sort_by_key(|payload| payload.parse::<u32>().expect("a number"));
    assert_eq!(got, payloads);
    assert_eq!(members, [true, true], "one member got everything");
}

/// What was published while a client was away is there when it is back.
#[tokio::main(flavor = "current_thread")]
async fn session_resumed(broker: &Broker) {
    let topic = unique("rumqttc/session");
    let mut lasting = options(broker);
    lasting
        .set_clean_start(false)
        .set_session_expiry_interval(Some(60));

    let mut sleeper = Peer::open(lasting.clone()).await;
    assert!(!sleeper.session_present);
    sleeper.subscribe(&topic, QoS::ExactlyOnce).await;
    sleeper.disconnect().await;

    let mut publisher = Peer::open(options(broker)).await;
    publisher
        .publish(&topic, QoS::AtLeastOnce, false, "one")
        .await;
    publisher
        .publish(&topic, QoS::ExactlyOnce, false, "two")
        .await;

    let mut sleeper = Peer::open(lasting).await;
    assert!(sleeper.session_present);
    sleeper.expect("one", QoS::AtLeastOnce).await;
    sleeper.expect("two", QoS::ExactlyOnce).await;
    publisher
        .publish(&topic, QoS::AtLeastOnce, false, "three")
        .await;
    sleeper.expect("three", QoS::AtLeastOnce).await;
}

/// The properties of a message arrive as they were sent, user properties in their order.
#[tokio::main(flavor = "current_thread")]
async fn properties_arrive(broker: &Broker) {
    let topic = unique("rumqttc/properties");
    let mut subscriber = Peer::open(options(broker)).await;
    let identifier = SubscribeProperties {
        id: Some(4711),
        user_properties: Vec::new(),
    };
    subscriber
        .client
        .subscribe_with_properties(&topic, QoS::AtLeastOnce, identifier)
        .await
        .expect("the event loop runs");
    subscriber.granted(QoS::AtLeastOnce).await;

    let sent = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(60),
        response_topic: Some("answers/here".to_owned()),
        correlation_data: Some(Bytes::from_static(&[0, 1, 255])),
        user_properties: [("colour", "grün"), ("colour", "red"), ("empty", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        content_type: Some("text/plain".to_owned()),
        ..PublishProperties::default()
    };
    let mut publisher = Peer::open(options(broker)).await;
    publisher
        .client
        .publish_with_properties(&topic, QoS::AtLeastOnce, false, "payload", sent.clone())
        .await
        .expect("the event loop runs");
    publisher.acknowledged(QoS::AtLeastOnce).await;

    let message = subscriber.expect("payload", QoS::AtLeastOnce).await;
    let got = message.properties.expect("properties");
    let expiry = got.message_expiry_interval.expect("the message expires");
    assert!((50..=60).contains(&expiry), "{expiry} s are left");
    let expected = PublishProperties {
        message_expiry_interval: Some(expiry),
        subscription_identifiers: vec![4711],
        ..sent
    };
    // An alias is between the broker and the subscriber.
    assert_eq!(
        PublishProperties {
            topic_alias: None,
            ..got
        },
        expected
    );
}

/// A clean start with a client id of its own.
fn options(broker: &Broker) -> MqttOptions {
    let name = unique("rumqttc-v5");
    let mut options =
        MqttOptions::new(name, broker.address.ip().to_string(), broker.address.port());
    options.set_clean_start(true);
    options
}

/// A connected client. Its event loop runs in a task, which ends at the first error: the client's own
/// reconnecting would hide what the broker did.
struct Peer {
    client: AsyncClient,
    packets: Receiver<Packet>,
    event_loop: JoinHandle<()>,
    session_present: bool,
}

impl Peer {
    async fn open(options: MqttOptions) -> Peer {
        let (client, mut event_loop) = AsyncClient::new(options, 16);
        let (sender, packets) = mpsc::channel(CAPACITY);
        let event_loop = tokio::spawn(async move {
            while let Ok(event) = event_loop.poll().await {
                if let Event::Incoming(packet) = event {
                    let _ = sender.send(packet).await;
                }
            }
        });
        let mut peer = Peer {
            client,
            packets,
            event_loop,
            session_present: false,
        };
        peer.session_present = peer
            .packet("CONNACK", |packet| match packet {
                Packet::ConnAck(connack) if connack.code == ConnectReturnCode::Success => {
                    Some(connack.session_present)
                }
                _ => None,
            })
            .await;
        peer
    }

    async fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.client
            .subscribe(filter, qos)
            .await
            .expect("the event loop runs");
        self.granted(qos).await;
    }

    /// Waits for a SUBACK that grants `qos`.
    async fn granted(&mut self, qos: QoS) {
        let codes = self
            .packet("SUBACK", |packet| match packet {
                Packet::SubAck(suback) => Some(suback.return_codes),
                _ => None,
            })
            .await;
        assert_eq!(codes, [SubscribeReasonCode::Success(qos)]);
    }

    /// Publishes and waits for the last acknowledgement.
    async fn publish(&mut self, topic: &str, qos: QoS, retain: bool, payload: &str) {
        self.client
            .publish(topic, qos, retain, payload.to_owned())
            .await
            .expect("the event loop runs");
        self.acknowledged(qos).await;
    }

    async fn acknowledged(&mut self, qos: QoS) {
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => {
                self.packet("PUBACK", |packet| {
                    matches!(packet, Packet::PubAck(_)).then_some(())
                })
                .await;
            }
            QoS::ExactlyOnce => {
                self.packet("PUBCOMP", |packet| {
                    matches!(packet, Packet::PubComp(_)).then_some(())
                })
                .await;
            }
        }
    }

    async fn message(&mut self) -> Publish {
        self.packet("PUBLISH", |packet| match packet {
            Packet::Publish(publish) => Some(publish),
            _ => None,
        })
        .await
    }

    /// The next message is this one.
    async fn expect(&mut self, payload: &str, qos: QoS) -> Publish {
        let message = self.message().await;
        assert_eq!(message.payload, payload.as_bytes());
        assert_eq!(message.qos, qos, "{payload}");
        message
    }

    /// The first packet that `wanted` takes; the others are passed over.
    async fn packet<T>(&mut self, what: &str, wanted: impl Fn(Packet) -> Option<T>) -> T {
        let search = async {
            loop {
                let packet = self.packets.recv().await.expect("the connection is open");
                if let Some(found) = wanted(packet) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, search)
            .await
            .unwrap_or_else(|_| panic!("no {what} comes"))
    }

    async fn disconnect(self) {
        self.client.disconnect().await.expect("the event loop runs");
        // It ends when the broker closes the connection.
        timeout(PATIENCE, self.event_loop)
            .await
            .expect("the broker closes")
            .expect("no panic");
    }

    /// Ends as in a power cut: no DISCONNECT.
    async fn die(self) {
        self.event_loop.abort();
        let _ = self.event_loop.await;
    }
}
