use std::sync::Arc;

use catena_resources::{
    Attributes, BrokerAuthorization,
    authorization::{
        AuthorizationPolicies, BrokerMethod, BrokerResource, KeyType, Principals, Rule,
        StateStoreMethod, StateStoreResource,
    },
};

use crate::{
    Access, Action, KeyAccess, Policy, Principal,
    explain::{MatchedPrincipal, NEAR_MISSES_MAX, Why},
};

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

fn everybody() -> Principals {
    Principals {
        client_ids: texts(&["*"]),
        ..Principals::default()
    }
}

fn topics(method: BrokerMethod, topics: &[&str]) -> BrokerResource {
    BrokerResource {
        method,
        client_ids: Vec::new(),
        topics: texts(topics),
    }
}

fn rule(principals: Principals, broker_resources: Vec<BrokerResource>) -> Rule {
    Rule {
        principals,
        broker_resources,
        state_store_resources: Vec::new(),
    }
}

fn policy(rules: Vec<Rule>) -> Arc<Policy> {
    let authorization_policies = AuthorizationPolicies {
        rules,
        ..AuthorizationPolicies::default()
    };
    let spec = BrokerAuthorization {
        authorization_policies,
    };
    Arc::new(Policy::compile("rules", &spec))
}

fn client(id: &'static str) -> Principal {
    Principal {
        client_id: id.into(),
        ..Principal::default()
    }
}

fn subscribes(pattern: &str, principal: Principal, asked: &str) -> bool {
    let resource = topics(BrokerMethod::Subscribe, &[pattern]);
    let policy = policy(vec![rule(everybody(), vec![resource])]);
    Access::new(policy, principal).may_subscribe(asked)
}

// An empty rule set would let everybody in.
#[test]
fn what_no_rule_allows_is_denied() {
    let mut access = Access::new(policy(Vec::new()), client("a"));
    assert!(!access.may_connect() && !access.may_publish("t") && !access.may_subscribe("t"));
    assert!(!access.may_access_key(KeyAccess::Read, b"k"));
    // A rule about nobody, and an entry of attributes that asks for nothing, name nobody.
    let nobody = Principals {
        attributes: vec![Attributes::new()],
        ..Principals::default()
    };
    let all = topics(BrokerMethod::Publish, &[]);
    let mut access = Access::new(policy(vec![rule(nobody, vec![all])]), client("a"));
    assert!(!access.may_publish("t"));
}

// A client could name itself so that a pattern means more than its owner wrote.
#[test]
fn values_of_a_client_cannot_widen_a_pattern() {
    let pattern = "{principal.clientId}/#";
    assert!(subscribes(pattern, client("a"), "a/b"));
    for id in ["+", "#", "a/b", "+/x"] {
        assert!(!subscribes(pattern, client(id), "a/b"), "{id}");
        assert!(!subscribes(pattern, client(id), &format!("{id}/#")), "{id}");
    }
    // What the broker says of itself, where a rule gives each client topics below its name.
    assert!(!subscribes(pattern, client("$SYS"), "$SYS/#"));
    assert!(!subscribes(pattern, client("$SYS"), "$SYS/broker/uptime"));
    let pattern = "$app-{principal.clientId}/#";
    assert!(
        subscribes(pattern, client("a"), "$app-a/b"),
        "as it is written"
    );
    // It makes no share either, of which only the rest would count.
    let pattern = "{principal.clientId}/{principal.username}/#";
    let share = Principal {
        username: Some("g".into()),
        ..client("$share")
    };
    assert!(!subscribes(pattern, share.clone(), "a"));
    assert!(!subscribes(pattern, share, "#"));
    // Nor the group of one, which is left out.
    assert!(!subscribes(
        "$share/{principal.clientId}/#",
        client("+"),
        "#"
    ));
}

