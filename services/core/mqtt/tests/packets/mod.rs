//! Random packets, of the kind that a version can express in full.

use std::num::NonZeroU16;

use bytes::Bytes;
use bytestring::ByteString;
use catena_mqtt::{
    Packet, QoS, ReasonCode, Version,
    packet::{
        Ack, Auth, Connack, Connect, Disconnect, Kind, PacketId, Publish, RetainHandling, Suback,
        Subscribe, SubscribeFilter, Unsuback, Unsubscribe, Will,
    },
    property::{Builder, UserProperties},
};
use proptest::{collection::vec, option::of, prelude::*, sample::select};

pub fn version() -> impl Strategy<Value = Version> {
    select(vec![Version::V3, Version::V4, Version::V5])
}

/// A packet that `version` can express without loss.
pub fn packet(version: Version) -> BoxedStrategy<Packet> {
    let common = prop_oneof![
        connect(version).prop_map(|connect| Packet::Connect(Box::new(connect))),
        connack(version).prop_map(|connack| Packet::Connack(Box::new(connack))),
        publish(version).prop_map(Packet::Publish),
        ack(version, Kind::Puback).prop_map(Packet::Puback),
        ack(version, Kind::Pubrec).prop_map(Packet::Pubrec),
        ack(version, Kind::Pubrel).prop_map(Packet::Pubrel),
        ack(version, Kind::Pubcomp).prop_map(Packet::Pubcomp),
        subscribe(version).prop_map(Packet::Subscribe),
        suback(version).prop_map(Packet::Suback),
        unsubscribe(version).prop_map(Packet::Unsubscribe),
        unsuback(version).prop_map(Packet::Unsuback),
        Just(Packet::Pingreq),
        Just(Packet::Pingresp),
        disconnect(version).prop_map(|disconnect| Packet::Disconnect(Box::new(disconnect))),
    ];
    if version.is_v5() {
        prop_oneof![14 => common, 1 => auth().prop_map(|auth| Packet::Auth(Box::new(auth)))].boxed()
    } else {
        common.boxed()
    }
}

fn text() -> impl Strategy<Value = ByteString> {
    // Every character but U+0000.
    "[\u{1}-\u{10FFFF}]{0,12}".prop_map(ByteString::from)
}

fn topic() -> impl Strategy<Value = ByteString> {
    "[a-z$/é ]{1,20}".prop_map(ByteString::from)
}

fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap())
}

fn qos() -> impl Strategy<Value = QoS> {
    select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn reason(kind: Kind) -> impl Strategy<Value = ReasonCode> {
    let codes = (0..=u8::MAX).filter_map(ReasonCode::from_u8);
    select(
        codes
            .filter(|code| code.is_valid_in(kind))
            .collect::<Vec<_>>(),
    )
}

fn user_properties() -> impl Strategy<Value = UserProperties> {
    vec((text(), text()), 0..3).prop_map(|pairs| pairs.into_iter().collect())
}

/// `value` in version 5, its default below.
fn only_in_5<T: Default + Clone + std::fmt::Debug + 'static>(
    version: Version,
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    if version.is_v5() {
        value.boxed()
    } else {
        Just(T::default()).boxed()
    }
}

fn message_properties(version: Version) -> BoxedStrategy<Bytes> {
    let parts = (
        any::<bool>(),
        of(text()),
        of(topic()),
        of(binary()),
        user_properties(),
    );
    let encoded = parts.prop_map(|(utf8, content_type, response_topic, correlation, user)| {
        let mut builder = Builder::new();
        for (name, value) in &user {
            builder = builder.user(name, value);
        }
        if utf8 {
            builder = builder.payload_format_utf8();
        }
        if let Some(content_type) = content_type {
            builder = builder.content_type(&content_type);
        }
        if let Some(response_topic) = response_topic {
            builder = builder.response_topic(&response_topic);
        }
        if let Some(correlation) = correlation {
            builder = builder.correlation_data(&correlation);
        }
        builder.build().unwrap()
    });
    only_in_5(version, encoded)
}

