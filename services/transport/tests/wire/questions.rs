//! Arbitrary questions of administrators, and arbitrary answers.

use catena_shard::{
    Answer, Query,
    query::{
        Connection, Named, Pattern, QueueSlice, Reader, Retained, RetainedList, Session,
        SessionFilter, Sessions, Subscriptions, Summary, WillSummary,
    },
};
use proptest::{collection::vec, option, prelude::*};

use crate::arbitrary::{bytes, client, filter, number, options, qos, session, shard, string, time};

fn named() -> impl Strategy<Value = Named> {
    (client(), session()).prop_map(|(client, session)| Named { client, session })
}

fn topic() -> impl Strategy<Value = bytestring::ByteString> {
    "[a-zé/]{1,20}".prop_map(Into::into)
}

/// Any question.
pub fn query() -> impl Strategy<Value = Query> {
    let pattern = "[a-z*?é]{0,20}".prop_map(|text| Pattern::parse(text.into()).unwrap());
    let asked = (
        option::of(pattern),
        option::of(any::<bool>()),
        vec(number(), 0..4),
    )
        .prop_map(|(pattern, connected, gateways)| SessionFilter {
            pattern,
            connected,
            gateways,
        });
    let any = any::<u32>;
    prop_oneof![
        (asked, any(), any()).prop_map(|(filter, from, limit)| Query::Sessions {
            filter,
            from,
            limit
        }),
        client().prop_map(|client| Query::Session { client }),
        vec(named(), 0..4).prop_map(|sessions| Query::Readers { sessions }),
        (named(), option::of(filter()), any())
            .prop_map(|(of, after, limit)| { Query::Subscriptions { of, after, limit } }),
        (named(), number()).prop_map(|(of, from)| Query::Queue { of, from }),
        (filter(), option::of(topic()), any()).prop_map(|(filter, after, limit)| {
            Query::RetainedList {
                filter,
                after,
                limit,
            }
        }),
        (topic(), any()).prop_map(|(topic, payload_bytes_max)| Query::Retained {
            topic,
            payload_bytes_max
        }),
    ]
}

fn record() -> impl Strategy<Value = Session> {
    let connection =
        any::<(u64, u16)>().prop_map(|(gateway, worker)| Connection { gateway, worker });
    let will = (topic(), any::<u32>()).prop_map(|(topic, delay)| WillSummary { topic, delay });
    (
        (string(), client(), session(), option::of(string())),
        any::<(u64, u32, u8)>(),
        (time(), time()),
        option::of(connection),
        option::of(will),
        vec(shard(), 0..4),
    )
        .prop_map(
            |(
                (client_id, client, id, principal),
                (epoch, expiry, protocol),
                (since, ends_at),
                connection,
                will,
                shards,
            )| Session {
                client_id,
                client,
                id,
                epoch,
                principal,
                expiry,
                protocol,
                since,
                connection,
                ends_at,
                will,
                shards,
            },
        )
}

fn reader() -> impl Strategy<Value = Reader> {
    (named(), any::<bool>(), any::<[u64; 5]>()).prop_map(
        |(of, is_attached, [subscriptions, queued, in_flight, in_flight_bytes, inbound])| Reader {
            of,
            is_attached,
            subscriptions,
            queued,
            in_flight,
            in_flight_bytes,
            inbound,
        },
    )
}

fn summary() -> impl Strategy<Value = Summary> {
    (topic(), qos(), any::<u64>(), time(), number()).prop_map(
        |(topic, qos, payload_bytes, expires_at, sequence)| Summary {
            topic,
            qos,
            payload_bytes,
            expires_at,
            sequence,
        },
    )
}

/// Any answer.
pub fn answer() -> impl Strategy<Value = Answer> {
    let subscription = (filter(), options());
    let retained = (summary(), bytes(), bytes()).prop_map(|(summary, payload, properties)| {
        Box::new(Retained {
            summary,
            payload,
            properties,
        })
    });
    prop_oneof![
        (vec(record(), 0..4), option::of(any::<u32>()))
            .prop_map(|(sessions, next)| Answer::Sessions(Sessions { sessions, next })),
        option::of(record().prop_map(Box::new)).prop_map(Answer::Session),
        vec(reader(), 0..4).prop_map(Answer::Readers),
        (vec(subscription, 0..4), any::<bool>()).prop_map(|(subscriptions, is_more)| {
            Answer::Subscriptions(Subscriptions {
                subscriptions,
                is_more,
            })
        }),
        (any::<u64>(), option::of(any::<u64>()))
            .prop_map(|(bytes, next)| Answer::Queue(QueueSlice { bytes, next })),
        (vec(summary(), 0..4), option::of(topic()))
            .prop_map(|(messages, next)| Answer::RetainedList(RetainedList { messages, next })),
        option::of(retained).prop_map(Answer::Retained),
    ]
}