// Shared subscriptions would need rules of their own, or pass by the rules.
#[test]
fn shares_are_left_out_on_both_sides() {
    for pattern in ["a/#", "$share/g/a/#"] {
        assert!(subscribes(pattern, client("c"), "$share/other/a/+"));
        assert!(subscribes(pattern, client("c"), "a/+"));
        assert!(!subscribes(pattern, client("c"), "$share/g/b"));
    }
    assert!(!subscribes("$share/g", client("c"), "a"));
    assert!(!subscribes("$share/+/a", client("c"), "a"));
    // What is no filter at all is not allowed by "any topic" either.
    let all = topics(BrokerMethod::Subscribe, &[]);
    let mut access = Access::new(policy(vec![rule(everybody(), vec![all])]), client("c"));
    assert!(access.may_subscribe("$SYS/#") && access.may_subscribe("#"));
    assert!(!access.may_subscribe("$share/g") && !access.may_subscribe("a/#/b"));
}

// Two patterns that only together match what is asked would need to be added up, which nobody can read off the rules.
#[test]
fn one_pattern_covers_it_all() {
    let resource = topics(BrokerMethod::Subscribe, &["a", "a/+/#"]);
    let policy = policy(vec![rule(everybody(), vec![resource])]);
    let mut access = Access::new(policy, client("c"));
    assert!(access.may_subscribe("a") && access.may_subscribe("a/+/b/#"));
    assert!(!access.may_subscribe("a/#"));
}

// Usernames differ by case in most directories, and `*` within a name is a name.
#[test]
fn principals_are_exact() {
    let named = |names: &[&str]| Principals {
        usernames: texts(names),
        ..Principals::default()
    };
    let publishes = |principals: Principals, username: Option<&'static str>| {
        let resource = topics(BrokerMethod::Publish, &["t"]);
        let principal = Principal {
            username: username.map(Into::into),
            ..client("c")
        };
        Access::new(policy(vec![rule(principals, vec![resource])]), principal).may_publish("t")
    };
    assert!(publishes(named(&["Ann"]), Some("Ann")));
    assert!(!publishes(named(&["Ann"]), Some("ann")));
    assert!(!publishes(named(&["A*"]), Some("Ann")));
    assert!(publishes(named(&["*"]), Some("Ann")));
    assert!(publishes(named(&["*"]), None));
}

// Keys that look alike would be mixed up, or bytes that are no text would match nothing.
#[test]
fn keys_of_the_state_store() {
    let access = |key_type, pattern: &str, method, access, key: &[u8]| {
        let resource = StateStoreResource {
            method,
            key_type,
            keys: texts(&[pattern]),
        };
        let rule = Rule {
            principals: everybody(),
            broker_resources: Vec::new(),
            state_store_resources: vec![resource],
        };
        Access::new(policy(vec![rule]), client("*")).may_access_key(access, key)
    };
    let reads = |key_type, pattern: &str, key: &[u8]| {
        access(
            key_type,
            pattern,
            StateStoreMethod::Read,
            KeyAccess::Read,
            key,
        )
    };
    let rows: &[(&str, &[u8], bool)] = &[
        ("a*", b"abc", true),
        ("a?c", "aéc".as_bytes(), true),
        ("a?c", b"a\xFFc", true),
        ("a?c", b"ac", false),
        ("[a-c]x", b"bx", true),
        ("[!a-c]x", b"bx", false),
        ("[^a-c]x", b"\xFFx", true),
        ("[]]", b"]", true),
        ("[*]", b"*", true),
        ("[*]", b"a", false),
        ("[a-]", b"-", true),
        ("[a", b"[a", false),
        // The client is called `*`, and means that alone.
        ("{principal.clientId}", b"*", true),
        ("{principal.clientId}", b"a", false),
        ("{principal.username}", b"", false),
        ("*a*b*c", b"xxaxxbxxbc", true),
        // A star that ends within a character would find its last byte to be none of the class.
        ("*[!é]", "é".as_bytes(), false),
        ("*[!é]", "éx".as_bytes(), true),
        ("*é", "xéé".as_bytes(), true),
        ("*[!a]", b"a\xFF", true),
    ];
    for (pattern, key, expected) in rows {
        assert_eq!(
            reads(KeyType::Pattern, pattern, key),
            *expected,
            "{pattern} {key:?}"
        );
    }
    assert!(reads(KeyType::String, "a*", b"a*") && !reads(KeyType::String, "a*", b"ab"));
    assert!(reads(KeyType::Binary, "AP8=", b"\0\xFF") && !reads(KeyType::Binary, "?", b"?"));
    let write = |method| access(KeyType::String, "k", method, KeyAccess::Write, b"k");
    assert!(!write(StateStoreMethod::Read) && write(StateStoreMethod::Write));
    assert!(write(StateStoreMethod::ReadWrite));
}

