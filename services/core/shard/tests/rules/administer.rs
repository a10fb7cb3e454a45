//! F-26: administrators look into the shard, disconnect, and delete.

use std::collections::BTreeSet;

use catena_mqtt::{Filter, QoS, ReasonCode};
use catena_shard::{
    Answer, ClientKey, Command, Input, Query, Time, Who,
    op::EndSession,
    query::{
        Connection, Named, Pattern, ROWS_MAX, Reader, RetainedList, STEPS_MAX, Session,
        SessionFilter, Sessions, Subscriptions,
    },
};

use crate::support::*;

impl World {
    fn command(
        &mut self,
        shard: usize,
        command: &Command,
    ) -> Vec<(catena_shard::Origin, catena_shard::Effect)> {
        self.apply(shard, Input::Command(command));
        self.settle()
    }

    fn session(&self, id: &str) -> Option<Session> {
        let client = ClientKey::of(id);
        match self.shards[self.home(id)].query(&Query::Session { client }) {
            Answer::Session(session) => session.map(|session| *session),
            other => panic!("{other:?}"),
        }
    }

    /// What each shard holds for a session.
    fn readers(&self, who: Who) -> Vec<Reader> {
        let sessions = vec![named(who)];
        let query = Query::Readers { sessions };
        let of = |shard: &catena_shard::Shard| match shard.query(&query) {
            Answer::Readers(readers) => readers,
            other => panic!("{other:?}"),
        };
        self.shards.iter().flat_map(of).collect()
    }

    /// All sessions of a shard, page by page.
    fn sessions(&self, shard: usize, filter: &SessionFilter, limit: u32) -> Vec<Session> {
        let (mut from, mut all) = (Some(0), vec![]);
        while let Some(place) = from {
            let Sessions { sessions, next } = match self.shards[shard].query(&Query::Sessions {
                filter: filter.clone(),
                from: place,
                limit,
            }) {
                Answer::Sessions(sessions) => sessions,
                other => panic!("{other:?}"),
            };
            assert!(sessions.len() <= limit as usize);
            assert!(next.is_none_or(|next| next > place), "it would never end");
            all.extend(sessions);
            from = next;
        }
        all
    }

    fn retained_page(
        &self,
        shard: usize,
        filter: &str,
        after: Option<&str>,
        limit: u32,
    ) -> RetainedList {
        let query = Query::RetainedList {
            filter: Filter::parse(filter.to_owned()).unwrap(),
            after: after.map(|after| after.to_owned().into()),
            limit,
        };
        match self.shards[shard].query(&query) {
            Answer::RetainedList(list) => list,
            other => panic!("{other:?}"),
        }
    }
}

fn named(who: Who) -> Named {
    Named {
        client: who.client,
        session: who.session,
    }
}

fn disconnect(who: Who) -> Command {
    Command::Disconnect {
        client: who.client,
        session: who.session,
        epoch: who.epoch,
    }
}

fn end(who: Who) -> Command {
    Command::EndSession(EndSession {
        client: who.client,
        session: who.session,
    })
}

/// Clients with an id of their own, that live as long as the tests.
fn client(number: u64) -> Client {
    let id: &'static str = Box::leak(format!("client-{number}").into_boxed_str());
    Client::lasting(id, number)
}

/// A client that an administrator disconnects would not be told why, would lose its session, or keep its will to itself.
#[test]
fn a_disconnected_client_is_told_and_its_session_goes_on_without_it() {
    let mut world = World::new(3);
    let watcher = Client::new("watcher", 99);
    let watching = world.join(&watcher);
    world.subscribe(&watcher, watching, "#", QoS::AtMostOnce);
    let a = Client {
        will: Some(will("w", 0)),
        ..Client::lasting("a", 1)
    };
    let who = world.join(&a);
    let home = world.home("a");
    assert!(world.shards[home].would_act(&disconnect(who)));
    let told = world.command(home, &disconnect(who));
    assert_eq!(kicked(&told), [(a.conn, ReasonCode::AdministrativeAction)]);
    // The gateway says that the connection has ended, as after any other abnormal end.
    let told = world.leave(&a, who, true);
    assert_eq!(payloads(&told, &watcher), ["will"]);
    let session = world.session("a").expect("it lasts");
    assert_eq!(session.connection, None);
    assert_eq!(session.ends_at, world.now.plus_seconds(a.expiry));
    // Asked again, it does nothing.
    assert!(!world.shards[home].would_act(&disconnect(who)));
    assert_eq!(world.command(home, &disconnect(who)), []);
}

/// A request that is sent again would hit the connection that the client made meanwhile.
#[test]
fn a_late_command_hits_nothing_new() {
    let mut world = World::new(1);
    let a = Client::lasting("a", 1);
    let who = world.join(&a);
    world.leave(&a, who, true);
    let again = Client::lasting("a", 2);
    let later = world.join(&again);
    assert_eq!(world.command(0, &disconnect(who)), []);
    assert_eq!(world.session("a").unwrap().epoch, later.epoch);
    world.command(0, &end(later));
    let third = world.join(&Client::lasting("a", 3));
    assert_eq!(world.command(0, &end(later)), [], "another session");
    assert_eq!(world.session("a").unwrap().id, third.session);
}

