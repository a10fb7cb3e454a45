//! Arbitrary messages of each kind, within the ranges that the core keeps.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use catena_chain::{
    Beginning, Configuration, Epoch, Generation, Incarnation, Member, Payload, Position, ReplicaId,
    Stamp,
    message::{Lane, PeerProgress, SnapshotHeader},
    snapshot::Piece,
};
use catena_link::Batch;
use catena_mqtt::{Filter, QoS, ReasonCode, packet::RetainHandling};
use catena_replicated::{Entry, Envelope, FromOrigin, Message as ChainMessage, ToOrigin};
use catena_shard::{
    ClientKey, Command, ConnId, Effect, Message, Op, Origin, Restore, Saved, SessionId, Settings,
    SharedStrategy, Time, Who, Will,
    effect::{
        Accepted, AlsoAttach, Attached, Connected, Deliver, Held, Kick, Published, Pubrel,
        Recorded, Released, SubscribeResult, Subscribed, Target, Unsubscribed,
    },
    op::{
        Ack, AckItem, AckKind, Attach, Attachment, Connect, Credit, Detach, Disconnect, EndSession,
        Publish, PublishWill, Release, Replay, Subscribe, Subscription, SubscriptionOptions,
        Touched, Unsubscribe,
    },
    query::Named,
    saved::{Body, Delivery, SavedSession, SharedId},
    unkept::{Durable, Keeps, Which},
};
use catena_slots::{SLOTS, ShardId, SlotTable};
use proptest::{collection::vec, option, prelude::*};

/// Numbers of ops, effects and entries.
pub fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..1000u64, 0..=i64::MAX as u64]
}

pub fn shard() -> impl Strategy<Value = ShardId> {
    (0..256u16).prop_map(ShardId)
}

pub fn client() -> impl Strategy<Value = ClientKey> {
    any::<u128>().prop_map(ClientKey)
}

fn conn() -> impl Strategy<Value = ConnId> {
    any::<u64>().prop_map(ConnId)
}

pub fn time() -> impl Strategy<Value = Time> {
    prop_oneof![any::<u64>(), Just(u64::MAX)].prop_map(Time)
}

pub fn session() -> impl Strategy<Value = SessionId> {
    (any::<u32>(), any::<u64>(), shard()).prop_map(|(generation, counter, home)| SessionId {
        generation,
        counter,
        home,
    })
}

fn who() -> impl Strategy<Value = Who> {
    (client(), session(), any::<u64>()).prop_map(|(client, session, epoch)| Who {
        client,
        session,
        epoch,
    })
}

pub fn qos() -> impl Strategy<Value = QoS> {
    (0..3u8).prop_map(|bits| QoS::from_bits(bits).unwrap())
}

fn reason() -> impl Strategy<Value = ReasonCode> {
    any::<u8>().prop_filter_map("known", ReasonCode::from_u8)
}

pub fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

pub fn string() -> impl Strategy<Value = ByteString> {
    "[a-zé/]{0,20}".prop_map(ByteString::from)
}

fn message() -> impl Strategy<Value = Arc<Message>> {
    (
        "[a-zé/]{1,20}",
        bytes(),
        bytes(),
        qos(),
        any::<bool>(),
        option::of(any::<u32>()),
        client(),
        any::<u32>(),
    )
        .prop_map(
            |(topic, payload, properties, qos, retain, expiry, publisher, counter)| {
                Arc::new(Message {
                    topic: topic.into(),
                    payload,
                    properties,
                    qos,
                    retain,
                    expiry,
                    publisher,
                    counter,
                })
            },
        )
}

fn attachment() -> impl Strategy<Value = Attachment> {
    (conn(), any::<(bool, u16, u32, u32, bool, bool)>()).prop_map(
        |(conn, (persistent, receive_maximum, window_messages, window_bytes, named, asked))| {
            Attachment {
                conn,
                persistent,
                receive_maximum,
                window_messages,
                window_bytes,
                keeps: Keeps { named, asked },
            }
        },
    )
}

pub fn filter() -> impl Strategy<Value = Filter> {
    "([$]share/g/)?([a-z]{1,3}|[+])(/[a-z]{0,3}|/[+]){0,3}(/#)?"
        .prop_map(|filter| Filter::parse(filter).unwrap())
}

fn subscription_id() -> impl Strategy<Value = u32> {
    1..=268_435_455u32
}

