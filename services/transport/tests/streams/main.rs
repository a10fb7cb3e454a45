//! Streams keep order and hold back who sends too much; whatever ends one side ends the other, and soon.

mod host;
mod proxy;
mod tls;

use std::{
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use catena_chain::{Generation, Incarnation, Member, message::Message};
use catena_replicated::{FromOrigin, ToOrigin};
use catena_shard::{ClientKey, ConnId, Message as Published, SessionId, Who, op::Publish};
use catena_slots::ShardId;
use catena_transport::{
    ChainStream, Dial, DialError, GrpcDial, GrpcReach, Local, Reach, Transport,
};
use host::{
    CHANNEL, Host, Link, REPLICA, SHARD, acked, broken, directory, envelope, hear, host, open,
    pass, quick, say, served, soon,
};
use proxy::{Proxy, State};

/// More messages than any bound on the way would hold, were there none.
const MANY: u64 = 400;

/// Bytes of a large message.
const LARGE: usize = 256 * 1024;

fn large(number: u64) -> FromOrigin {
    let message = Published {
        topic: "a".into(),
        payload: Bytes::from(vec![number as u8; LARGE]),
        properties: Bytes::new(),
        qos: catena_mqtt::QoS::AtMostOnce,
        retain: false,
        expiry: None,
        publisher: ClientKey(1),
        counter: number as u32,
    };
    let publish = Publish {
        who: Who {
            client: ClientKey(1),
            session: SessionId {
                generation: 1,
                counter: 1,
                home: SHARD,
            },
            epoch: 1,
        },
        conn: ConnId(1),
        token: 1,
        packet_id: 0,
        dup: false,
        high_priority: false,
        message: message.into(),
    };
    FromOrigin::Direct {
        generation: Generation(1),
        publishes: vec![publish],
    }
}

fn local(host: Host) -> Local<Host> {
    let local = Local::default();
    local.add(REPLICA.incarnation, host);
    local
}

/// How many messages go out before there is no more room.
async fn fill(transport: &mut impl Transport) -> u64 {
    let mut sent = 0;
    while sent < MANY {
        let full = tokio::time::timeout(Duration::from_millis(300), say(transport, large(sent)));
        match full.await {
            Ok(result) => result.unwrap(),
            Err(_) => break,
        }
        sent += 1;
    }
    sent
}

async fn keeps_order_and_holds_back(dial: impl Dial, given: &mut host::Given) {
    let mut transport = dial.dial(SHARD, REPLICA).await.unwrap();
    soon(say(&mut transport, open())).await.unwrap();
    let mut link = soon(given.links.recv()).await.unwrap();
    let sent = fill(&mut transport).await;
    assert!(sent >= CHANNEL as u64 - 1);
    assert!(sent < MANY, "{sent} messages, and nobody took one");
    let sends = async {
        for number in sent..MANY {
            say(&mut transport, large(number)).await.unwrap();
        }
    };
    let takes = async {
        let first = link.from_origin.recv().await.unwrap();
        assert!(matches!(first, FromOrigin::Open { .. }));
        for number in 0..MANY {
            let Some(FromOrigin::Direct { publishes, .. }) = link.from_origin.recv().await else {
                panic!("message {number} is missing");
            };
            assert_eq!(u64::from(publishes[0].message.counter), number);
        }
    };
    let both = async { tokio::join!(sends, takes) };
    tokio::time::timeout(Duration::from_secs(30), both)
        .await
        .expect("it went on");
}

// A queue without a bound ends the process instead of slowing the sender.
#[tokio::test]
async fn a_link_keeps_order_and_holds_back_who_sends_too_much() {
    let mut server = served().await;
    let dial = GrpcDial::new(directory(&server.address), quick());
    keeps_order_and_holds_back(dial, &mut server.given).await;
}

#[tokio::test]
async fn a_local_link_keeps_order_and_holds_back_who_sends_too_much() {
    let (host, mut given) = host();
    keeps_order_and_holds_back(local(host), &mut given).await;
}

// Shards that wait for each other share connections: were one that is stuck to hold up the others, all would be.
#[tokio::test]
async fn a_stream_that_is_not_read_holds_up_no_other() {
    let mut server = served().await;
    let dial = GrpcDial::new(directory(&server.address), quick());
    let mut stuck = vec![];
    for _ in 0..8 {
        let mut transport = dial.dial(SHARD, REPLICA).await.unwrap();
        say(&mut transport, open()).await.unwrap();
        let link = soon(server.given.links.recv()).await.unwrap();
        fill(&mut transport).await;
        stuck.push((transport, link));
    }
    keeps_order_and_holds_back(dial, &mut server.given).await;
}

async fn gives_answers_and_ends(dial: impl Dial, given: &mut host::Given) {
    let answer = |through| ToOrigin::Gap {
        applied_through: through,
    };
    // The host says no and closes: that is heard before the end.
    let mut transport = dial.dial(SHARD, REPLICA).await.unwrap();
    say(&mut transport, open()).await.unwrap();
    let Link {
        from_origin,
        to_origin,
    } = soon(given.links.recv()).await.unwrap();
    to_origin.send(answer(1)).await.unwrap();
    to_origin.send(answer(2)).await.unwrap();
    drop((from_origin, to_origin));
    for number in 1..=2 {
        let heard = soon(hear(&mut transport)).await.unwrap();
        assert!(
            matches!(heard, ToOrigin::Gap { applied_through } if applied_through == number),
            "{heard:?}"
        );
    }
    soon(hear(&mut transport)).await.unwrap_err();
    soon(hear(&mut transport)).await.unwrap_err();
    soon(async { while say(&mut transport, acked(1)).await.is_ok() {} }).await;

    // The origin goes: the host's channels close.
    let mut transport = dial.dial(SHARD, REPLICA).await.unwrap();
    say(&mut transport, open()).await.unwrap();
    let mut link = soon(given.links.recv()).await.unwrap();
    drop(transport);
    soon(async { while link.from_origin.recv().await.is_some() {} }).await;
    soon(link.to_origin.closed()).await;
}

#[tokio::test]
async fn a_link_ends_on_both_sides() {
    let mut server = served().await;
    let dial = GrpcDial::new(directory(&server.address), quick());
    gives_answers_and_ends(dial, &mut server.given).await;
}

#[tokio::test]
async fn a_local_link_ends_on_both_sides() {
    let (host, mut given) = host();
    gives_answers_and_ends(local(host), &mut given).await;
}

// Half a connection is none: an origin that waits for answers on it would wait for ever.
#[tokio::test]
async fn either_half_closed_by_the_host_ends_the_link() {
    let mut server = served().await;
    let dial = GrpcDial::new(directory(&server.address), quick());
    for keep_answers in [true, false] {
        let mut transport = dial.dial(SHARD, REPLICA).await.unwrap();
        say(&mut transport, open()).await.unwrap();
        let link = soon(server.given.links.recv()).await.unwrap();
        let Link {
            from_origin,
            to_origin,
        } = link;
        let kept = (
            Some(from_origin).filter(|_| !keep_answers),
            Some(to_origin).filter(|_| keep_answers),
        );
        soon(hear(&mut transport)).await.unwrap_err();
        soon(async { while say(&mut transport, acked(1)).await.is_ok() {} }).await;
        if let Some(to_origin) = kept.1 {
            soon(to_origin.closed()).await;
        }
        if let Some(mut from_origin) = kept.0 {
            soon(async { while from_origin.recv().await.is_some() {} }).await;
        }
    }
}

// A chain between neighbours, its end, and the end that the host gives it.
async fn carries_envelopes(reach: impl Reach, given: &mut host::Given) {
    let mut stream = reach.reach(SHARD, REPLICA).await.unwrap();
    pass(&mut stream, envelope(SHARD, vec![0; 3]))
        .await
        .unwrap();
    let mut received = soon(given.chains.recv()).await.unwrap();
    let sends = async {
        for number in 1..200u8 {
            pass(&mut stream, envelope(SHARD, vec![number; 3]))
                .await
                .unwrap();
        }
    };
    let takes = async {
        for number in 0..200u8 {
            let envelope = received.recv().await.unwrap();
            let Message::SnapshotPart { piece, .. } = envelope.message else {
                panic!("it was a part");
            };
            assert_eq!(piece.bytes, [number; 3]);
        }
    };
    soon(async { tokio::join!(sends, takes) }).await;
    assert!(poll_fn(|cx| Poll::Ready(stream.poll_broken(cx).is_pending())).await);
    drop(received);
    soon(broken(&mut stream)).await;
    soon(async { while pass(&mut stream, envelope(SHARD, vec![])).await.is_ok() {} }).await;

    let mut stream = reach.reach(SHARD, REPLICA).await.unwrap();
    pass(&mut stream, envelope(SHARD, vec![])).await.unwrap();
    let mut received = soon(given.chains.recv()).await.unwrap();
    drop(stream);
    soon(received.recv()).await.unwrap();
    assert!(soon(received.recv()).await.is_none());
}

#[tokio::test]
async fn a_chain_stream_keeps_order_and_ends_on_both_sides() {
    let mut server = served().await;
    let reach = GrpcReach::new(directory(&server.address), quick());
    carries_envelopes(reach, &mut server.given).await;
}

#[tokio::test]
async fn a_local_chain_stream_keeps_order_and_ends_on_both_sides() {
    let (host, mut given) = host();
    carries_envelopes(local(host), &mut given).await;
}

// More than tonic takes unless it is told.
#[tokio::test]
async fn large_messages_arrive() {
    let mut server = served().await;
    let reach = GrpcReach::new(directory(&server.address), quick());
    let mut stream = reach.reach(SHARD, REPLICA).await.unwrap();
    let part = vec![5; 20 * 1024 * 1024];
    pass(&mut stream, envelope(SHARD, part.clone()))
        .await
        .unwrap();
    let mut received = soon(server.given.chains.recv()).await.unwrap();
    let Message::SnapshotPart { piece, .. } = soon(received.recv()).await.unwrap().message else {
        panic!("it was a part");
    };
    assert!(piece.bytes == part);
}

// "Nobody listens" is what a process is accused on: it must be told at once, and of nothing else.
#[tokio::test]
async fn a_refused_call_says_so_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let dial = GrpcDial::new(directory(&address), quick());
    let reach = GrpcReach::new(directory(&address), quick());
    // Somebody listens, but says nothing.
    let silent = dial.dial(SHARD, REPLICA).await.unwrap_err();
    assert!(matches!(silent, DialError::Failed(_)), "{silent:?}");
    drop(listener);
    let before = Instant::now();
    let refused = dial.dial(SHARD, REPLICA).await.unwrap_err();
    assert!(matches!(refused, DialError::Refused(_)), "{refused:?}");
    let refused = reach.reach(SHARD, REPLICA).await.unwrap_err();
    assert!(matches!(refused, DialError::Refused(_)), "{refused:?}");
    assert!(before.elapsed() < quick().connect_timeout / 2);
    let stranger = Member {
        incarnation: Incarnation(8),
        ..REPLICA
    };
    let unknown = dial.dial(SHARD, stranger).await.unwrap_err();
    assert_eq!(unknown, DialError::Unknown);
}

