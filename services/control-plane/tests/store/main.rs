//! Both stores against one suite, and what each has of its own.

mod server;
mod suite;

use std::{sync::Arc, time::Duration};

use catena_control_plane::store::{
    ClusterName, Compare, Embedded, Error, Etcd, Event, Key, Outcome, Prefix, Store, Transaction,
    Write, config,
};
use server::Server;
use suite::{key, put};

/// A cluster of its own in the server's etcd.
async fn cluster(server: &Server, name: &str) -> Arc<dyn Store> {
    let cluster = ClusterName::new(name).unwrap();
    let config = config::Etcd::new(vec![server.endpoint()], cluster);
    Arc::new(Etcd::open(&config).await.unwrap())
}

// The control plane decides alike on both stores only if they answer alike.
#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_keeps_the_suite() {
    let directory = tempfile::tempdir().unwrap();
    let open = |name: &'static str| {
        let file = directory.path().join(name).join("store.redb");
        async move { Arc::new(Embedded::open(&file).await.unwrap()) as Arc<dyn Store> }
    };
    suite::run(open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_keeps_the_suite_in_memory() {
    suite::run(|_| async { Arc::new(Embedded::in_memory().await.unwrap()) as Arc<dyn Store> })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_keeps_the_suite() {
    let server = Server::start(&[]).await;
    let server = &server;
    suite::run(|name| cluster(server, name)).await;
}

// Clusters that share an etcd would reconfigure each other's chains.
#[tokio::test(flavor = "multi_thread")]
async fn clusters_in_one_etcd_do_not_see_each_other() {
    let server = Server::start(&[]).await;
    let (one, other) = (
        cluster(&server, "edge").await,
        cluster(&server, "edge-2").await,
    );
    put(&*one, "nodes/a", "1").await;
    assert_eq!(other.get(&key("nodes/a")).await.unwrap(), None);
    assert_eq!(other.list(&Prefix::ALL).await.unwrap().entries, []);
    put(&*other, "nodes/a", "2").await;
    assert_eq!(one.get(&key("nodes/a")).await.unwrap().unwrap().value, "1");
}

// A control plane must live through an etcd that is away: say so in time, and go on when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_may_be_away_and_come_back() {
    let mut server = Server::start(&[]).await;
    let store = cluster(&server, "edge").await;
    put(&*store, "nodes/a", "1").await;
    let mut watch = store.watch(&Prefix::ALL, None).await.unwrap();
    let snapshot = watch.next().await.unwrap();

    server.kill().await;
    let error = watch.next().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let error = store.get(&key("nodes/a")).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");

    server.restart().await;
    let again = async {
        loop {
            match store.get(&key("nodes/a")).await {
                Ok(entry) => break entry,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let entry = tokio::time::timeout(Duration::from_secs(20), again)
        .await
        .unwrap();
    assert_eq!(entry.unwrap().value, "1");
    // The watch goes on from where it was.
    put(&*store, "nodes/b", "2").await;
    let mut watch = store
        .watch(&Prefix::ALL, Some(snapshot.revision()))
        .await
        .unwrap();
    let Event::Changes(changes) = watch.next().await.unwrap() else {
        panic!("etcd remembers what came since");
    };
    assert_eq!(changes[0].key(), &key("nodes/b"));
}

// A watch from a revision that etcd has compacted would stay silent for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_etcd_has_forgotten_is_made_good_by_a_snapshot() {
    let server = Server::start(&[]).await;
    let store = cluster(&server, "edge").await;
    let first = put(&*store, "nodes/a", "1").await;
    put(&*store, "nodes/b", "1").await;
    let last = put(&*store, "nodes/c", "1").await;
    let mut client = etcd_client::Client::connect([server.endpoint()], None)
        .await
        .unwrap();
    client.compact(last.0 as i64, None).await.unwrap();
    let mut watch = store.watch(&Prefix::ALL, Some(first)).await.unwrap();
    let Event::Snapshot(listing) = watch.next().await.unwrap() else {
        panic!("the changes since are forgotten");
    };
    assert_eq!(listing.entries.len(), 3);
}

// Without the password, or with a wrong one, nobody may read where a cluster's secrets are.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_asks_for_credentials() {
    let server = Server::start(&[]).await;
    let mut client = etcd_client::Client::connect([server.endpoint()], None)
        .await
        .unwrap();
    client.user_add("root", "right", None).await.unwrap();
    client.role_add("root").await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let open = |password: Option<&str>| {
        let mut config =
            config::Etcd::new(vec![server.endpoint()], ClusterName::new("edge").unwrap());
        if let Some(password) = password {
            let password_file = directory.path().join(password);
            std::fs::write(&password_file, format!("{password}\n")).unwrap();
            let user = "root".to_owned();
            config.credentials = Some(config::Credentials {
                user,
                password_file,
            });
        }
        async move { Etcd::open(&config).await }
    };
    let store = open(Some("right")).await.unwrap();
    put(&store, "nodes/a", "1").await;
    let error = open(Some("wrong")).await.unwrap_err();
    assert!(matches!(error, Error::Denied(_)), "{error}");
    let nobody = open(None).await.unwrap();
    let error = nobody.get(&key("nodes/a")).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
}

// Between processes on several hosts anyone could listen and write.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_reached_over_mutual_tls() {
    let directory = tempfile::tempdir().unwrap();
    let files = server::certificates(directory.path());
    let server = Server::start_tls(&files).await;
    let mut config = config::Etcd::new(vec![server.endpoint()], ClusterName::new("edge").unwrap());
    config.tls = Some(config::Tls {
        ca_file: files.ca.clone(),
        certificate_file: Some(files.certificate.clone()),
        key_file: Some(files.key.clone()),
        server_name: Some("localhost".to_owned()),
    });
    let store = Etcd::open(&config).await.unwrap();
    put(&store, "nodes/a", "1").await;
    assert!(store.get(&key("nodes/a")).await.unwrap().is_some());

    // Without our certificate etcd does not speak to us.
    if let Some(tls) = &mut config.tls {
        tls.certificate_file = None;
        tls.key_file = None;
    }
    let stranger = Etcd::open(&config).await.unwrap();
    stranger.get(&key("nodes/a")).await.unwrap_err();
}

// Standalone keeps its resources and topology in this file over a restart.
#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_outlives_its_process_and_leases_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.redb");
    let store = Embedded::open(&file).await.unwrap();
    put(&store, "nodes/a", "1").await;
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    let leased = Transaction {
        compare: vec![],
        writes: vec![Write::Put {
            key: key("gateways/a"),
            value: "1".into(),
            lease: Some(lease),
        }],
    };
    let Outcome::Committed(last) = store.commit(leased).await.unwrap() else {
        panic!("nobody else writes");
    };
    let before = store.get(&key("nodes/a")).await.unwrap().unwrap();
    // Two processes with one file would each overwrite what the other decided.
    let error = Embedded::open(&file).await.unwrap_err();
    assert!(matches!(error, Error::Disk(_)), "{error}");
    store.close().await;

    let store = Embedded::open(&file).await.unwrap();
    let listing = store.list(&Prefix::ALL).await.unwrap();
    assert_eq!(listing.entries, std::slice::from_ref(&before));
    assert!(listing.revision > last, "revisions only rise");
    let update = Transaction {
        compare: vec![Compare::unchanged(&before)],
        writes: vec![Write::Delete(key("nodes/a"))],
    };
    let outcome = store.commit(update).await.unwrap();
    assert!(matches!(outcome, Outcome::Committed(_)));
    // A watch from before the restart cannot know what it missed.
    let mut watch = store.watch(&Prefix::ALL, Some(last)).await.unwrap();
    assert!(matches!(watch.next().await.unwrap(), Event::Snapshot(_)));
}