// An operator who is told "denied" alone has to guess which of a hundred rules is wrong.
#[test]
fn explanations_name_what_is_missing() {
    let site = |site: &str| Principals {
        attributes: vec![Attributes::from([("site".to_owned(), site.to_owned())])],
        ..Principals::default()
    };
    let policy = policy(vec![
        rule(
            site("a"),
            vec![topics(
                BrokerMethod::Subscribe,
                &["x", "site/{principal.attributes.site}/+"],
            )],
        ),
        rule(
            site("b"),
            vec![topics(BrokerMethod::Subscribe, &["site/#"])],
        ),
        rule(
            everybody(),
            vec![topics(
                BrokerMethod::Subscribe,
                &["{principal.username}/#", "+x"],
            )],
        ),
    ]);
    let principal = Principal {
        attributes: Arc::new(Attributes::from([("site".to_owned(), "a".to_owned())])),
        ..client("c")
    };
    let granted = policy
        .explain(&principal, Action::Subscribe("site/a/t"))
        .granted
        .unwrap();
    assert_eq!((granted.rule, granted.entry.resource), (0, 0));
    assert!(matches!(granted.principal, MatchedPrincipal::Attributes(_)));
    assert_eq!(granted.entry.substituted.as_deref(), Some("site/a/+"));

    let denied = policy.explain(&principal, Action::Subscribe("site/a/#"));
    let whys: Vec<_> = denied
        .near_misses
        .iter()
        .map(|miss| (miss.rule, miss.why))
        .collect();
    let expected = [
        (0, Why::NoMatch),
        (0, Why::AsksForMore),
        (1, Why::OtherPrincipal),
        (2, Why::ValueMissing),
        (2, Why::NotValid),
    ];
    assert_eq!(whys, expected);
    let unfit = Principal {
        username: Some("a/b".into()),
        ..client("c")
    };
    let denied = policy.explain(&unfit, Action::Subscribe("a/b/c"));
    assert!(
        denied
            .near_misses
            .iter()
            .any(|miss| miss.why == Why::ValueUnfit)
    );
}

// The answer to an operator would be as long as the rules.
#[test]
fn near_misses_are_bounded() {
    let resource = || topics(BrokerMethod::Publish, &["a"]);
    let rules = (0..NEAR_MISSES_MAX + 3).map(|_| rule(everybody(), vec![resource()]));
    let denied = policy(rules.collect()).explain(&client("c"), Action::Publish("b"));
    assert_eq!(denied.near_misses.len(), NEAR_MISSES_MAX);
    assert_eq!(denied.near_misses_left_out, 3);
}

// A topic with sixty thousand levels must not end the process by its depth.
#[test]
fn deep_topics_are_decided() {
    let resource = topics(BrokerMethod::Publish, &[&"+/".repeat(30_000), "+/#/b"]);
    let mut access = Access::new(policy(vec![rule(everybody(), vec![resource])]), client("c"));
    assert!(access.may_publish(&"a/".repeat(30_000)));
    assert!(!access.may_publish(&"a/".repeat(30_001)));
}