#[tokio::test]
async fn a_shard_that_is_not_here_is_named() {
    let server = served().await;
    let dial = GrpcDial::new(directory(&server.address), quick());
    let mut transport = dial.dial(ShardId(4), REPLICA).await.unwrap();
    say(&mut transport, open()).await.unwrap();
    let reason = soon(hear(&mut transport)).await.unwrap_err();
    assert!(reason.0.contains("shard 4 is not here"), "{reason}");
    let reach = GrpcReach::new(directory(&server.address), quick());
    let mut stream = reach.reach(ShardId(4), REPLICA).await.unwrap();
    pass(&mut stream, envelope(ShardId(4), vec![]))
        .await
        .unwrap();
    let reason = soon(broken(&mut stream)).await;
    assert!(reason.0.contains("shard 4 is not here"), "{reason}");
}

// Messages out of place end a stream, not a process.
#[tokio::test]
async fn what_is_out_of_place_ends_the_stream() {
    let mut server = served().await;
    let dial = GrpcDial::new(directory(&server.address), quick());
    let mut transport = dial.dial(SHARD, REPLICA).await.unwrap();
    say(&mut transport, acked(1)).await.unwrap();
    let reason = soon(hear(&mut transport)).await.unwrap_err();
    assert!(reason.0.contains("no Open"), "{reason}");
    let mut transport = dial.dial(SHARD, REPLICA).await.unwrap();
    say(&mut transport, open()).await.unwrap();
    say(&mut transport, acked(u64::MAX)).await.unwrap();
    let reason = soon(hear(&mut transport)).await.unwrap_err();
    assert!(reason.0.contains("out of range"), "{reason}");
    let reach = GrpcReach::new(directory(&server.address), quick());
    let mut stream = reach.reach(SHARD, REPLICA).await.unwrap();
    pass(&mut stream, envelope(SHARD, vec![])).await.unwrap();
    pass(&mut stream, envelope(ShardId(4), vec![]))
        .await
        .unwrap();
    let reason = soon(broken(&mut stream)).await;
    assert!(reason.0.contains("another shard"), "{reason}");
    let mut received = soon(server.given.chains.recv()).await.unwrap();
    assert!(soon(received.recv()).await.is_some());
    assert!(soon(received.recv()).await.is_none());
}

