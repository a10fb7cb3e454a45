//! What the broker lets clients do, against what the admin API says that it would: at random, from one seed.
//!
//! `CATENA_SEED` repeats one.

use std::fmt::Write as _;

use catena_mqtt::{ReasonCode, Version};
use catena_proto::admin::v1::{
    ExplainRequest,
    authorization_client::AuthorizationClient,
    explain_request::{Action, Connect, Policy},
};
use catena_tests::{
    client::{Client, Filter, Message, Options},
    faults::Chance,
};
use serde_json::json;
use tonic::transport::Channel;

use crate::{
    issuer::{Issuer, METHODS},
    world::{CHANGE, World, authentication, authorization, connack_of, listener, login, within},
};

const SEED: u64 = 4711;
const ACTIONS: usize = 1_000;
const POLICIES: usize = 8;

const PORT: &str =
    "- port: PORT0\n  address: 127.0.0.1\n  authenticationRef: auth\n  authorizationRef: rules";
/// Claims that become attributes.
const CLAIMS: &str = "\n    attributeClaims: [site, role]";

const IDS: &[&str] = &["a", "b", "ab", "u-a", "a/b", "+", "*", "$a"];
const USERS: &[&str] = &["u", "v", "a", "u/v", "*"];

/// Who a client is.
#[derive(Debug, Clone)]
struct Principal {
    id: &'static str,
    user: &'static str,
    attributes: Vec<(&'static str, &'static str)>,
}

impl Principal {
    fn any(chance: &mut Chance) -> Principal {
        let mut attributes = Vec::new();
        for name in ["site", "role"] {
            if chance.below(3) > 0 {
                attributes.push((name, *chance.choose(&["a", "b", "a/b", "+", "*"])));
            }
        }
        Principal {
            id: chance.choose::<&str>(IDS),
            user: chance.choose::<&str>(USERS),
            attributes,
        }
    }

    fn options(&self, issuer: &Issuer) -> Options {
        let claims = self.attributes.iter();
        let claims = claims.map(|(name, value)| ((*name).to_owned(), json!(value)));
        let token = issuer.token_with(
            self.user,
            600,
            claims.collect::<serde_json::Map<_, _>>().into(),
        );
        let mut options = login(Version::V5, "any", &token);
        options.connect.client_id = self.id.into();
        options
    }
}

/// What a client tries.
#[derive(Debug, Clone)]
enum Try {
    Connect,
    /// With a will for a topic.
    Will(String),
    Publish(String),
    Subscribe(String),
}

impl Try {
    fn any(chance: &mut Chance) -> Try {
        match chance.below(8) {
            0 => Try::Connect,
            1 => Try::Will(topic(chance)),
            2..=4 => Try::Publish(topic(chance)),
            _ => Try::Subscribe(filter(chance)),
        }
    }

    /// What the API is asked: all of it must be allowed.
    fn actions(&self) -> Vec<Action> {
        match self {
            Try::Connect => vec![Action::Connect(Connect {})],
            Try::Will(topic) => vec![Action::Connect(Connect {}), Action::Publish(topic.clone())],
            Try::Publish(topic) => vec![Action::Publish(topic.clone())],
            Try::Subscribe(filter) => vec![Action::Subscribe(filter.clone())],
        }
    }
}

fn levels(chance: &mut Chance, all: &[&str]) -> String {
    let count = 1 + chance.below(3);
    let levels: Vec<&str> = (0..count).map(|_| *chance.choose(all)).collect();
    levels.join("/")
}

fn topic(chance: &mut Chance) -> String {
    let topic = levels(chance, &["a", "b", "ab", "xu", "a-b", "u", "$a", ""]);
    // There is no empty topic.
    if topic.is_empty() {
        "a".to_owned()
    } else {
        topic
    }
}

fn filter(chance: &mut Chance) -> String {
    let group = *chance.choose(&["", "", "", "$share/g/"]);
    let rest = *chance.choose(&["", "", "/#"]);
    let levels = levels(chance, &["a", "b", "+", "xu", "a-b", "u", "$a", "+"]);
    format!("{group}{levels}{rest}")
}

/// A pattern of a manifest: any that `catena apply` takes.
fn pattern(chance: &mut Chance) -> String {
    let all = [
        "a",
        "b",
        "+",
        "$a",
        "{principal.clientId}",
        "x{principal.username}",
        "{principal.username}",
        "{principal.attributes.site}",
        "{principal.attributes.site}-{principal.attributes.role}",
    ];
    let rest = *chance.choose(&["", "", "/#"]);
    match chance.below(12) {
        0 => "#".to_owned(),
        _ => levels(chance, &all) + rest,
    }
}

