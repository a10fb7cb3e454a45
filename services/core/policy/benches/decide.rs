//! What a decision costs with 1,000 rules: remembered or not, where each rule is about one client, and where all rules are
//! about everybody.

use std::{hint::black_box, sync::Arc};

use catena_policy::{Access, Policy, Principal};
use catena_resources::{
    BrokerAuthorization,
    authorization::{AuthorizationPolicies, BrokerMethod, BrokerResource, Cache, Principals, Rule},
};
use criterion::{Criterion, criterion_group, criterion_main};

const RULES: usize = 1_000;

/// About whom the rules are.
#[derive(Clone, Copy)]
enum About {
    /// Each is about a user of its own.
    One,
    Everybody,
}

fn resource(method: BrokerMethod, client_ids: Vec<String>, topics: Vec<String>) -> BrokerResource {
    BrokerResource {
        method,
        client_ids,
        topics,
    }
}

fn rule(about: About, number: usize, topics: &[String]) -> Rule {
    let principals = match about {
        About::One => Principals {
            usernames: vec![format!("user-{number}")],
            ..Principals::default()
        },
        About::Everybody => Principals {
            client_ids: vec!["*".to_owned()],
            ..Principals::default()
        },
    };
    let ids = vec![format!("device-{number}-*")];
    Rule {
        principals,
        broker_resources: vec![
            resource(BrokerMethod::Connect, ids, Vec::new()),
            resource(BrokerMethod::Publish, Vec::new(), topics.to_vec()),
            resource(BrokerMethod::Subscribe, Vec::new(), topics.to_vec()),
        ],
        state_store_resources: Vec::new(),
    }
}

fn policy(about: About, cache: Cache, topics: impl Fn(usize) -> Vec<String>) -> Arc<Policy> {
    let rules = (0..RULES).map(|number| rule(about, number, &topics(number)));
    let authorization_policies = AuthorizationPolicies {
        cache,
        rules: rules.collect(),
        ..AuthorizationPolicies::default()
    };
    let spec = BrokerAuthorization {
        authorization_policies,
    };
    Arc::new(Policy::compile("bench", &spec))
}

/// Patterns as they are written for sites with lines and machines.
fn sites(number: usize) -> Vec<String> {
    vec![
        format!("site/{number}/+/telemetry"),
        format!("site/{number}/{{principal.clientId}}/#"),
        format!("plant/{number}/line/+/#"),
    ]
}

/// The worst for the index: no two patterns have a beginning in common, and each takes a value of the client.
fn templates(number: usize) -> Vec<String> {
    vec![format!("line-{number}-{{principal.clientId}}/#")]
}

/// The last rule is about this client.
fn client() -> Principal {
    Principal {
        client_id: format!("device-{}-a", RULES - 1).into(),
        username: Some(format!("user-{}", RULES - 1).into()),
        ..Principal::default()
    }
}

fn decide(c: &mut Criterion) {
    let granted = format!("plant/{}/line/4/temperature", RULES - 1);
    let filter = format!("plant/{}/line/4/#", RULES - 1);
    let denied = "plant/other/line/4/temperature";

    let policy_of_sites = policy(About::Everybody, Cache::Enabled, sites);
    let mut access = Access::new(policy_of_sites, client());
    c.bench_function("publish, remembered", |b| {
        b.iter(|| assert!(access.may_publish(black_box(&granted))));
    });

    for (name, about) in [("one client", About::One), ("everybody", About::Everybody)] {
        let policy = policy(about, Cache::Disabled, sites);
        let mut access = Access::new(policy.clone(), client());
        c.bench_function(&format!("publish, rules about {name}, allowed"), |b| {
            b.iter(|| assert!(access.may_publish(black_box(&granted))));
        });
        c.bench_function(&format!("publish, rules about {name}, denied"), |b| {
            b.iter(|| assert!(!access.may_publish(black_box(denied))));
        });
        c.bench_function(&format!("subscribe, rules about {name}, allowed"), |b| {
            b.iter(|| assert!(access.may_subscribe(black_box(&filter))));
        });
        c.bench_function(&format!("connect, rules about {name}"), |b| {
            b.iter(|| assert!(Access::new(policy.clone(), client()).may_connect()));
        });
    }

    let policy = policy(About::Everybody, Cache::Disabled, templates);
    let mut access = Access::new(policy, client());
    c.bench_function(
        "publish, templates without a common beginning, denied",
        |b| {
            b.iter(|| assert!(!access.may_publish(black_box("line-999-device/x"))));
        },
    );
}

criterion_group!(benches, decide);
criterion_main!(benches);
