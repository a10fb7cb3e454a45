//! Maximum Packet Size, and what may be left out for it.

use catena_mqtt::{Packet, ReasonCode, Version};
use catena_tests::{
    broker::{Broker, Settings, unique},
    client::{Client, Filter, Message, Options},
    on_shards,
};

on_shards!(
    a_message_that_is_too_large_is_dropped_for_that_client,
    a_packet_above_our_maximum_is_refused,
    no_answer_is_larger_than_the_client_takes,
    problem_information_is_left_out_on_request,
);

/// If this fails, a small device gets what it cannot read, or nothing ever again.
///
/// v5 [MQTT-3.1.2-24] [MQTT-3.1.2-25]
fn a_message_that_is_too_large_is_dropped_for_that_client(broker: &Broker) {
    for persistent in [false, true] {
        for qos in [0, 1, 2] {
            let topic = unique("large");
            let options = Options::new(Version::V5, &unique("small"));
            let options = if persistent {
                options.persistent()
            } else {
                options
            };
            const LIMIT: u32 = 200;
            // With one message at a time: what was dropped must not wait for an answer.
            let options = options.maximum_packet_size(LIMIT).receive_maximum(1);
            let mut small = options.open(broker);
            small.subscribe(&topic, 2);
            let mut large = Client::open(broker, Version::V5, &unique("large"));
            large.subscribe(&topic, 2);
            let mut publisher = Client::open(broker, Version::V5, &unique("publisher"));
            // Fixed header, topic, packet identifier, property length.
            let around = 3 + 2 + topic.len() + if qos > 0 { 2 } else { 0 } + 1;
            let fitting = LIMIT as usize - around;
            let sizes = [fitting + 1, 5000, fitting, fitting + 1, 1];
            for size in sizes {
                publisher.publish(&Message::new(&topic, vec![b'x'; size]).qos(qos));
                assert_eq!(large.receive().payload.len(), size);
            }
            assert_eq!(small.receive().payload.len(), fitting);
            assert_eq!(small.receive().payload.len(), 1);
            small.expect_nothing();
            if persistent {
                small.abort();
                options
                    .maximum_packet_size(10_000)
                    .open(broker)
                    .expect_nothing();
            }
        }
    }
}

/// If this fails, an explanation costs a small device its connection.
///
/// The client panics at any packet above its maximum, which is but just enough for CONNACK.
///
/// v5 [MQTT-3.1.2-24] [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.4.2-2] [MQTT-3.4.2-3]
/// v5 [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2]
/// v5 [MQTT-3.7.2-3] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2]
/// v5 [MQTT-3.14.2-3] [MQTT-3.14.2-4]
fn no_answer_is_larger_than_the_client_takes(broker: &Broker) {
    let small = Options::new(Version::V5, &unique("small"));
    let client = small.open(broker);
    let limit = client.last_bytes().len() as u32;
    client.disconnect();
    let small = small.maximum_packet_size(limit);
    exchange(&mut small.open(broker));

    // A refusal in the smallest form: CONNACK with flags, code, property length.
    let mut client = small
        .maximum_packet_size(5)
        .authentication("none", b"")
        .dial(broker);
    assert_eq!(
        client.expect_connack().reason,
        ReasonCode::BadAuthenticationMethod
    );
    assert_eq!(client.expect_close(), None);
    // A protocol error, told or not told.
    let mut client = Options::new(Version::V5, &unique("small")).open(broker);
    let limit = client.last_bytes().len() as u32;
    client.send(&Packet::Pingresp);
    let told = client.expect_close();
    assert_eq!(told, Some(ReasonCode::ProtocolError));
    let limited = Options::new(Version::V5, &unique("small")).maximum_packet_size(limit);
    let mut client = limited.open(broker);
    client.send(&Packet::Pingresp);
    assert_eq!(client.expect_close(), told);
}

/// If this fails, clients pay for explanations that they did not want.
///
/// v5 [MQTT-3.1.2-29]
fn problem_information_is_left_out_on_request(broker: &Broker) {
    let options = Options::new(Version::V5, &unique("brief")).request_problem_information(false);
    for packet in exchange(&mut options.open(broker)) {
        let (string, user) = match packet {
            Packet::Puback(a) | Packet::Pubrec(a) | Packet::Pubrel(a) | Packet::Pubcomp(a) => {
                (a.reason_string, a.user_properties)
            }
            Packet::Suback(s) => (s.reason_string, s.user_properties),
            Packet::Unsuback(u) => (u.reason_string, u.user_properties),
            other => panic!("{other:?}"),
        };
        assert!(string.is_none() && user.is_empty(), "{string:?}, {user:?}");
    }
}

/// Goes through every answer that a broker gives, the failures too, and collects them.
fn exchange(client: &mut Client) -> Vec<Packet> {
    let topic = unique("answers");
    let mut answers = Vec::new();
    let ask = |client: &mut Client, answers: &mut Vec<Packet>| {
        answers.push(client.expect_packet());
    };
    for filter in [&topic, "$share/group/x"] {
        let id = client.new_packet_id();
        client.send_subscribe(id, &[Filter::new(filter, 2)], None);
        ask(client, &mut answers);
    }
    for filter in [&topic, "never/there", "nor/here", "+/not/here/either"] {
        let id = client.new_packet_id();
        client.send_unsubscribe(id, &[filter]);
        ask(client, &mut answers);
    }
    // Nobody listens, and then nobody may publish there.
    for to in [&topic, "$SYS/forbidden"] {
        for qos in [1, 2] {
            let id = client.send_message(&Message::new(to, "x").qos(qos));
            ask(client, &mut answers);
            if qos == 2 {
                client.send_pubrel(id);
                ask(client, &mut answers);
            }
        }
    }
    // Neither was asked for.
    client.send_pubrec(0x0707);
    ask(client, &mut answers);
    client.send_pubrel(0x0808);
    ask(client, &mut answers);
    let kinds: std::collections::HashSet<_> = answers.iter().map(Packet::kind).collect();
    assert_eq!(kinds.len(), 6, "{answers:?}");
    answers
}

/// If this fails, a client can make the broker take a packet of any size into its memory.
///
/// v5 [MQTT-3.2.2-15]
fn a_packet_above_our_maximum_is_refused(broker: &Broker) {
    let settings =
        Settings::shards(broker.shards).config("[clients]\nmax_packet_size_bytes = 1000\n");
    let own = Broker::start(&settings);
    let mut client = Client::open(&own, Version::V5, &unique("client"));
    assert_eq!(client.connack().maximum_packet_size, Some(1000));
    // Three bytes of fixed header, two of the topic's length, one of properties.
    let topic = unique("topic");
    let fitting = 1000 - 3 - 2 - topic.len() - 2 - 1;
    client.subscribe(&topic, 1);
    client.publish(&Message::new(&topic, vec![b'x'; fitting]).qos(1));
    assert_eq!(client.receive().payload.len(), fitting);
    client.send_message(&Message::new(&topic, vec![b'x'; fitting + 1]).qos(1));
    client.expect_closed_for(ReasonCode::PacketTooLarge);
}
