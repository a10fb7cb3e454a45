//! Kubernetes service accounts, whose tokens an API reviews: here a server that speaks as much of it as is asked.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    broker::unique,
    client::{Message, Options},
};
use serde_json::json;

use crate::{
    https::{Answer, Asked, Https},
    issuer, mosquitto,
    world::{Ca, World, authentication, authorization, connack, listener, login},
};

pub const METHODS: &str =
    "- method: ServiceAccountToken\n  serviceAccountTokenSettings:\n    audiences: [mqtt]";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const RULES: &str = "rules:\n- principals:\n    attributes:\n    - role: sensor\n  brokerResources:\n  - method: Connect\n  \
                     - method: Publish\n    topics: [\"plant/{principal.attributes.site}/#\"]";

/// A Kubernetes API that knows two accounts, and the tokens that it has issued.
pub struct Kubernetes {
    server: Https,
    issued: Arc<Mutex<Vec<(String, String)>>>,
}

impl Kubernetes {
    /// With what the broker needs to come to it, in files.
    pub fn start(world: &World) -> Kubernetes {
        let ca = Ca::new("Kubernetes CA");
        fs::write(world.path("kubernetes.crt"), ca.pem()).expect("it can be written");
        fs::write(world.path("kubernetes.token"), "ours\n").expect("it can be written");
        let issued = Arc::new(Mutex::new(Vec::new()));
        let known = issued.clone();
        let server = Https::start(&ca, None, move |asked| answer(asked, &known));
        Kubernetes { server, issued }
    }

    /// What the broker is told.
    pub fn arguments(&self, world: &World) -> Vec<String> {
        let file = |name: &str| world.path(name).display().to_string();
        vec![
            "--kubernetes-api".to_owned(),
            self.server.url(),
            "--kubernetes-token-file".to_owned(),
            file("kubernetes.token"),
            "--kubernetes-ca".to_owned(),
            file("kubernetes.crt"),
        ]
    }

    /// A token of an account that is good for so many seconds. Its signature is for this API to know.
    pub fn token(&self, account: &str, seconds: i64) -> String {
        let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let (head, sign) = (part(json!({"alg": "RS256"})), part(json!(unique("token"))));
        let claims = part(json!({"sub": account, "exp": issuer::now() + seconds}));
        let token = format!("{head}.{claims}.{sign}");
        let mut issued = self.issued.lock().expect("no panic holds it");
        issued.push((token.clone(), account.to_owned()));
        token
    }
}

fn answer(asked: &Asked, issued: &Mutex<Vec<(String, String)>>) -> Answer {
    if asked.headers.get("authorization").map(String::as_str) != Some("Bearer ours") {
        return (401, String::new());
    }
    let annotations = match asked.target.as_str() {
        REVIEWS => return review(asked, issued),
        "/api/v1/namespaces/plant/serviceaccounts/sensor" => {
            json!({"aio-broker-auth/role": "sensor", "aio-broker-auth/site": "north"})
        }
        "/api/v1/namespaces/plant/serviceaccounts/bare" => json!({"role": "sensor"}),
        _ => return (404, String::new()),
    };
    (
        200,
        json!({"metadata": {"annotations": annotations}}).to_string(),
    )
}

fn review(asked: &Asked, issued: &Mutex<Vec<(String, String)>>) -> Answer {
    let spec = asked.json()["spec"].clone();
    assert_eq!(spec["audiences"], json!(["mqtt"]));
    let issued = issued.lock().expect("no panic holds it");
    let account = issued
        .iter()
        .find(|(token, _)| spec["token"] == token.as_str());
    let status = match account {
        None => json!({"authenticated": false, "error": "token is not signed by us"}),
        Some((_, account)) => {
            let username = format!("system:serviceaccount:plant:{account}");
            json!({"authenticated": true, "user": {"username": username}, "audiences": ["mqtt"]})
        }
    };
    (
        201,
        json!({"kind": "TokenReview", "status": status}).to_string(),
    )
}

/// A pod cannot connect with its token; or a token that nobody issued opens the door; or an account has attributes of another.
#[test]
fn tokens_are_reviewed_and_annotations_are_attributes() {
    let world = World::new();
    let kubernetes = Kubernetes::start(&world);
    let port =
        "- port: PORT0\n  address: 127.0.0.1\n  authenticationRef: auth\n  authorizationRef: rules";
    let manifests = [
        listener(port),
        authentication("auth", METHODS),
        authorization("rules", RULES),
    ];
    let arguments = kubernetes.arguments(&world);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let world = world.start_with(&manifests, &arguments);
    let enhanced = |token: &str| {
        Options::new(Version::V5, &unique("pod")).authentication("K8S-SAT", token.as_bytes())
    };
    let connack = |options: &Options| connack(world.ports[0], options);
    let (sensor, bare) = (
        kubernetes.token("sensor", 600),
        kubernetes.token("bare", 600),
    );

    let mut pod = enhanced(&sensor).open_at(world.ports[0]);
    let north = Message::new("plant/north/t", "21").qos(1);
    let south = Message::new("plant/south/t", "21").qos(1);
    assert_eq!(pod.publish(&north), ReasonCode::NoMatchingSubscribers);
    assert_eq!(pod.publish(&south), ReasonCode::NotAuthorized);
    assert_eq!(connack(&login(Version::V4, "K8S-SAT", &sensor)), 0);
    // Known, and of no role: the rules let it do nothing.
    assert_eq!(connack(&enhanced(&bare)), 0x87);
    assert_eq!(connack(&enhanced("x.y.z")), 0x87);
    for version in [Version::V4, Version::V5] {
        let no = if version == Version::V5 { 0x87 } else { 5 };
        assert_eq!(connack(&login(version, "K8S-SAT", "x.y.z")), no);
        assert_eq!(
            connack(&login(version, "me", &sensor)),
            no,
            "it does not say what it is"
        );
    }

    let sends = |arguments: &[&str]| {
        let message = ["-t", "plant/north/t", "-m", "21", "-q", "1"];
        let output = mosquitto::run(
            &world,
            "mosquitto_pub",
            0,
            &[&message[..], arguments].concat(),
        );
        output.status.success()
    };
    let enhanced = |token: &str| {
        let method = ["-D", "connect", "authentication-method", "K8S-SAT"];
        let data = ["-D", "connect", "authentication-data", token];
        sends(&[&["-V", "5"][..], &method, &data].concat())
    };
    assert!(enhanced(&sensor));
    assert!(!enhanced("x.y.z"));
    assert!(sends(&["-V", "311", "-u", "K8S-SAT", "-P", &sensor]));
    assert!(!sends(&["-V", "311", "-u", "K8S-SAT", "-P", "x.y.z"]));
    assert!(!world.log().join("\n").contains(&sensor), "it is a secret");

    // Without the API nobody can be known, and nobody is let in for that.
    drop(kubernetes);
    assert_eq!(connack(&login(Version::V4, "K8S-SAT", &sensor)), 3);
    assert_eq!(connack(&login(Version::V5, "K8S-SAT", &sensor)), 0x88);
    pod.ping();
}