// One connection carries all streams; when it breaks, or falls silent, they all end on both sides, and the next call
// makes another.
#[tokio::test]
async fn a_network_that_breaks_or_falls_silent_is_noticed_on_both_sides() {
    let mut server = served().await;
    for state in [State::Broken, State::Silent] {
        let proxy = Proxy::to(&server.address).await;
        let dial = GrpcDial::new(directory(&proxy.address), quick());
        let mut open_links = vec![];
        for _ in 0..3 {
            let mut transport = dial.dial(SHARD, REPLICA).await.unwrap();
            say(&mut transport, open()).await.unwrap();
            let link = soon(server.given.links.recv()).await.unwrap();
            open_links.push((transport, link));
        }
        assert_eq!(proxy.connections(), 1);
        let before = Instant::now();
        proxy.state.send(state).unwrap();
        for (transport, link) in &mut open_links {
            soon(hear(transport)).await.unwrap_err();
            soon(async { while link.from_origin.recv().await.is_some() {} }).await;
            soon(link.to_origin.closed()).await;
        }
        assert!(before.elapsed() < Duration::from_secs(2), "{state:?}");
        proxy.state.send(State::Up).unwrap();
        let mut transport = dial.dial(SHARD, REPLICA).await.unwrap();
        say(&mut transport, open()).await.unwrap();
        soon(server.given.links.recv()).await.unwrap();
        assert_eq!(proxy.connections(), 2);
    }
}