fn will(version: Version) -> impl Strategy<Value = Will> {
    let message = (topic(), binary(), qos(), any::<bool>());
    let times = only_in_5(version, (any::<u32>(), of(any::<u32>())));
    (message, times, message_properties(version)).prop_map(
        |((topic, payload, qos, retain), (delay, message_expiry), properties)| Will {
            topic,
            payload,
            qos,
            retain,
            delay,
            message_expiry,
            properties,
        },
    )
}

fn connect(version: Version) -> impl Strategy<Value = Connect> {
    let head = (any::<bool>(), any::<u16>(), text(), of(will(version)));
    let credentials = (of(text()), of(binary()));
    let limits = (
        of(any::<u32>()),
        any::<u16>(),
        of(1..=u32::MAX),
        any::<u16>(),
    );
    let authentication = (of(text()), of(binary()), user_properties());
    let extra = only_in_5(version, (limits, any::<(bool, bool)>(), authentication));
    (head, credentials, extra).prop_map(move |(head, credentials, extra)| {
        let mut connect = Connect::new(version, head.2);
        (connect.clean_start, connect.keep_alive, connect.will) = (head.0, head.1, head.3);
        (connect.username, connect.password) = credentials;
        if !version.is_v5() && connect.username.is_none() {
            connect.password = None;
        }
        let (limits, (response, problem), (method, data, user)) = extra;
        connect.session_expiry = limits.0;
        connect.receive_maximum = NonZeroU16::new(limits.1);
        connect.maximum_packet_size = limits.2;
        connect.topic_alias_maximum = limits.3;
        if version.is_v5() {
            connect.request_response_information = response;
            connect.request_problem_information = problem;
        }
        connect.authentication_data = data.filter(|_| method.is_some());
        connect.authentication_method = method;
        connect.user_properties = user;
        connect
    })
}

fn connack(version: Version) -> BoxedStrategy<Connack> {
    let head = (any::<bool>(), reason(Kind::Connack)).prop_map(move |(present, reason)| {
        let mut connack = Connack::refused(reason);
        if !version.is_v5() {
            let return_code = reason.connack_return_code();
            connack.reason = ReasonCode::from_connack_return_code(return_code).unwrap();
        }
        connack.session_present = present && !reason.is_error() && version != Version::V3;
        connack
    });
    if !version.is_v5() {
        return head.boxed();
    }
    let limits = (
        of(any::<u32>()),
        any::<u16>(),
        of(1..=u32::MAX),
        any::<u16>(),
    );
    let flags = any::<(bool, bool, bool, bool)>();
    let maximum_qos = of(select(vec![QoS::AtMostOnce, QoS::AtLeastOnce]));
    let texts = (of(text()), of(text()), of(text()), of(text()), of(text()));
    let rest = (
        maximum_qos,
        of(any::<u16>()),
        of(binary()),
        user_properties(),
    );
    (head, limits, flags, texts, rest)
        .prop_map(|(head, limits, flags, texts, rest)| Connack {
            session_expiry: limits.0,
            receive_maximum: NonZeroU16::new(limits.1),
            maximum_packet_size: limits.2,
            topic_alias_maximum: limits.3,
            retain_available: flags.0,
            wildcard_subscription_available: flags.1,
            subscription_ids_available: flags.2,
            shared_subscription_available: flags.3,
            assigned_client_id: texts.0,
            reason_string: texts.1,
            response_information: texts.2,
            server_reference: texts.3,
            authentication_data: rest.2.filter(|_| texts.4.is_some()),
            authentication_method: texts.4,
            maximum_qos: rest.0,
            server_keep_alive: rest.1,
            user_properties: rest.3,
            ..head
        })
        .boxed()
}