/// What a deleted session leaves behind would be delivered to the client id's next session, or stay for ever.
#[test]
fn a_deleted_session_leaves_nothing_on_any_shard() {
    let mut world = World::new(3);
    let a = Client {
        will: Some(will("w", 30)),
        ..Client::lasting("a", 1)
    };
    let before: Vec<u64> = world.held();
    let who = world.join(&a);
    world.subscribe(&a, who, "#", QoS::AtLeastOnce);
    world.leave(&a, who, false);
    let b = Client::new("b", 2);
    let publisher = world.join(&b);
    for n in 0..9 {
        world.publish(
            &b,
            publisher,
            message(&format!("t/{n}"), "x", QoS::AtLeastOnce),
        );
    }
    let held = world.readers(who);
    assert_eq!(held.len(), 3, "{held:?}");
    assert_eq!(held.iter().map(|reader| reader.queued).sum::<u64>(), 9);
    world.command(world.home("a"), &end(who));
    assert_eq!(world.session("a"), None);
    assert_eq!(world.readers(who), []);
    world.leave(&b, publisher, false);
    world.pass(20_000);
    assert_eq!(world.held(), before);
}

/// A connected client would go on as if its session were there.
#[test]
fn deleting_the_session_of_a_connected_client_disconnects_it() {
    let mut world = World::new(2);
    let a = client(1);
    let who = world.join(&a);
    let told = world.command(world.home(a.id), &end(who));
    assert_eq!(kicked(&told), [(a.conn, ReasonCode::AdministrativeAction)]);
    // What its gateway then says is of a session that is over.
    assert_eq!(world.leave(&a, who, true), []);
    assert_eq!(world.session(a.id), None);
}

/// A list would miss sessions, or show some twice, while others come and go between its pages.
#[test]
fn what_stays_is_listed_once_however_the_pages_fall() {
    let mut world = World::new(1);
    let clients: Vec<Client> = (0..50).map(client).collect();
    let joined: Vec<Who> = clients.iter().map(|client| world.join(client)).collect();
    for limit in [1, 7, 50, 1_000] {
        let all = world.sessions(0, &SessionFilter::default(), limit);
        let ids: BTreeSet<_> = all
            .iter()
            .map(|session| session.client_id.clone())
            .collect();
        assert_eq!((all.len(), ids.len()), (50, 50), "{limit}");
    }
    // Between two pages every third goes, and others come in their places.
    let page = |from| Query::Sessions {
        filter: SessionFilter::default(),
        from,
        limit: 20,
    };
    let mut seen = vec![];
    let mut from = Some(0);
    while let Some(place) = from {
        let Answer::Sessions(found) = world.shards[0].query(&page(place)) else {
            panic!("another answer");
        };
        seen.extend(found.sessions.into_iter().map(|session| session.client));
        from = found.next;
        if place == 0 {
            for who in joined.iter().step_by(3) {
                world.command(0, &end(*who));
            }
            for number in 100..110 {
                world.join(&client(number));
            }
        }
    }
    let stayed = joined.iter().enumerate().filter(|(n, _)| n % 3 != 0);
    for (_, who) in stayed {
        assert_eq!(
            seen.iter().filter(|client| **client == who.client).count(),
            1
        );
    }
}

/// Someone would disconnect the wrong clients.
#[test]
fn filters_leave_what_they_say() {
    let mut world = World::new(1);
    let joined: Vec<(Client, Who)> = (0..30)
        .map(client)
        .map(|client| {
            let client = Client {
                origin: if client.conn.0 % 2 == 0 {
                    GATEWAY
                } else {
                    GATEWAY_2
                },
                ..client
            };
            let who = world.join(&client);
            (client, who)
        })
        .collect();
    for (client, who) in joined.iter().take(10) {
        world.leave(client, *who, false);
    }
    let count = |filter: SessionFilter| world.sessions(0, &filter, 4).len();
    let connected = |connected| SessionFilter {
        connected: Some(connected),
        ..SessionFilter::default()
    };
    assert_eq!(count(connected(true)), 20);
    assert_eq!(count(connected(false)), 10);
    assert_eq!(
        count(SessionFilter {
            gateways: vec![2],
            ..SessionFilter::default()
        }),
        10
    );
    assert_eq!(
        count(SessionFilter {
            pattern: Some(Pattern::parse("client-1?".into()).unwrap()),
            ..connected(true)
        }),
        10
    );
    let shown = world.session("client-11").unwrap();
    assert_eq!(
        shown.connection,
        Some(Connection {
            gateway: 2,
            worker: 0
        })
    );
    assert_eq!((shown.protocol, shown.since), (5, Time(1_000_000)));
}

