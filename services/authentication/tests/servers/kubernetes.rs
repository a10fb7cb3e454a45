//! Service account tokens, reviewed by a Kubernetes API.

use std::{
    fs,
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use catena_authentication::{Kubernetes, Verdict};
use serde_json::json;

use crate::world::{Ca, Does, Seen, Web, World, attributes, enhanced, login, refused};

const METHODS: &str =
    "- method: ServiceAccountToken\n  serviceAccountTokenSettings:\n    audiences: [mqtt]";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// A token as Kubernetes signs them; who signed it is for the API to say.
fn token(user: &str) -> String {
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!(
        "{}.{}.c2ln",
        part(json!({"alg": "RS256"})),
        part(json!({"sub": user, "exp": 2_208_988_800_u64}))
    )
}

fn api(seen: &Seen) -> Does {
    if seen.headers["authorization"] != "Bearer ours" {
        return Does::Answers(401, String::new());
    }
    match seen.target.as_str() {
        REVIEWS => {
            let asked = seen.json();
            assert_eq!(asked["spec"]["audiences"], json!(["mqtt"]));
            let asked = asked["spec"]["token"].as_str().unwrap().to_owned();
            let status = if asked == token("sensor") || asked == token("bare") {
                let name = if asked == token("bare") {
                    "bare"
                } else {
                    "sensor"
                };
                let username = format!("system:serviceaccount:plant:{name}");
                json!({"authenticated": true, "user": {"username": username}, "audiences": ["mqtt"]})
            } else if asked == token("away") {
                return Does::Answers(503, String::new());
            } else {
                json!({"authenticated": false, "error": "token has expired"})
            };
            Does::json(201, json!({"kind": "TokenReview", "status": status}))
        }
        "/api/v1/namespaces/plant/serviceaccounts/sensor" => Does::json(
            200,
            json!({"metadata": {"annotations": {"aio-broker-auth/site": "plant", "else": "x"}}}),
        ),
        "/api/v1/namespaces/plant/serviceaccounts/bare" => Does::Answers(403, String::new()),
        _ => Does::Answers(404, String::new()),
    }
}

async fn world() -> (World, Web) {
    let ca = Ca::new();
    let web = Web::start(&ca, api).await;
    let world = World::with(|world| Some(place(world, &web, &ca)));
    (world, web)
}

fn place(world: &World, web: &Web, ca: &Ca) -> Kubernetes {
    let directory = world.directory.path().join("account");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("token"), "ours\n").unwrap();
    fs::write(directory.join("ca.crt"), ca.pem()).unwrap();
    let (token, authorities) = (directory.join("token"), directory.join("ca.crt"));
    Kubernetes::at(web.url(), Some(token), Some(authorities)).unwrap()
}

/// A pod that cannot connect with its token, or is somebody else.
#[tokio::test]
async fn tokens_are_reviewed() {
    let (world, _web) = world().await;
    let authenticator = world.authenticator(METHODS);
    for credentials in [
        enhanced("K8S-SAT", &token("sensor")),
        login("K8S-SAT", &token("sensor")),
    ] {
        let verdict = authenticator.connect(credentials).await;
        let Verdict::Accepted {
            username,
            attributes: known,
            expires,
            ..
        } = verdict
        else {
            panic!("{verdict:?}");
        };
        assert_eq!(
            username.as_deref(),
            Some("system:serviceaccount:plant:sensor")
        );
        assert_eq!(known, attributes(&[("site", "plant")]));
        assert_eq!(
            expires,
            Some(SystemTime::UNIX_EPOCH + Duration::from_secs(2_208_988_800))
        );
    }
    let Verdict::Accepted {
        attributes: none, ..
    } = authenticator
        .connect(enhanced("K8S-SAT", &token("bare")))
        .await
    else {
        panic!("refused");
    };
    assert!(none.is_empty());
    for bad in [
        enhanced("K8S-SAT", &token("stranger")),
        enhanced("K8S-SAT", ""),
        login("K8S-SAT", "x"),
    ] {
        assert_eq!(refused(&authenticator.connect(bad).await), 0x87);
    }
    // Of no concern to this method, and there is no other.
    assert_eq!(
        refused(&authenticator.connect(login("me", &token("sensor"))).await),
        0x87
    );
    assert_eq!(world.means.counters().irrelevant.load(Ordering::Relaxed), 1);
}

/// A pod whose token is renewed loses its connection all the same; or it does because the API is away for a moment.
#[tokio::test]
async fn a_renewed_token_is_taken() {
    let (world, _web) = world().await;
    let authenticator = world.authenticator(METHODS);
    let verdict = authenticator
        .reauthenticate(enhanced("K8S-SAT", &token("sensor")))
        .await;
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    assert_eq!(
        refused(&authenticator.reauthenticate(enhanced("K8S-SAT", "x")).await),
        0x87
    );
    assert_eq!(
        authenticator
            .reauthenticate(enhanced("K8S-SAT", &token("away")))
            .await,
        Verdict::TryAgain
    );
    assert_eq!(
        refused(
            &authenticator
                .connect(enhanced("K8S-SAT", &token("away")))
                .await
        ),
        0x88
    );
}

/// A token is believed where nobody reviews it.
#[tokio::test]
async fn without_an_api_no_token_is_taken() {
    let world = World::new();
    let authenticator = world.authenticator(METHODS);
    assert_eq!(
        refused(
            &authenticator
                .connect(enhanced("K8S-SAT", &token("sensor")))
                .await
        ),
        0x88
    );
    assert_eq!(authenticator.problems().len(), 1);
    // An API that another CA vouches for.
    let web = Web::start(&Ca::new(), api).await;
    let world = World::with(|world| Some(place(world, &web, &Ca::new())));
    let authenticator = world.authenticator(METHODS);
    assert_eq!(
        refused(
            &authenticator
                .connect(enhanced("K8S-SAT", &token("sensor")))
                .await
        ),
        0x88
    );
    assert!(web.seen().is_empty());
}