pub fn options() -> impl Strategy<Value = SubscriptionOptions> {
    let handling = prop_oneof![
        Just(RetainHandling::Send),
        Just(RetainHandling::SendIfNew),
        Just(RetainHandling::DoNotSend)
    ];
    (
        qos(),
        any::<(bool, bool)>(),
        handling,
        option::of(subscription_id()),
    )
        .prop_map(
            |(qos, (no_local, retain_as_published), retain_handling, id)| SubscriptionOptions {
                qos,
                no_local,
                retain_as_published,
                retain_handling,
                id,
            },
        )
}

fn connect() -> impl Strategy<Value = Connect> {
    let will = (message(), any::<u32>()).prop_map(|(message, delay)| Will { message, delay });
    (
        string(),
        any::<(bool, u32, u8)>(),
        option::of(will),
        option::of(string()),
        time(),
        attachment(),
    )
        .prop_map(
            |(
                client_id,
                (clean_start, expiry, protocol),
                will,
                principal,
                asked_at,
                attachment,
            )| Connect {
                client_id,
                clean_start,
                expiry,
                will,
                principal,
                asked_at,
                protocol,
                attachment,
            },
        )
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        who().prop_map(|who| Command::Disconnect {
            client: who.client,
            session: who.session,
            epoch: who.epoch,
        }),
        who().prop_map(|who| Command::EndSession(EndSession {
            client: who.client,
            session: who.session,
        })),
        (Just("a/b".into()), number())
            .prop_map(|(topic, sequence)| Command::ClearRetained { topic, sequence }),
        any::<bool>().prop_map(Command::PauseSpill),
        any::<u64>().prop_map(|through| Command::DropUnkept { through }),
        (
            0..1u64 << 60,
            0..1u64 << 60,
            any::<(bool, bool)>(),
            vec(saved(), 0..4)
        )
            .prop_map(|(id, number, (is_clearing, is_last), things)| {
                Command::Restore(Box::new(Restore {
                    id,
                    number,
                    is_clearing,
                    is_last,
                    things,
                }))
            }),
    ]
}

fn named() -> impl Strategy<Value = Named> {
    (client(), session()).prop_map(|(client, session)| Named { client, session })
}

fn shared() -> impl Strategy<Value = SharedId> {
    (shard(), any::<u64>()).prop_map(|(shard, number)| SharedId { shard, number })
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        (message(), any::<u64>()).prop_map(|(message, at)| Body::Whole {
            message,
            expires_at: Time(at),
        }),
        (shared(), "[a-z/]{1,9}").prop_map(|(id, topic)| Body::Shared {
            id,
            topic: topic.into(),
        }),
    ]
}

fn delivery() -> impl Strategy<Value = Delivery> {
    (body(), qos(), any::<bool>(), vec(subscription_id(), 0..3)).prop_map(
        |(body, qos, retain, subscription_ids)| Delivery {
            body,
            qos,
            retain,
            subscription_ids,
        },
    )
}

fn saved() -> impl Strategy<Value = Saved> {
    prop_oneof![
        (shared(), message(), any::<u64>()).prop_map(|(id, message, at)| Saved::Message {
            id,
            message,
            expires_at: Time(at),
        }),
        body().prop_map(Saved::Retained),
        (
            (string(), session(), option::of(string())),
            (any::<u32>(), any::<u8>(), option::of(any::<u64>()))
        )
            .prop_map(|((client_id, id, principal), (expiry, protocol, left))| {
                Saved::Session(Box::new(SavedSession {
                    client_id,
                    id,
                    principal,
                    expiry,
                    protocol,
                    left,
                }))
            }),
        (named(), filter(), options(), any::<bool>()).prop_map(|(of, filter, options, is_owed)| {
            Saved::Subscription {
                of,
                subscription: Subscription { filter, options },
                is_owed,
            }
        }),
        (named(), any::<u16>(), option::of(delivery())).prop_map(|(of, packet_id, delivery)| {
            Saved::InFlight {
                of,
                packet_id,
                delivery,
            }
        }),
        (named(), delivery()).prop_map(|(of, delivery)| Saved::Queued { of, delivery }),
        (named(), shard(), any::<u16>()).prop_map(|(of, shard, packet_id)| Saved::Inbound {
            of,
            shard,
            packet_id,
        }),
        (filter(), body()).prop_map(|(filter, body)| Saved::Grouped { filter, body }),
        (string(), message(), any::<u32>(), any::<u64>()).prop_map(
            |(client_id, message, delay, left)| Saved::Will {
                client_id,
                will: Will { message, delay },
                left,
            }
        ),
    ]
}