/// Rules in YAML, the last of which lets the test see when they hold.
fn policies(chance: &mut Chance, round: usize) -> String {
    let mut text = "rules:\n".to_owned();
    let list = |items: &[String]| serde_json::to_string(items).expect("JSON");
    for _ in 0..1 + chance.below(5) {
        let ids = some(chance, 2, |chance| {
            (*chance.choose(&["a", "u-a", "*", "b"])).to_owned()
        });
        let users = some(chance, 1, |chance| {
            (*chance.choose(&["u", "a", "*"])).to_owned()
        });
        let attributes = match chance.below(3) {
            0 => "[]".to_owned(),
            1 => "[{site: a}]".to_owned(),
            _ => "[{site: b, role: a}, {role: \"*\"}]".to_owned(),
        };
        let _ = write!(
            text,
            "- principals:\n    clientIds: {}\n    usernames: {}\n    attributes: {attributes}\n  brokerResources:\n",
            list(&ids),
            list(&users)
        );
        let ids = some(chance, 2, |chance| {
            let all = [
                "*",
                "a*",
                "{principal.username}*",
                "*{principal.attributes.site}",
                "?",
            ];
            (*chance.choose(&all)).to_owned()
        });
        let _ = writeln!(text, "  - method: Connect\n    clientIds: {}", list(&ids));
        for method in ["Publish", "Subscribe"] {
            // An empty list would allow all, also what the test looks at.
            let mut topics = some(chance, 3, pattern);
            topics.push(pattern(chance));
            let _ = writeln!(text, "  - method: {method}\n    topics: {}", list(&topics));
        }
    }
    let _ = write!(
        text,
        "- principals:\n    usernames: [probe]\n  brokerResources:\n  - method: Connect\n  - method: Publish\n    topics: [\"$probe/{round}\"]\n"
    );
    text
}

fn some<T>(chance: &mut Chance, most: u64, one: impl Fn(&mut Chance) -> T) -> Vec<T> {
    let count = chance.below(most + 1);
    (0..count).map(|_| one(chance)).collect()
}

/// The admin API.
struct Explainer {
    runtime: tokio::runtime::Runtime,
    client: AuthorizationClient<Channel>,
}

impl Explainer {
    fn new(world: &World) -> Explainer {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let url = world.admin().0;
        let endpoint = Channel::from_shared(url).expect("a URL");
        let channel = runtime.block_on(endpoint.connect()).expect("it is there");
        let client = AuthorizationClient::new(channel);
        Explainer { runtime, client }
    }

    fn allows(&mut self, who: &Principal, what: &Try) -> bool {
        what.actions().into_iter().all(|action| {
            let attributes = who.attributes.iter();
            let request = ExplainRequest {
                client_id: who.id.to_owned(),
                username: Some(who.user.to_owned()),
                attributes: attributes
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                action: Some(action),
                policy: Some(Policy::Name("rules".to_owned())),
            };
            let answer = self.runtime.block_on(self.client.explain(request));
            answer.expect("it explains").into_inner().allowed
        })
    }
}

/// Whether the broker lets a client do it. `client` is connected, if the client may.
fn is_let(world: &World, options: &Options, client: Option<&mut Client>, what: &Try) -> bool {
    let connects = |options: Options| connack_of(options.dial_at(world.ports[0]), Version::V5) == 0;
    let is_allowed = |reason: ReasonCode| {
        assert!(
            reason == ReasonCode::NotAuthorized || !reason.is_error(),
            "{reason:?}"
        );
        !reason.is_error()
    };
    match (what, client) {
        (Try::Connect, _) => connects(options.clone()),
        (Try::Will(topic), _) => connects(options.clone().will(&Message::new(topic, ""), 0)),
        (Try::Publish(topic), Some(client)) => {
            is_allowed(client.publish(&Message::new(topic, "").qos(1)))
        }
        (Try::Subscribe(filter), Some(client)) => {
            let codes = client.subscribe_to(&[Filter::new(filter, 1)]);
            is_allowed(codes[0])
        }
        (_, None) => false,
    }
}

/// A client that stays connected when the rules change.
struct Stays {
    who: Principal,
    client: Client,
    /// What it has subscribed to.
    holds: Vec<String>,
}

