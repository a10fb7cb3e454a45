use std::sync::Arc;

use catena_resources::{
    Attributes, BrokerAuthorization,
    authorization::{
        AuthorizationPolicies, BrokerMethod, BrokerResource, Cache, KeyType, Principals, Rule,
        StateStoreMethod, StateStoreResource,
    },
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::naive;
use crate::{Access, Action, KeyAccess, Policy, Principal, explain::NEAR_MISSES_MAX};

fn strings(all: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<String>> {
    vec(select(all).prop_map(str::to_owned), 0..=most)
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let pair = (select(&["k", "l"][..]), select(&["a", "b", "b/c", "*"][..]));
    let pairs = vec(pair, 0..3);
    pairs.prop_map(|pairs| {
        pairs
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect()
    })
}

/// Levels that patterns are made of.
const LEVELS: &[&str] = &[
    "a",
    "b",
    "+",
    "$a",
    "",
    "{principal.clientId}",
    "x{principal.username}",
    "{principal.attributes.k}",
    "{principal.attributes.k}-{principal.attributes.l}",
    "{principal.other}",
    "a+",
];

fn pattern() -> impl Strategy<Value = String> {
    let front = select(&["", "", "", "$share/g/", "$share/"][..]);
    (front, vec(select(LEVELS), 0..4), any::<bool>()).prop_map(|(front, mut levels, rest)| {
        if rest {
            levels.push("#");
        }
        front.to_owned() + &levels.join("/")
    })
}

fn asked_filter() -> impl Strategy<Value = String> {
    let front = select(&["", "", "$share/g/"][..]);
    let levels = select(&["a", "b", "+", "$a", "", "xa", "a-b", "$share"][..]);
    (front, vec(levels, 0..4), any::<bool>()).prop_map(|(front, mut levels, rest)| {
        if rest {
            levels.push("#");
        }
        front.to_owned() + &levels.join("/")
    })
}

fn broker_resource() -> impl Strategy<Value = BrokerResource> {
    const IDS: &[&str] = &[
        "*",
        "a",
        "a*",
        "*b",
        "*{principal.username}",
        "{principal.attributes.k}*",
        "a*b*",
        "{principal.clientId",
    ];
    let methods = [
        BrokerMethod::Connect,
        BrokerMethod::Publish,
        BrokerMethod::Subscribe,
    ];
    let topics = vec(pattern(), 0..3);
    (select(methods.to_vec()), strings(IDS, 2), topics).prop_map(|(method, ids, topics)| {
        let is_connect = method == BrokerMethod::Connect;
        BrokerResource {
            method,
            client_ids: if is_connect { ids } else { Vec::new() },
            topics: if is_connect { Vec::new() } else { topics },
        }
    })
}

fn store_resource() -> impl Strategy<Value = StateStoreResource> {
    const KEYS: &[&str] = &[
        "a",
        "a*",
        "*",
        "?b",
        "YWI=",
        "{principal.clientId}?",
        "*{principal.username}",
    ];
    let methods = [
        StateStoreMethod::Read,
        StateStoreMethod::Write,
        StateStoreMethod::ReadWrite,
    ];
    let types = [KeyType::Pattern, KeyType::String, KeyType::Binary];
    let parts = (
        select(methods.to_vec()),
        select(types.to_vec()),
        strings(KEYS, 3),
    );
    parts.prop_map(|(method, key_type, keys)| StateStoreResource {
        method,
        key_type,
        keys,
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let principals = (
        strings(&["a", "b", "a/b", "*"], 2),
        strings(&["a", "x*", "*"], 1),
        vec(attributes(), 0..2),
    );
    let principals = principals.prop_map(|(client_ids, usernames, attributes)| Principals {
        client_ids,
        usernames,
        attributes,
    });
    let resources = (vec(broker_resource(), 0..3), vec(store_resource(), 0..2));
    (principals, resources).prop_map(|(principals, (broker, store))| Rule {
        principals,
        broker_resources: broker,
        state_store_resources: store,
    })
}

fn authorization() -> impl Strategy<Value = BrokerAuthorization> {
    (vec(rule(), 0..6), any::<bool>()).prop_map(|(rules, remembers)| {
        let cache = if remembers {
            Cache::Enabled
        } else {
            Cache::Disabled
        };
        let authorization_policies = AuthorizationPolicies {
            cache,
            rules,
            ..AuthorizationPolicies::default()
        };
        BrokerAuthorization {
            authorization_policies,
        }
    })
}

fn principal() -> impl Strategy<Value = Principal> {
    let ids = select(&["a", "b", "ab", "a/b", "+", "*", "$share", "$a", ""][..]);
    let names = option::of(select(&["a", "x*", "*", "#", ""][..]));
    (ids, names, attributes()).prop_map(|(id, name, attributes)| Principal {
        client_id: id.into(),
        username: name.map(Into::into),
        attributes: Arc::new(attributes),
    })
}

fn judge(spec: &BrokerAuthorization, principal: &Principal, actions: &[(String, String, String)]) {
    let policy = Arc::new(Policy::compile("p", spec));
    let mut access = Access::new(policy.clone(), principal.clone());
    // The second round is answered by what is remembered.
    for (topic, filter, key) in actions.iter().chain(actions) {
        let key = key.as_bytes();
        let rows = [
            (Action::Connect, access.may_connect()),
            (Action::Publish(topic), access.may_publish(topic)),
            (Action::Subscribe(filter), access.may_subscribe(filter)),
            (
                Action::Key(KeyAccess::Read, key),
                access.may_access_key(KeyAccess::Read, key),
            ),
            (
                Action::Key(KeyAccess::Write, key),
                access.may_access_key(KeyAccess::Write, key),
            ),
        ];
        for (action, decided) in rows {
            let explanation = policy.explain(principal, action);
            let expected = naive::is_allowed(spec, principal, action);
            assert_eq!(decided, expected, "{action:?}");
            assert_eq!(
                explanation.is_allowed(),
                expected,
                "{action:?}: {explanation:?}"
            );
            assert!(explanation.near_misses.len() <= NEAR_MISSES_MAX);
            assert!(!expected || explanation.near_misses.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    // The indexes could let somebody in, or keep somebody out, whom the rules as written do not; and an explanation
    // could tell another story than the decision.
    #[test]
    fn decides_and_explains_like_the_rules_as_written(
        spec in authorization(),
        principal in principal(),
        actions in vec(("([ab]|\\$a|xa|a-b)?(/([ab]|\\$a|xa|)){0,3}", asked_filter(), "[ab*?]{0,3}"), 1..6),
    ) {
        judge(&spec, &principal, &actions);
    }
}