fn disconnect() -> impl Strategy<Value = Disconnect> {
    (who(), any::<bool>(), option::of(any::<u32>())).prop_map(|(who, will, expiry)| Disconnect {
        who,
        will,
        expiry,
    })
}

fn publish() -> impl Strategy<Value = Publish> {
    (who(), conn(), any::<(u32, u16, bool, bool)>(), message()).prop_map(
        |(who, conn, (token, packet_id, dup, high_priority), message)| Publish {
            who,
            conn,
            token,
            packet_id,
            dup,
            high_priority,
            message,
        },
    )
}

fn ack() -> impl Strategy<Value = Ack> {
    let kind = prop_oneof![
        Just(AckKind::Done),
        Just(AckKind::Received),
        Just(AckKind::Discarded),
        Just(AckKind::Returned)
    ];
    let item = (any::<u16>(), kind).prop_map(|(packet_id, kind)| AckItem { packet_id, kind });
    (who(), vec(item, 0..6)).prop_map(|(who, items)| Ack {
        who,
        items: items.into(),
    })
}

/// Any op.
pub fn op() -> impl Strategy<Value = Op> {
    let taken = prop_oneof![any::<u64>(), Just(u64::MAX)];
    let detach = (who(), vec(any::<u16>(), 0..5), taken).prop_map(|(who, unsent, taken)| Detach {
        who,
        unsent,
        taken,
    });
    let subscription =
        (filter(), options()).prop_map(|(filter, options)| Subscription { filter, options });
    let subscribe =
        (who(), any::<u32>(), vec(subscription, 0..4)).prop_map(|(who, token, subscriptions)| {
            Subscribe {
                who,
                token,
                subscriptions,
            }
        });
    let unsubscribe = (who(), conn(), any::<u32>(), vec(filter(), 0..4)).prop_map(
        |(who, conn, token, filters)| Unsubscribe {
            who,
            conn,
            token,
            filters,
        },
    );
    prop_oneof![
        Just(Op::Noop),
        connect().prop_map(|connect| Op::Connect(Box::new(connect))),
        disconnect().prop_map(Op::Disconnect),
        disconnect().prop_map(Op::Kicked),
        (who(), attachment()).prop_map(|(who, attachment)| Op::Attach(Attach { who, attachment })),
        detach.prop_map(Op::Detach),
        subscribe.prop_map(|subscribe| Op::Subscribe(Box::new(subscribe))),
        unsubscribe.prop_map(|unsubscribe| Op::Unsubscribe(Box::new(unsubscribe))),
        (who(), vec(filter(), 0..4))
            .prop_map(|(who, filters)| Op::Replay(Box::new(Replay { who, filters }))),
        publish().prop_map(Op::Publish),
        (who(), conn(), any::<u16>()).prop_map(|(who, conn, packet_id)| Op::Release(Release {
            who,
            conn,
            packet_id
        })),
        ack().prop_map(Op::Ack),
        (who(), any::<u32>(), any::<u64>()).prop_map(|(who, messages, bytes)| Op::Credit(Credit {
            who,
            messages,
            bytes
        })),
        (who(), shard(), any::<u32>()).prop_map(|(who, shard, generation)| Op::Touched(Touched {
            who,
            shard,
            generation
        })),
        (client(), session())
            .prop_map(|(client, session)| Op::EndSession(EndSession { client, session })),
        message().prop_map(|message| Op::PublishWill(PublishWill { message })),
    ]
}

fn held() -> impl Strategy<Value = Held> {
    (vec(any::<u16>(), 0..4), vec((filter(), options()), 0..4))
        .prop_map(|(inbound, filters)| Held { inbound, filters })
}

fn target() -> impl Strategy<Value = Target> {
    let ids = vec(subscription_id(), 1..4).prop_map(|ids| ids.into());
    (
        conn(),
        any::<u16>(),
        qos(),
        any::<(bool, bool, bool, bool)>(),
        option::of(ids),
    )
        .prop_map(
            |(conn, packet_id, qos, (retain, dup, counted, shared), subscription_ids)| Target {
                conn,
                packet_id,
                qos,
                retain,
                dup,
                counted,
                shared,
                subscription_ids,
            },
        )
}