impl Stays {
    /// Under other rules: it goes if it may no longer do what it does, and else does what they say. Answers whether it stayed.
    fn judge(mut self, explainer: &mut Explainer, chance: &mut Chance, policies: &str) -> bool {
        let who = self.who;
        let mut does = vec![Try::Connect];
        does.extend(self.holds.into_iter().map(Try::Subscribe));
        if let Some(denied) = does.iter().find(|what| !explainer.allows(&who, what)) {
            let reason = self.client.expect_close();
            let expected = Some(ReasonCode::NotAuthorized);
            assert_eq!(reason, expected, "{denied:?} of {who:?} under\n{policies}");
            return false;
        }
        for _ in 0..5 {
            let topic = topic(chance);
            let told = explainer.allows(&who, &Try::Publish(topic.clone()));
            let message = Message::new(&topic, "").qos(1);
            let client = std::cell::RefCell::new(&mut self.client);
            let is = || !client.borrow_mut().publish(&message).is_error();
            // Its worker may hear of the rules a moment after the others.
            let agree = within(CHANGE, || is() == told);
            assert!(agree, "{topic:?} of {who:?}: not {told} under\n{policies}");
        }
        true
    }
}

/// Waits until the rules of this round hold.
fn wait_for(world: &World, issuer: &Issuer, round: usize) {
    let holds = || {
        let mut probe =
            login(Version::V5, "any", &issuer.token("probe", 600)).open_at(world.ports[0]);
        let message = Message::new(&format!("$probe/{round}"), "").qos(1);
        probe.publish(&message) != ReasonCode::NotAuthorized
    };
    assert!(
        within(CHANGE, holds),
        "the rules of round {round} do not come into force"
    );
}

/// Whoever asks before he changes rules would be told something else than what then happens.
#[test]
fn what_is_explained_is_what_happens() {
    let seed = std::env::var("CATENA_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(SEED);
    println!("CATENA_SEED={seed}");
    let mut chance = Chance::new(seed);
    let (world, issuer) = (World::new(), Issuer::new());
    world.put("keys", "jwks.json", &issuer.key_set());
    let methods = METHODS.to_owned() + CLAIMS;
    let manifests = [
        listener(PORT),
        authentication("auth", &methods),
        authorization("rules", "rules: []"),
    ];
    let mut world = world.start_with(&manifests, &[]);
    let mut explainer = Explainer::new(&world);
    let (mut tried, mut allowed) = (0, [0; 4]);
    let mut stay: Vec<Stays> = Vec::new();
    let mut stayed = [0; 2];
    for round in 0..POLICIES {
        let policies = policies(&mut chance, round);
        world.apply(&[authorization("rules", &policies)]);
        wait_for(&world, &issuer, round);
        for client in stay.drain(..) {
            let stays = client.judge(&mut explainer, &mut chance, &policies);
            stayed[usize::from(stays)] += 1;
        }
        while tried < (round + 1) * ACTIONS / POLICIES {
            let who = Principal::any(&mut chance);
            let options = who.options(&issuer);
            // Who comes with its client id takes its place.
            stay.retain(|other| other.who.id != who.id);
            let may_connect = explainer.allows(&who, &Try::Connect);
            // Another client id for the attempts to connect would be another principal: what is connected comes last.
            let tries: Vec<Try> = (0..10).map(|_| Try::any(&mut chance)).collect();
            let is_entry = |what: &&Try| matches!(what, Try::Connect | Try::Will(_));
            let entries = tries.iter().filter(is_entry);
            let others = tries.iter().filter(|what| !is_entry(what));
            for what in entries {
                let (told, is) = (
                    explainer.allows(&who, what),
                    is_let(&world, &options, None, what),
                );
                assert_eq!(told, is, "{what:?} of {who:?} under\n{policies}");
                allowed[usize::from(told)] += 1;
                tried += 1;
            }
            if !may_connect {
                continue;
            }
            let mut client = options.open_at(world.ports[0]);
            let mut holds = Vec::new();
            for what in others {
                let told = explainer.allows(&who, what);
                let is = is_let(&world, &options, Some(&mut client), what);
                assert_eq!(told, is, "{what:?} of {who:?} under\n{policies}");
                allowed[2 + usize::from(told)] += 1;
                tried += 1;
                if let Try::Subscribe(filter) = what
                    && told
                {
                    holds.push(filter.clone());
                }
            }
            stay.push(Stays { who, client, holds });
        }
    }
    println!(
        "when rules changed: {} went, {} stayed",
        stayed[0], stayed[1]
    );
    assert!(stayed[0] > 0 && stayed[1] > 0, "{stayed:?}");
    println!(
        "connecting: {} denied, {} allowed; else: {} denied, {} allowed",
        allowed[0], allowed[1], allowed[2], allowed[3]
    );
    assert!(
        allowed.iter().all(|count| *count > tried / 20),
        "{allowed:?}"
    );
}
