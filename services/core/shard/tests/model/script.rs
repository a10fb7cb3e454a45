//! What clients do, at random.

use proptest::prelude::*;

pub const CLIENTS: [&str; 4] = ["ann", "bob", "cid", "dee"];

/// Topics; wills have topics of their own.
pub const TOPICS: [&str; 5] = ["a", "a/b", "a/c", "b/b", "$x/b"];

/// Filters; those from [`SHARED`] on are shared.
pub const FILTERS: [&str; 9] = [
    "a",
    "a/b",
    "#",
    "+/b",
    "a/#",
    "$x/+",
    "will/+",
    "$share/g/a/b",
    "$share/g/+/#",
];

pub const SHARED: usize = 7;

#[derive(Debug, Clone)]
pub enum Step {
    Connect {
        client: usize,
        gateway: usize,
        clean: bool,
        expiry: u32,
        /// QoS, retained, delay.
        will: Option<(u8, bool, u32)>,
        unsent: usize,
    },
    Leave {
        client: usize,
        normal: bool,
        unsent: usize,
    },
    Subscribe {
        client: usize,
        filter: usize,
        qos: u8,
        no_local: bool,
        retain_as_published: bool,
        handling: u8,
        id: Option<u32>,
    },
    Unsubscribe {
        client: usize,
        filter: usize,
    },
    Publish {
        client: usize,
        topic: usize,
        qos: u8,
        retain: bool,
        empty: bool,
        expiry: Option<u32>,
    },
    /// The oldest QoS 2 publish that is not released, again.
    Resend {
        client: usize,
    },
    Release {
        client: usize,
    },
    Ack {
        client: usize,
        which: usize,
        how: u8,
    },
    Credit {
        client: usize,
    },
    Pass {
        tenths: u32,
    },
    LoseGateway {
        gateway: usize,
    },
    /// Twins, if there are any, forget what may be forgotten.
    Refresh,
}

pub fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 0..most)
}

/// Such that queues grow long: few topics, many publishes, and clients that come back late.
pub fn long_steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let publish = (0..CLIENTS.len(), 0usize..2, 1u8..3, any::<bool>());
    let publish = publish.prop_map(|(client, topic, qos, expires)| Step::Publish {
        client,
        topic,
        qos,
        retain: false,
        empty: false,
        expiry: expires.then_some(5),
    });
    let share = (0..CLIENTS.len(), SHARED..FILTERS.len(), 0u8..3);
    let share = share.prop_map(|(client, filter, qos)| Step::Subscribe {
        client,
        filter,
        qos,
        no_local: false,
        retain_as_published: false,
        handling: 0,
        id: None,
    });
    let some = prop_oneof![3 => step(), 3 => publish, 1 => share];
    proptest::collection::vec(some, 0..most)
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS.len();
    let will = prop::option::weighted(
        0.4,
        (
            0u8..3,
            any::<bool>(),
            prop_oneof![Just(0u32), Just(1), Just(5)],
        ),
    );
    let expiry = prop_oneof![Just(0u32), Just(2), Just(3600), Just(3600)];
    let connect = (
        client(),
        0usize..2,
        prop::bool::weighted(0.2),
        expiry,
        will,
        0usize..4,
    )
        .prop_map(
            |(client, gateway, clean, expiry, will, unsent)| Step::Connect {
                client,
                gateway,
                clean,
                expiry,
                will,
                unsent,
            },
        );
    let subscribe = (
        client(),
        0..FILTERS.len(),
        0u8..3,
        prop::bool::weighted(0.2),
        any::<bool>(),
        0u8..3,
        prop::option::of(1u32..4),
    )
        .prop_map(
            |(client, filter, qos, no_local, retain_as_published, handling, id)| Step::Subscribe {
                client,
                filter,
                qos,
                no_local: no_local && filter < SHARED,
                retain_as_published,
                handling,
                id,
            },
        );
    let publish = (
        client(),
        0..TOPICS.len(),
        0u8..3,
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.15),
        prop::option::weighted(0.2, 1u32..3),
    )
        .prop_map(
            |(client, topic, qos, retain, empty, expiry)| Step::Publish {
                client,
                topic,
                qos,
                retain,
                empty,
                expiry,
            },
        );
    prop_oneof![
        4 => connect,
        2 => (client(), any::<bool>(), 0usize..4)
            .prop_map(|(client, normal, unsent)| Step::Leave { client, normal, unsent }),
        6 => subscribe,
        2 => (client(), 0..FILTERS.len()).prop_map(|(client, filter)| Step::Unsubscribe { client, filter }),
        12 => publish,
        1 => client().prop_map(|client| Step::Resend { client }),
        1 => client().prop_map(|client| Step::Release { client }),
        8 => (client(), 0usize..4, 0u8..8).prop_map(|(client, which, how)| Step::Ack { client, which, how }),
        2 => client().prop_map(|client| Step::Credit { client }),
        2 => (1u32..30).prop_map(|tenths| Step::Pass { tenths }),
        1 => (0usize..2).prop_map(|gateway| Step::LoseGateway { gateway }),
        1 => Just(Step::Refresh),
    ]
}
