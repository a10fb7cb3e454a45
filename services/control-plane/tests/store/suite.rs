//! What a store promises, whichever it is.

use std::{future::Future, sync::Arc, time::Duration};

use catena_control_plane::store::{
    Change, Compare, Election, Error, Event, Expected, Key, Leader, LeaseId, OPERATIONS_MAX,
    Outcome, Prefix, Revision, Store, Transaction, Watch, Write,
};

/// How long a case waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn below(text: &str) -> Prefix {
    Prefix::below(&key(text))
}

fn writes(writes: Vec<Write>) -> Transaction {
    Transaction {
        compare: vec![],
        writes,
    }
}

fn value(at: &str, value: &str, lease: Option<LeaseId>) -> Write {
    Write::Put {
        key: key(at),
        value: value.to_owned().into(),
        lease,
    }
}

/// Writes without comparing.
pub async fn put(store: &dyn Store, at: &str, text: &str) -> Revision {
    let put = writes(vec![value(at, text, None)]);
    committed(store.commit(put).await.unwrap())
}

fn committed(outcome: Outcome) -> Revision {
    match outcome {
        Outcome::Committed(revision) => revision,
        Outcome::Conflict => panic!("a conflict"),
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it comes soon")
}

/// Runs each case on a store of its own, all at once: the slow ones wait for leases.
pub async fn run<Opening>(open: impl Fn(&'static str) -> Opening)
where
    Opening: Future<Output = Arc<dyn Store>>,
{
    let mut cases = tokio::task::JoinSet::new();
    macro_rules! case {
        ($name:ident) => {
            let store = open(concat!("c-", stringify!($name)).leak_name()).await;
            cases.spawn(async move { $name(store).await });
        };
    }
    case!(a_write_happens_only_while_all_its_comparisons_hold);
    case!(a_transaction_is_written_whole_or_not_at_all);
    case!(of_writers_that_compare_one_wins);
    case!(entries_are_listed_in_order_and_under_their_prefix_alone);
    case!(revisions_rise_and_an_entry_knows_when_it_was_created);
    case!(a_watch_sees_a_snapshot_then_every_change_in_order);
    case!(a_watch_goes_on_after_a_revision);
    case!(a_watch_that_is_cancelled_while_waiting_loses_nothing);
    case!(what_is_put_under_a_lease_goes_with_it);
    case!(a_lease_that_is_kept_alive_lasts);
    case!(a_key_put_again_without_its_lease_stays);
    case!(what_is_wrong_is_refused_and_not_to_be_retried);
    case!(one_candidate_leads_until_it_resigns);
    case!(a_leader_that_falls_silent_is_replaced_and_its_writes_come_to_nothing);
    while let Some(case) = cases.join_next().await {
        if let Err(failed) = case {
            std::panic::resume_unwind(failed.into_panic());
        }
    }
}

/// Names of clusters have hyphens.
trait LeakName {
    fn leak_name(&self) -> &'static str;
}

impl LeakName for str {
    fn leak_name(&self) -> &'static str {
        let name: String = self.replace('_', "-").chars().take(63).collect();
        name.leak()
    }
}

// Two writers that read and then put would undo each other's decisions.
async fn a_write_happens_only_while_all_its_comparisons_hold(store: Arc<dyn Store>) {
    let first = put(&*store, "a", "1").await;
    let write = |compare: Vec<Compare>, text| Transaction {
        compare,
        writes: vec![value("a", text, None)],
    };
    let at = |revision| Compare {
        key: key("a"),
        is: Expected::At(revision),
    };
    let now = |store: Arc<dyn Store>| async move {
        let entry = store.get(&key("a")).await.unwrap().unwrap();
        String::from_utf8(entry.value.to_vec()).unwrap()
    };
    let absent = write(vec![Compare::absent(key("a"))], "2");
    assert_eq!(store.commit(absent).await.unwrap(), Outcome::Conflict);
    let stale = write(vec![at(Revision(first.0 + 7))], "2");
    assert_eq!(store.commit(stale).await.unwrap(), Outcome::Conflict);
    let one_of_two = write(
        vec![
            at(first),
            Compare {
                key: key("b"),
                is: Expected::At(first),
            },
        ],
        "2",
    );
    assert_eq!(store.commit(one_of_two).await.unwrap(), Outcome::Conflict);
    assert_eq!(now(store.clone()).await, "1");
    let right = write(vec![at(first), Compare::absent(key("b"))], "2");
    let second = committed(store.commit(right.clone()).await.unwrap());
    assert!(second > first);
    assert_eq!(store.commit(right).await.unwrap(), Outcome::Conflict);
    assert_eq!(now(store).await, "2");
}

// An epoch without the record that belongs to it would be half a decision.
async fn a_transaction_is_written_whole_or_not_at_all(store: Arc<dyn Store>) {
    put(&*store, "old", "1").await;
    let both = || {
        writes(vec![
            value("x", "1", None),
            value("y", "1", None),
            Write::Delete(key("old")),
            Write::Delete(key("never")),
        ])
    };
    let revision = committed(store.commit(both()).await.unwrap());
    let listing = store.list(&Prefix::ALL).await.unwrap();
    assert_eq!(listing.entries.len(), 2);
    assert!(
        listing
            .entries
            .iter()
            .all(|entry| entry.revision == revision)
    );
    let refused = Transaction {
        compare: vec![Compare::absent(key("x"))],
        writes: vec![value("z", "1", None), Write::Delete(key("y"))],
    };
    assert_eq!(store.commit(refused).await.unwrap(), Outcome::Conflict);
    let after = store.list(&Prefix::ALL).await.unwrap();
    assert_eq!(after.entries, listing.entries);
}

// Of two leaders, each sure of itself, both would write an epoch.
async fn of_writers_that_compare_one_wins(store: Arc<dyn Store>) {
    let claim = |number: usize| {
        let store = store.clone();
        async move {
            let claim = Transaction {
                compare: vec![Compare::absent(key("leader"))],
                writes: vec![value("leader", &number.to_string(), None)],
            };
            store.commit(claim).await.unwrap()
        }
    };
    let mut claims = tokio::task::JoinSet::new();
    (0..16).for_each(|number| {
        claims.spawn(claim(number));
    });
    let outcomes = claims.join_all().await;
    let won = outcomes
        .iter()
        .filter(|outcome| **outcome != Outcome::Conflict);
    assert_eq!(won.count(), 1);
}

// A page that was cut short would look like nodes that are gone.
async fn entries_are_listed_in_order_and_under_their_prefix_alone(store: Arc<dyn Store>) {
    assert_eq!(store.list(&Prefix::ALL).await.unwrap().entries, []);
    let numbers: Vec<usize> = (0..600).collect();
    for some in numbers.chunks(OPERATIONS_MAX) {
        let entries = some
            .iter()
            .map(|number| value(&format!("nodes/{number:04}"), "1", None));
        committed(store.commit(writes(entries.collect())).await.unwrap());
    }
    for other in ["nodes", "nodes2/1", "node/1", "nodez"] {
        put(&*store, other, "1").await;
    }
    let listing = store.list(&below("nodes")).await.unwrap();
    let listed: Vec<&str> = listing
        .entries
        .iter()
        .map(|entry| entry.key.as_str())
        .collect();
    let expected: Vec<String> = numbers
        .iter()
        .map(|number| format!("nodes/{number:04}"))
        .collect();
    assert_eq!(listed, expected);
    assert_eq!(store.list(&Prefix::ALL).await.unwrap().entries.len(), 604);
    assert_eq!(store.get(&key("nodes/9999")).await.unwrap(), None);
}

// A gateway's incarnation is the revision that created its registration: one that came back must have another [C-43].
async fn revisions_rise_and_an_entry_knows_when_it_was_created(store: Arc<dyn Store>) {
    let first = put(&*store, "a", "1").await;
    let second = put(&*store, "a", "2").await;
    let entry = store.get(&key("a")).await.unwrap().unwrap();
    assert_eq!(
        (entry.created, entry.revision, entry.lease),
        (first, second, None)
    );
    let deleted = committed(
        store
            .commit(writes(vec![Write::Delete(key("a"))]))
            .await
            .unwrap(),
    );
    let third = put(&*store, "a", "3").await;
    let entry = store.get(&key("a")).await.unwrap().unwrap();
    assert_eq!((entry.created, entry.revision), (third, third));
    assert!(first < second && second < deleted && deleted < third);
    // Other clusters may share the store and move its revision.
    assert!(store.list(&Prefix::ALL).await.unwrap().revision >= third);
}

async fn snapshot(watch: &mut Watch) -> Vec<String> {
    match soon(watch.next()).await.unwrap() {
        Event::Snapshot(listing) => {
            let keys = listing.entries.iter().map(|entry| entry.key.to_string());
            keys.collect()
        }
        Event::Changes(changes) => panic!("no snapshot: {changes:?}"),
    }
}

/// The next `count` changes, however many events they come in.
async fn changes(watch: &mut Watch, count: usize) -> Vec<Change> {
    let mut all = Vec::new();
    while all.len() < count {
        match soon(watch.next()).await.unwrap() {
            Event::Changes(changes) => all.extend(changes),
            Event::Snapshot(listing) => panic!("no changes: {listing:?}"),
        }
    }
    assert_eq!(all.len(), count);
    all
}

fn told(change: &Change) -> String {
    match change {
        Change::Put(entry) => format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value)),
        Change::Deleted { key, .. } => format!("{key} deleted"),
    }
}