/// A query would hold up the shard for as long as it has sessions, or messages in a queue.
#[test]
fn a_query_takes_a_bounded_number_of_steps() {
    let mut world = World::new(1);
    let many = STEPS_MAX as usize + 500;
    let joined: Vec<Who> = (0..many as u64).map(|n| world.join(&client(n))).collect();
    let nobody = SessionFilter {
        pattern: Some(Pattern::parse("nobody".into()).unwrap()),
        ..SessionFilter::default()
    };
    let Answer::Sessions(found) = world.shards[0].query(&Query::Sessions {
        filter: nobody,
        from: 0,
        limit: 1_000,
    }) else {
        panic!("another answer");
    };
    assert_eq!(found.sessions, []);
    assert!(
        found.next.is_some_and(|next| next <= STEPS_MAX),
        "{found:?}"
    );
    let sessions: Vec<Named> = joined.iter().map(|who| named(*who)).collect();
    let Answer::Readers(readers) = world.shards[0].query(&Query::Readers { sessions }) else {
        panic!("another answer");
    };
    assert_eq!(readers.len(), ROWS_MAX);

    // A queue, and what it weighs in sum.
    let (a, who) = (client(0), joined[0]);
    world.subscribe(&a, who, "t", QoS::AtLeastOnce);
    world.leave(&a, who, false);
    let (b, publisher) = (client(1), joined[1]);
    for _ in 0..many {
        world.publish(&b, publisher, message("t", "payload", QoS::AtLeastOnce));
    }
    let (mut from, mut bytes, mut calls) = (Some(0), 0, 0);
    while let Some(place) = from {
        let of = named(who);
        let Answer::Queue(slice) = world.shards[0].query(&Query::Queue { of, from: place }) else {
            panic!("another answer");
        };
        (from, bytes, calls) = (slice.next, bytes + slice.bytes, calls + 1);
    }
    let weight = message("t", "payload", QoS::AtLeastOnce).weight() as u64;
    assert_eq!((bytes, calls), (weight * many as u64, 2));
}

/// An operator would not see what a client is subscribed to, or with which options.
#[test]
fn subscriptions_are_listed_with_their_options_in_pages() {
    let mut world = World::new(1);
    let a = client(1);
    let who = world.join(&a);
    for n in 0..25 {
        world.subscribe(&a, who, &format!("t/{n:02}"), QoS::AtLeastOnce);
    }
    let (mut after, mut all) = (None, vec![]);
    loop {
        let query = Query::Subscriptions {
            of: named(who),
            after: after.take(),
            limit: 10,
        };
        let Answer::Subscriptions(Subscriptions {
            subscriptions,
            is_more,
        }) = world.shards[0].query(&query)
        else {
            panic!("another answer");
        };
        after = subscriptions.last().map(|(filter, _)| filter.clone());
        all.extend(subscriptions);
        if !is_more {
            break;
        }
    }
    let filters: Vec<_> = all.iter().map(|(f, _)| f.full().to_string()).collect();
    assert_eq!(
        filters,
        (0..25).map(|n| format!("t/{n:02}")).collect::<Vec<_>>()
    );
    assert!(
        all.iter()
            .all(|(_, options)| options.qos == QoS::AtLeastOnce)
    );
}

/// A retained message that is deleted would come back at the next SUBSCRIBE; one that replaced it meanwhile would be lost.
#[test]
fn only_the_retained_message_that_was_seen_is_deleted() {
    let mut world = World::new(1);
    let a = client(1);
    let who = world.join(&a);
    let retain = |world: &mut World, topic: &str, payload: &str| {
        let message = catena_shard::Message {
            retain: true,
            ..message(topic, payload, QoS::AtLeastOnce)
        };
        world.op(
            a.origin,
            0,
            catena_shard::Op::Publish(publish(&a, who, message)),
        );
    };
    for n in 0..30 {
        retain(&mut world, &format!("r/{n:02}"), "old");
    }
    retain(&mut world, "$hidden", "x");
    let mut topics = vec![];
    let mut after: Option<String> = None;
    loop {
        let page = world.retained_page(0, "#", after.as_deref(), 7);
        topics.extend(page.messages.iter().map(|found| found.topic.to_string()));
        match page.next {
            Some(next) => after = Some(next.to_string()),
            None => break,
        }
    }
    assert_eq!(
        topics,
        (0..30).map(|n| format!("r/{n:02}")).collect::<Vec<_>>()
    );
    let seen = world.retained_page(0, "r/05", None, 7).messages.remove(0);
    retain(&mut world, "r/05", "new");
    let clear = |sequence| Command::ClearRetained {
        topic: "r/05".into(),
        sequence,
    };
    world.command(0, &clear(seen.sequence));
    let newer = world.retained_page(0, "r/05", None, 7).messages.remove(0);
    let before = world.held();
    world.command(0, &clear(newer.sequence));
    assert_eq!(world.retained_page(0, "r/05", None, 7).messages, []);
    assert!(world.held() < before, "its memory is given back");
}