// A process that is asked to end must not wait for streams that never end by themselves.
#[tokio::test]
async fn a_server_that_ends_takes_its_streams_along() {
    let mut server = served().await;
    let dial = GrpcDial::new(directory(&server.address), quick());
    let mut transport = dial.dial(SHARD, REPLICA).await.unwrap();
    say(&mut transport, open()).await.unwrap();
    let mut link = soon(server.given.links.recv()).await.unwrap();
    server.stop.send(()).unwrap();
    let reason = soon(hear(&mut transport)).await.unwrap_err();
    assert!(reason.0.contains("the server ends"), "{reason}");
    soon(async { while link.from_origin.recv().await.is_some() {} }).await;
    soon(link.to_origin.closed()).await;
    tokio::time::timeout(Duration::from_secs(2), server.task)
        .await
        .expect("it waits for ever")
        .unwrap();
    let refused = dial.dial(SHARD, REPLICA).await.unwrap_err();
    assert!(matches!(refused, DialError::Refused(_)), "{refused:?}");
}

// A server that is dropped, as with its thread, is gone for those who called it.
#[tokio::test]
async fn a_server_that_is_dropped_breaks_its_streams() {
    let mut server = served().await;
    let dial = GrpcDial::new(directory(&server.address), quick());
    let mut transport = dial.dial(SHARD, REPLICA).await.unwrap();
    say(&mut transport, open()).await.unwrap();
    let link = soon(server.given.links.recv()).await.unwrap();
    server.task.abort();
    soon(hear(&mut transport)).await.unwrap_err();
    soon(link.to_origin.closed()).await;
}

// The threads of gateways and backends run tasks that never leave them.
#[test]
fn both_sides_run_on_a_thread_of_their_own() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .unwrap();
    runtime.block_on(async {
        let mut server = served().await;
        let dial = GrpcDial::new(directory(&server.address), quick());
        keeps_order_and_holds_back(dial, &mut server.given).await;
    });
}