// A gateway that misses one change routes to a chain that is no more.
async fn a_watch_sees_a_snapshot_then_every_change_in_order(store: Arc<dyn Store>) {
    put(&*store, "nodes/a", "1").await;
    put(&*store, "other", "1").await;
    let mut watch = store.watch(&below("nodes"), None).await.unwrap();
    assert_eq!(snapshot(&mut watch).await, ["nodes/a"]);
    put(&*store, "nodes/a", "2").await;
    put(&*store, "other", "2").await;
    let both = writes(vec![
        value("nodes/b", "1", None),
        Write::Delete(key("nodes/a")),
    ]);
    let last = committed(store.commit(both).await.unwrap());
    let changes = changes(&mut watch, 3).await;
    let mut seen: Vec<String> = changes.iter().map(told).collect();
    // Within one transaction the order is open.
    seen[1..].sort();
    assert_eq!(seen, ["nodes/a=2", "nodes/a deleted", "nodes/b=1"]);
    assert_eq!(changes[1].revision(), last);
    assert_eq!(changes[2].revision(), last);
}

// After a broken connection a watcher needs what it missed, once.
async fn a_watch_goes_on_after_a_revision(store: Arc<dyn Store>) {
    let first = put(&*store, "nodes/a", "1").await;
    put(&*store, "nodes/b", "1").await;
    let mut watch = store.watch(&below("nodes"), Some(first)).await.unwrap();
    put(&*store, "nodes/c", "1").await;
    let seen: Vec<String> = changes(&mut watch, 2).await.iter().map(told).collect();
    assert_eq!(seen, ["nodes/b=1", "nodes/c=1"]);
}