fn publish(version: Version) -> impl Strategy<Value = Publish> {
    let flags = (any::<bool>(), qos(), any::<bool>(), packet_id());
    let ids = vec(1..=268_435_455_u32, 0..3);
    let numbers = only_in_5(version, (any::<u16>(), of(any::<u32>()), ids));
    let bodies = (topic(), message_properties(version), binary());
    (flags, numbers, bodies).prop_map(|(flags, numbers, (topic, properties, payload))| {
        let (dup, qos, retain, packet_id) = flags;
        let acknowledged = qos > QoS::AtMostOnce;
        let topic_alias = NonZeroU16::new(numbers.0);
        Publish {
            dup: dup && acknowledged,
            qos,
            retain,
            topic: if topic_alias.is_some() && dup {
                ByteString::new()
            } else {
                topic
            },
            packet_id: acknowledged.then_some(packet_id),
            topic_alias,
            message_expiry: numbers.1,
            subscription_ids: numbers.2.into(),
            properties,
            payload,
        }
    })
}

fn ack(version: Version, kind: Kind) -> impl Strategy<Value = Ack> {
    let says = only_in_5(version, (reason(kind), of(text()), user_properties()));
    (packet_id(), says).prop_map(
        |(packet_id, (reason, reason_string, user_properties))| Ack {
            packet_id,
            reason,
            reason_string,
            user_properties,
        },
    )
}

fn subscribe_filter(version: Version) -> impl Strategy<Value = SubscribeFilter> {
    let handling = select(vec![
        RetainHandling::Send,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ]);
    let options = only_in_5(version, (any::<bool>(), any::<bool>(), handling));
    (text(), qos(), options).prop_map(|(filter, qos, options)| SubscribeFilter {
        no_local: options.0,
        retain_as_published: options.1,
        retain_handling: options.2,
        ..SubscribeFilter::new(filter, qos)
    })
}

fn subscribe(version: Version) -> impl Strategy<Value = Subscribe> {
    let says = only_in_5(version, (of(1..=268_435_455_u32), user_properties()));
    (packet_id(), vec(subscribe_filter(version), 1..4), says).prop_map(|(id, filters, says)| {
        let (subscription_id, user_properties) = says;
        Subscribe {
            subscription_id,
            user_properties,
            ..Subscribe::new(id, filters)
        }
    })
}

fn suback(version: Version) -> impl Strategy<Value = Suback> {
    let codes = vec(reason(Kind::Suback), 1..4).prop_map(move |codes| {
        let lossy = |code: ReasonCode| {
            if code.is_error() && !version.is_v5() {
                ReasonCode::UnspecifiedError
            } else {
                code
            }
        };
        codes.into_iter().map(lossy).collect()
    });
    let says = only_in_5(version, (of(text()), user_properties()));
    (packet_id(), codes, says).prop_map(|(id, codes, (reason_string, user_properties))| Suback {
        reason_string,
        user_properties,
        ..Suback::new(id, codes)
    })
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Unsubscribe> {
    let user_properties = only_in_5(version, user_properties());
    (packet_id(), vec(text(), 1..4), user_properties).prop_map(|(id, filters, user_properties)| {
        Unsubscribe {
            user_properties,
            ..Unsubscribe::new(id, filters)
        }
    })
}

fn unsuback(version: Version) -> impl Strategy<Value = Unsuback> {
    let codes = vec(reason(Kind::Unsuback), 1..4);
    let says = only_in_5(version, (codes, of(text()), user_properties()));
    (packet_id(), says).prop_map(|(id, (codes, reason_string, user_properties))| Unsuback {
        reason_string,
        user_properties,
        ..Unsuback::new(id, codes)
    })
}

fn disconnect(version: Version) -> impl Strategy<Value = Disconnect> {
    let numbers = (reason(Kind::Disconnect), of(any::<u32>()));
    let texts = (of(text()), user_properties(), of(text()));
    only_in_5(version, (numbers, texts)).prop_map(|((reason, session_expiry), texts)| Disconnect {
        reason,
        session_expiry,
        reason_string: texts.0,
        user_properties: texts.1,
        server_reference: texts.2,
    })
}

fn auth() -> impl Strategy<Value = Auth> {
    let long = (
        reason(Kind::Auth),
        text(),
        of(binary()),
        of(text()),
        user_properties(),
    );
    let long = long.prop_map(
        |(reason, method, data, reason_string, user_properties)| Auth {
            data,
            reason_string,
            user_properties,
            ..Auth::new(reason, method)
        },
    );
    prop_oneof![1 => Just(Auth::default()), 5 => long]
}