fn outcome() -> impl Strategy<Value = Result<Accepted, ReasonCode>> {
    let accepted = (
        session(),
        any::<u64>(),
        any::<bool>(),
        vec(shard(), 0..4),
        held(),
    )
        .prop_map(|(session, epoch, session_present, shards, held)| Accepted {
            session,
            epoch,
            session_present,
            shards,
            held,
        });
    prop_oneof![accepted.prop_map(Ok), reason().prop_map(Err)]
}

/// Any effect.
pub fn effect() -> impl Strategy<Value = Effect> {
    let result =
        (reason(), any::<bool>()).prop_map(|(reason, existed)| SubscribeResult { reason, existed });
    let deliver =
        (message(), time(), vec(target(), 0..4)).prop_map(|(message, expires_at, targets)| {
            Deliver {
                message,
                expires_at,
                targets: targets.into(),
            }
        });
    prop_oneof![
        (conn(), outcome())
            .prop_map(|(conn, outcome)| Effect::Connected(Box::new(Connected { conn, outcome }))),
        (conn(), held())
            .prop_map(|(conn, held)| Effect::Attached(Box::new(Attached { conn, held }))),
        (conn(), any::<u32>(), vec(result, 0..4)).prop_map(|(conn, token, results)| {
            Effect::Subscribed(Box::new(Subscribed {
                conn,
                token,
                results,
            }))
        }),
        (conn(), any::<u32>(), vec(any::<bool>(), 0..4)).prop_map(|(conn, token, existed)| {
            Effect::Unsubscribed(Box::new(Unsubscribed {
                conn,
                token,
                existed,
            }))
        }),
        (conn(), any::<u32>(), reason()).prop_map(|(conn, token, reason)| Effect::Published(
            Published {
                conn,
                token,
                reason
            }
        )),
        (conn(), any::<u16>(), any::<bool>()).prop_map(|(conn, packet_id, found)| {
            Effect::Released(Released {
                conn,
                packet_id,
                found,
            })
        }),
        (conn(), any::<u16>())
            .prop_map(|(conn, packet_id)| Effect::Recorded(Recorded { conn, packet_id })),
        deliver.prop_map(Effect::Deliver),
        (conn(), any::<u16>())
            .prop_map(|(conn, packet_id)| Effect::Pubrel(Pubrel { conn, packet_id })),
        (conn(), any::<u64>(), reason()).prop_map(|(conn, epoch, reason)| Effect::Kick(Kick {
            conn,
            epoch,
            reason
        })),
        (conn(), shard()).prop_map(|(conn, shard)| Effect::AlsoAttach(AlsoAttach { conn, shard })),
        op().prop_map(|op| Effect::Peer(Box::new(op))),
    ]
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        any::<(u64, u16)>().prop_map(|(incarnation, worker)| Origin::Gateway {
            incarnation,
            worker
        }),
        (shard(), any::<u32>()).prop_map(|(shard, generation)| Origin::Shard { shard, generation }),
    ]
}

fn epoch() -> impl Strategy<Value = Epoch> {
    number().prop_map(Epoch)
}

fn generation() -> impl Strategy<Value = Generation> {
    any::<u32>().prop_map(Generation)
}

fn stamp() -> impl Strategy<Value = Stamp> {
    number().prop_map(Stamp)
}

fn replica() -> impl Strategy<Value = ReplicaId> {
    any::<u64>().prop_map(ReplicaId)
}

fn member() -> impl Strategy<Value = Member> {
    (replica(), any::<u64>()).prop_map(|(id, incarnation)| Member {
        id,
        incarnation: Incarnation(incarnation),
    })
}

/// Any configuration of a chain.
pub fn configuration() -> impl Strategy<Value = Configuration> {
    let began = prop_oneof![Just(Beginning::Empty), replica().prop_map(Beginning::Disk)];
    (
        shard(),
        epoch(),
        generation(),
        vec(member(), 1..4),
        option::of(member()),
        epoch(),
        replica(),
        began,
    )
        .prop_map(
            |(shard, epoch, generation, chain, learner, joined, founder, began)| Configuration {
                shard,
                epoch,
                generation,
                chain,
                learner,
                joined,
                founder,
                began,
            },
        )
}