// A watch is polled beside other things, and dropped from there at any time.
async fn a_watch_that_is_cancelled_while_waiting_loses_nothing(store: Arc<dyn Store>) {
    let mut watch = store.watch(&Prefix::ALL, None).await.unwrap();
    assert_eq!(snapshot(&mut watch).await, Vec::<String>::new());
    for number in 0..20 {
        let short = Duration::from_millis(number % 3);
        let none = tokio::time::timeout(short, watch.next()).await;
        assert!(none.is_err(), "{none:?}");
        put(&*store, "a", &number.to_string()).await;
        let seen: Vec<String> = changes(&mut watch, 1).await.iter().map(told).collect();
        assert_eq!(seen, [format!("a={number}")]);
    }
}

// A registration that outlives its process keeps its sessions from being resumed.
async fn what_is_put_under_a_lease_goes_with_it(store: Arc<dyn Store>) {
    let lease = store.grant(Duration::from_secs(1)).await.unwrap();
    let revoked = store.grant(Duration::from_secs(60)).await.unwrap();
    assert_ne!(lease, revoked);
    put(&*store, "stays", "1").await;
    let leased = writes(vec![
        value("a", "1", Some(lease)),
        value("b", "1", Some(revoked)),
    ]);
    committed(store.commit(leased).await.unwrap());
    assert_eq!(
        store.get(&key("a")).await.unwrap().unwrap().lease,
        Some(lease)
    );
    let mut watch = store.watch(&Prefix::ALL, None).await.unwrap();
    assert_eq!(snapshot(&mut watch).await, ["a", "b", "stays"]);
    store.revoke(revoked).await.unwrap();
    store.revoke(revoked).await.unwrap();
    let seen: Vec<String> = changes(&mut watch, 2).await.iter().map(told).collect();
    assert_eq!(seen, ["b deleted", "a deleted"]);
    for gone in [lease, revoked] {
        let error = store.keep_alive(gone).await.unwrap_err();
        assert!(matches!(error, Error::LeaseGone), "{error}");
        let late = writes(vec![value("a", "2", Some(gone))]);
        let error = store.commit(late).await.unwrap_err();
        assert!(matches!(error, Error::LeaseGone), "{error}");
    }
}

