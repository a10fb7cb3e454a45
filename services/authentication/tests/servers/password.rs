//! Passwords, and the order of methods.

use std::sync::atomic::Ordering;

use catena_authentication::{Credentials, Verdict, hash};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::pki_types::CertificateDer;

use crate::world::{Ca, World, attributes, login, pem, refused};

const METHODS: &str = "- method: Password\n  passwordSettings:\n    secretRef: users\n    attributes:\n      me:\n        site: plant\n";

fn put(world: &World, user: &str, password: &str) {
    let hash = hash::make(password.as_bytes(), &[7; 16]).unwrap();
    world.put("users", user, format!("{hash}\n"));
}

/// A wrong password, that of somebody else, or that of yesterday opens the door.
#[tokio::test]
async fn the_right_password_of_the_right_user_is_taken() {
    let world = World::new();
    let authenticator = world.authenticator(METHODS);
    assert!(!authenticator.asks_for_certificate());
    assert_eq!(
        refused(&authenticator.connect(login("me", "right")).await),
        0x86
    );
    assert!(authenticator.problems()[0].contains("users"));
    put(&world, "me", "right");
    put(&world, "other", "others");
    world.put("users", "broken", "right");
    // Twice: the second time it is remembered.
    for _ in 0..2 {
        let verdict = authenticator.connect(login("me", "right")).await;
        let Verdict::Accepted {
            username,
            attributes: known,
            expires,
            ..
        } = verdict
        else {
            panic!("{verdict:?}");
        };
        assert_eq!((username.as_deref(), expires), (Some("me"), None));
        assert_eq!(known, attributes(&[("site", "plant")]));
    }
    for (user, password) in [
        ("me", "wrong"),
        ("me", "others"),
        ("other", "right"),
        ("nobody", "right"),
        ("broken", "right"),
        ("me", ""),
        ("../users/me", "right"),
    ] {
        let verdict = authenticator.connect(login(user, password)).await;
        assert_eq!(refused(&verdict), 0x86, "{user} {password}");
        assert!(!format!("{verdict:?}").contains("right"), "{verdict:?}");
    }
    put(&world, "me", "new");
    assert_eq!(
        refused(&authenticator.connect(login("me", "right")).await),
        0x86
    );
    assert!(matches!(
        authenticator.connect(login("me", "new")).await,
        Verdict::Accepted { .. }
    ));
    let only_name = Credentials {
        username: Some("me".into()),
        ..Credentials::default()
    };
    assert_eq!(refused(&authenticator.connect(only_name).await), 0x87);
    // A password is no proof that could be given again.
    assert_eq!(
        refused(&authenticator.reauthenticate(login("me", "new")).await),
        0x87
    );
    assert_eq!(
        world
            .means
            .counters()
            .password
            .successes
            .load(Ordering::Relaxed),
        3
    );
}

/// Ten thousand devices that come back at once, each of which costs a slow hash again.
#[tokio::test]
async fn who_comes_back_is_known() {
    let world = World::new();
    let authenticator = world.authenticator(METHODS);
    for user in 0..10 {
        put(&world, &user.to_string(), "right");
        assert!(matches!(
            authenticator
                .connect(login(&user.to_string(), "right"))
                .await,
            Verdict::Accepted { .. }
        ));
    }
    // More at once than could wait for hashes.
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..5_000 {
        let authenticator = authenticator.clone();
        clients.spawn(async move {
            authenticator
                .connect(login(&(client % 10).to_string(), "right"))
                .await
        });
    }
    while let Some(verdict) = clients.join_next().await {
        assert!(
            matches!(verdict, Ok(Verdict::Accepted { .. })),
            "{verdict:?}"
        );
    }
}

/// A guesser is turned away only when all memory is full of its guesses.
#[tokio::test]
async fn who_guesses_at_once_is_told_to_come_again() {
    let world = World::new();
    put(&world, "me", "right");
    let authenticator = world.authenticator(METHODS);
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..2_000 {
        let authenticator = authenticator.clone();
        clients.spawn(async move {
            authenticator
                .connect(login("me", &client.to_string()))
                .await
        });
    }
    let mut busy = 0;
    while let Some(verdict) = clients.join_next().await {
        match refused(&verdict.unwrap()) {
            0x86 => {}
            0x89 => busy += 1,
            other => panic!("{other:#x}"),
        }
    }
    assert!(busy > 1_000, "{busy} were busy");
    assert_eq!(
        world
            .means
            .counters()
            .password
            .failures
            .load(Ordering::Relaxed),
        busy
    );
}

/// A method further down lets in whom the one above refuses.
#[tokio::test]
async fn the_first_relevant_method_decides() {
    let (world, ca) = (World::new(), Ca::new());
    world.put("client-ca", "ca.crt", ca.pem());
    put(&world, "me", "right");
    let both = world.authenticator(&format!("- method: X509\n{METHODS}"));
    assert!(both.asks_for_certificate());
    let certificate = |ca: &Ca| {
        CertificateDer::from(pem(&ca
            .issue("device", ExtendedKeyUsagePurpose::ClientAuth)
            .0))
    };
    let with = |certificate| Credentials {
        certificates: vec![certificate],
        ..login("me", "right")
    };
    assert!(matches!(
        both.connect(with(certificate(&ca))).await,
        Verdict::Accepted {
            expires: Some(_),
            ..
        }
    ));
    assert_eq!(
        refused(&both.connect(with(certificate(&Ca::new()))).await),
        0x87
    );
    assert!(matches!(
        both.connect(login("me", "right")).await,
        Verdict::Accepted { expires: None, .. }
    ));
    assert_eq!(refused(&both.connect(Credentials::default()).await), 0x87);
    assert_eq!(world.means.counters().irrelevant.load(Ordering::Relaxed), 1);
}