/// Any settings of a shard.
fn durable() -> impl Strategy<Value = Durable> {
    let which = || {
        prop_oneof![
            Just(Which::All),
            Just(Which::None),
            any::<bool>().prop_map(|asked| Which::Custom { asked })
        ]
    };
    let word = || "[a-z]{0,4}".prop_map(Into::into);
    (which(), which(), vec(word(), 0..3), word(), word()).prop_map(
        |(retained, queues, retained_topics, name, value)| Durable {
            retained,
            retained_topics,
            queues,
            property: (name, value),
        },
    )
}

pub fn settings() -> impl Strategy<Value = Settings> {
    let slots = (1..=256usize, any::<u8>()).prop_flat_map(|(shards, levels)| {
        let slots = vec((0..shards as u16).prop_map(ShardId), SLOTS);
        slots.prop_map(move |slots| SlotTable::from_parts(slots, shards, levels).unwrap())
    });
    let stripes = proptest::collection::btree_set(any::<u8>(), 1..20);
    let strategy = prop_oneof![
        Just(SharedStrategy::RoundRobin),
        Just(SharedStrategy::LeastInflight),
        Just(SharedStrategy::TopicHash)
    ];
    (
        number(),
        slots,
        stripes,
        any::<(u64, Option<u32>, Option<u64>, bool)>(),
        any::<(Option<u64>, u64, u32, u64)>(),
        strategy,
        (vec(any::<u32>(), 0..8), durable()),
    )
        .prop_map(
            |(
                version,
                slots,
                stripes,
                queue,
                retained,
                shared_strategy,
                (generations, durable),
            )| Settings {
                durable,
                version,
                slots,
                stripes: stripes.into_iter().collect(),
                buffer_bytes: queue.0,
                message_expiry_max: queue.1,
                queue_length_max: queue.2,
                queue_drop_oldest: queue.3,
                retained_messages_max: retained.0,
                retained_bytes_max: retained.1,
                subscriptions_max: retained.2,
                spill_bytes_max: retained.3,
                shared_strategy,
                generations,
            },
        )
}

fn batch() -> impl Strategy<Value = Arc<Batch<Op>>> {
    (1..1u64 << 62, vec(op(), 1..8)).prop_map(|(first, ops)| Arc::new(Batch { first, ops }))
}

/// Anything that an origin says.
pub fn from_origin() -> impl Strategy<Value = FromOrigin> {
    let lane = prop_oneof![Just(Lane::Ops), Just(Lane::Effects)];
    let open = (
        origin(),
        lane,
        replica(),
        epoch(),
        generation(),
        number(),
        number(),
    )
        .prop_map(
            |(origin, lane, replica, epoch, generation, first_uncommitted, effects_through)| {
                FromOrigin::Open {
                    origin,
                    lane,
                    replica,
                    epoch,
                    generation,
                    first_uncommitted,
                    effects_through,
                }
            },
        );
    prop_oneof![
        open,
        (generation(), number(), batch()).prop_map(|(generation, acked_through, batch)| {
            FromOrigin::Ops {
                generation,
                acked_through,
                batch,
            }
        }),
        (generation(), number()).prop_map(|(generation, through)| FromOrigin::Acked {
            generation,
            through
        }),
        (generation(), vec(publish(), 0..5)).prop_map(|(generation, publishes)| {
            FromOrigin::Direct {
                generation,
                publishes,
            }
        }),
    ]
}

/// Anything that a shard answers.
pub fn to_origin() -> impl Strategy<Value = ToOrigin> {
    let effects = (
        generation(),
        epoch(),
        1..1u64 << 62,
        vec(effect(), 0..8),
        number(),
        vec(effect(), 0..4),
        number(),
        stamp(),
    )
        .prop_map(
            |(generation, epoch, first, effects, committed, direct, direct_through, now)| {
                ToOrigin::Effects {
                    generation,
                    epoch,
                    first,
                    effects,
                    committed,
                    direct,
                    direct_through,
                    now,
                }
            },
        );
    prop_oneof![
        effects,
        (generation(), number(), stamp()).prop_map(|(generation, applied_through, now)| {
            ToOrigin::OpsOpened {
                generation,
                applied_through,
                now,
            }
        }),
        number().prop_map(|applied_through| ToOrigin::Gap { applied_through }),
        option::of(configuration()).prop_map(|configuration| ToOrigin::NotYet { configuration }),
        configuration().prop_map(|configuration| ToOrigin::Newer { configuration }),
        Just(()).prop_map(|()| ToOrigin::Refused),
    ]
}