// A gateway that heartbeats must not be taken for gone.
async fn a_lease_that_is_kept_alive_lasts(store: Arc<dyn Store>) {
    let lease = store.grant(Duration::from_secs(2)).await.unwrap();
    let leased = writes(vec![value("a", "1", Some(lease))]);
    committed(store.commit(leased).await.unwrap());
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        store.keep_alive(lease).await.unwrap();
    }
    assert!(store.get(&key("a")).await.unwrap().is_some());
    store.revoke(lease).await.unwrap();
    assert_eq!(store.get(&key("a")).await.unwrap(), None);
}

// A node's record that was once a registration would vanish with it.
async fn a_key_put_again_without_its_lease_stays(store: Arc<dyn Store>) {
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    committed(
        store
            .commit(writes(vec![value("a", "1", Some(lease))]))
            .await
            .unwrap(),
    );
    put(&*store, "a", "2").await;
    store.revoke(lease).await.unwrap();
    let entry = store.get(&key("a")).await.unwrap().unwrap();
    assert_eq!((entry.value.as_ref(), entry.lease), (&b"2"[..], None));
}

// A request that is refused for ever must not be retried for ever.
async fn what_is_wrong_is_refused_and_not_to_be_retried(store: Arc<dyn Store>) {
    let twice = writes(vec![value("a", "1", None), Write::Delete(key("a"))]);
    let many = (0..=OPERATIONS_MAX).map(|number| value(&format!("a/{number}"), "1", None));
    for wrong in [twice, writes(many.collect())] {
        let error = store.commit(wrong).await.unwrap_err();
        assert!(
            matches!(error, Error::Invalid(_)) && !error.is_retryable(),
            "{error}"
        );
    }
    assert_eq!(store.list(&Prefix::ALL).await.unwrap().entries, []);
}

fn election(store: &Arc<dyn Store>, candidate: &str, ttl: Duration) -> Election {
    Election::new(store.clone(), &key("leader"), candidate.to_owned(), ttl).unwrap()
}

// Two leaders at once would each evict whom the other promoted.
async fn one_candidate_leads_until_it_resigns(store: Arc<dyn Store>) {
    let (one, two) = (
        election(&store, "one", Duration::from_secs(60)),
        election(&store, "two", Duration::from_secs(60)),
    );
    let mut leaders = two.watch().await.unwrap();
    assert_eq!(soon(leaders.next()).await.unwrap(), None);
    let first = soon(one.campaign()).await.unwrap();
    let name = |leader: Option<Leader>| leader.map(|leader| leader.candidate);
    assert_eq!(
        name(soon(leaders.next()).await.unwrap()).as_deref(),
        Some("one")
    );
    let mut waiting = tokio::spawn(async move { two.campaign().await });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "{early:?}");

    let (compare, decide) = (first.compare(), |compare| Transaction {
        compare: vec![compare],
        writes: vec![value("decision", "1", None)],
    });
    committed(store.commit(decide(compare.clone())).await.unwrap());
    first.resign().await.unwrap();
    let second = soon(waiting).await.unwrap().unwrap();
    assert_eq!(
        store.commit(decide(compare)).await.unwrap(),
        Outcome::Conflict
    );
    committed(store.commit(decide(second.compare())).await.unwrap());
    // It may have been nobody in between.
    let mut leader = None;
    while leader.as_deref() != Some("two") {
        leader = name(soon(leaders.next()).await.unwrap());
    }
}

// A leader that was stopped for a while wakes up sure of itself [C-15].
async fn a_leader_that_falls_silent_is_replaced_and_its_writes_come_to_nothing(
    store: Arc<dyn Store>,
) {
    let ttl = Duration::from_secs(2);
    let mut first = soon(election(&store, "one", ttl).campaign()).await.unwrap();
    let held = tokio::time::timeout(ttl * 2, first.hold()).await;
    assert!(held.is_err(), "it keeps its lease while it lives: {held:?}");
    let second = soon(election(&store, "two", ttl).campaign()).await.unwrap();
    let late = Transaction {
        compare: vec![first.compare()],
        writes: vec![value("decision", "1", None)],
    };
    assert_eq!(store.commit(late).await.unwrap(), Outcome::Conflict);
    let lost = soon(first.hold()).await;
    assert!(matches!(lost, Error::LeaseGone), "{lost}");
    second.resign().await.unwrap();
}