const FILE: &str = "CATENA_STORE_FILE";

/// Not a test by itself: what the next one starts and kills.
#[tokio::test]
async fn writes_until_it_is_killed() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let store = Embedded::open(file.as_ref()).await.unwrap();
    for number in 0_u64.. {
        put(
            &store,
            &format!("nodes/{}", number % 7),
            &number.to_string(),
        )
        .await;
        println!("\ncommitted {number}");
    }
}

// An epoch that was told to nodes and then forgotten by the store would be decided twice [C-60].
#[tokio::test]
async fn a_kill_loses_nothing_that_was_committed() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.redb");
    let mut last = 0;
    for round in 1..=3 {
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writes_until_it_is_killed", "--nocapture"])
            .env(FILE, &file)
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(number) = line.strip_prefix("committed ") {
                last = number.parse::<u64>().unwrap();
            }
            if last >= 20 * round {
                child.start_kill().unwrap();
            }
        }
        child.wait().await.unwrap();
        assert!(last >= 20 * round, "it ended by itself");
        let store = Embedded::open(&file).await.unwrap();
        let listing = store.list(&Prefix::ALL).await.unwrap();
        let numbers = listing.entries.iter().map(|entry| {
            let text = String::from_utf8(entry.value.to_vec()).unwrap();
            text.parse::<u64>().unwrap()
        });
        let newest = numbers.max().unwrap();
        assert!(newest >= last, "{newest} is there, {last} was committed");
        store.close().await;
    }
}

// A file that another version or program wrote must not be taken for an empty store.
#[tokio::test]
async fn a_file_that_is_not_ours_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.redb");
    std::fs::write(&file, b"these are not the entries that we look for").unwrap();
    let error = Embedded::open(&file).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    assert!(Key::new("nodes").is_ok());
}