fn position() -> impl Strategy<Value = Position> {
    (number(), epoch(), any::<u64>()).prop_map(|(index, epoch, digest)| Position {
        index,
        epoch,
        digest,
    })
}

fn peers() -> impl Strategy<Value = Vec<PeerProgress>> {
    let peer =
        (shard(), generation(), number()).prop_map(|(shard, generation, through)| PeerProgress {
            shard,
            generation,
            through,
        });
    vec(peer, 0..4)
}

fn payload() -> impl Strategy<Value = Payload<catena_replicated::Replicated>> {
    prop_oneof![
        (origin(), number(), batch()).prop_map(|(origin, acked_through, batch)| Payload::Ops {
            origin,
            acked_through,
            batch
        }),
        (origin(), number()).prop_map(|(origin, first)| Payload::LinkOpen { origin, first }),
        (origin(), number()).prop_map(|(origin, through)| Payload::Acked { origin, through }),
        (number(), vec(any::<u64>(), 0..4)).prop_map(|(version, live)| Payload::Gateways {
            version,
            live: live.into()
        }),
        (shard(), generation(), number()).prop_map(|(shard, generation, through)| {
            Payload::PeerAck {
                shard,
                generation,
                through,
            }
        }),
        settings().prop_map(Payload::Configure),
        command().prop_map(Payload::Command),
        Just(()).prop_map(|()| Payload::Tick),
        any::<u64>().prop_map(|digest| Payload::Checkpoint { digest }),
    ]
}

fn entry() -> impl Strategy<Value = Arc<Entry>> {
    (number(), epoch(), stamp(), payload()).prop_map(|(index, epoch, at, payload)| {
        Arc::new(Entry {
            index,
            epoch,
            at,
            payload,
        })
    })
}

fn snapshot_part() -> impl Strategy<Value = ChainMessage> {
    (
        any::<u64>(),
        position(),
        stamp(),
        (0..1usize << 40, vec(any::<u8>(), 0..50)),
        any::<u64>(),
        any::<bool>(),
    )
        .prop_map(|(nonce, end, at, (offset, bytes), checksum, is_last)| {
            ChainMessage::SnapshotPart {
                nonce,
                header: SnapshotHeader { end, at },
                piece: Piece {
                    offset,
                    bytes,
                    checksum,
                    is_last,
                },
            }
        })
}

/// Anything that a replica says to another.
pub fn envelope() -> impl Strategy<Value = Envelope> {
    let hello = (
        configuration(),
        any::<u64>(),
        option::of(position()),
        number(),
        peers(),
        option::of(number()),
    )
        .prop_map(
            |(configuration, nonce, end, commit, peers, durable)| ChainMessage::Hello {
                configuration,
                nonce,
                end,
                commit,
                peers,
                durable,
            },
        );
    let message = prop_oneof![
        hello,
        (
            any::<u64>(),
            vec(entry(), 0..4),
            number(),
            option::of(number())
        )
            .prop_map(|(nonce, entries, last, durable)| {
                ChainMessage::Append {
                    nonce,
                    entries,
                    last,
                    durable,
                }
            }),
        (
            any::<u64>(),
            number(),
            option::of(number()),
            number(),
            peers()
        )
            .prop_map(|(nonce, last, durable, commit, peers)| {
                ChainMessage::Ack {
                    nonce,
                    last,
                    durable,
                    commit,
                    peers,
                }
            }),
        any::<u64>().prop_map(|nonce| ChainMessage::Mismatch { nonce }),
        snapshot_part(),
        (any::<u64>(), 0..1usize << 40)
            .prop_map(|(nonce, through)| ChainMessage::SnapshotTaken { nonce, through }),
        configuration().prop_map(|configuration| ChainMessage::Newer { configuration }),
    ];
    (shard(), epoch(), generation(), member(), replica(), message).prop_map(
        |(shard, epoch, generation, from, to, message)| Envelope {
            shard,
            epoch,
            generation,
            from,
            to,
            message,
        },
    )
}
