//! Why a decision is as it is: the rules are gone through as they are written, without the indexes that decide quickly.

use catena_mqtt::Filter;
use catena_resources::{
    Attributes,
    authorization::{BrokerMethod, BrokerResource, Principals, Rule, StateStoreResource},
};

use crate::{
    Policy, Principal,
    glob::Glob,
    policy::parse_topic,
    reach::{self, ANY},
    store::{self, Key, KeyAccess},
    template::{Lacking, Values, Variables},
};

/// The most entries that are named because they nearly allowed it.
pub const NEAR_MISSES_MAX: usize = 16;

/// What a client wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    Connect,
    /// To this topic name.
    Publish(&'a str),
    /// To this filter, which may be that of a shared subscription.
    Subscribe(&'a str),
    /// With this key of the state store.
    Key(KeyAccess, &'a [u8]),
}

/// Whether something is allowed, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The first entry that allows it; `None`: it is denied.
    pub granted: Option<Grant>,
    /// If it is denied: entries that would have allowed it but for one thing, in the order of the rules; at most
    /// [`NEAR_MISSES_MAX`].
    pub near_misses: Vec<NearMiss>,
    /// Those beyond the bound.
    pub near_misses_left_out: usize,
}

/// What allows something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Place in `rules`, from 0.
    pub rule: usize,
    pub principal: MatchedPrincipal,
    pub entry: Entry,
}

/// By what a rule is about the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatchedPrincipal {
    /// `clientIds` has `*`.
    AnyClientId,
    ClientId(String),
    /// `usernames` has `*`.
    AnyUsername,
    Username(String),
    /// All pairs of an entry of `attributes`.
    Attributes(Attributes),
}

/// One pattern of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Place in `brokerResources` or `stateStoreResources` of the rule, from 0.
    pub resource: usize,
    /// Its place among the patterns there, from 0, and what is written; `None`: the entry has no patterns, and allows all.
    pub pattern: Option<(usize, String)>,
    /// The pattern with the client's values in it, where it takes any.
    pub substituted: Option<String>,
}

/// An entry that nearly allowed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// Place in `rules`, from 0.
    pub rule: usize,
    pub entry: Entry,
    pub why: Why,
}

/// Why an entry does not allow something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("the rule is not about this client")]
    OtherPrincipal,
    #[error("it matches something else")]
    NoMatch,
    #[error("the filter can match topics that the pattern does not")]
    AsksForMore,
    #[error("it takes a value that the client does not have")]
    ValueMissing,
    #[error("it takes a value of the client that contains /, + or #")]
    ValueUnfit,
    #[error("it is not valid")]
    NotValid,
}

/// How one pattern stands to what is wanted.
struct Judged {
    pattern: Option<(usize, String)>,
    substituted: Option<String>,
    why: Option<Why>,
}

impl Policy {
    /// Why `principal` may or may not do `action`.
    pub fn explain(&self, principal: &Principal, action: Action<'_>) -> Explanation {
        let mut explanation = Explanation::default();
        for (index, rule) in self.spec.authorization_policies.rules.iter().enumerate() {
            let matched = matched(&rule.principals, principal);
            for (resource, judged) in judge_rule(rule, principal, action) {
                let why = match (&matched, judged.why) {
                    (Some(principal), None) => {
                        return Explanation::granted(Grant {
                            rule: index,
                            principal: principal.clone(),
                            entry: judged.entry(resource),
                        });
                    }
                    (Some(_), Some(why)) => why,
                    (None, None) => Why::OtherPrincipal,
                    // Two things are missing.
                    (None, Some(_)) => continue,
                };
                if explanation.near_misses.len() >= NEAR_MISSES_MAX {
                    explanation.near_misses_left_out += 1;
                    continue;
                }
                explanation.near_misses.push(NearMiss {
                    rule: index,
                    entry: judged.entry(resource),
                    why,
                });
            }
        }
        explanation
    }
}

impl Explanation {
    fn granted(grant: Grant) -> Explanation {
        Explanation {
            granted: Some(grant),
            ..Explanation::default()
        }
    }

    /// Whether it is allowed.
    pub fn is_allowed(&self) -> bool {
        self.granted.is_some()
    }
}

impl Judged {
    fn entry(self, resource: usize) -> Entry {
        Entry {
            resource,
            pattern: self.pattern,
            substituted: self.substituted,
        }
    }
}

fn matched(principals: &Principals, principal: &Principal) -> Option<MatchedPrincipal> {
    let client_id = &*principal.client_id;
    for id in &principals.client_ids {
        if id == ANY {
            return Some(MatchedPrincipal::AnyClientId);
        }
        if id == client_id {
            return Some(MatchedPrincipal::ClientId(id.clone()));
        }
    }
    for name in &principals.usernames {
        if name == ANY {
            return Some(MatchedPrincipal::AnyUsername);
        }
        if principal.username.as_deref() == Some(name.as_str()) {
            return Some(MatchedPrincipal::Username(name.clone()));
        }
    }
    let mut entries = principals.attributes.iter();
    let entry = entries.find(|entry| reach::has_all(&principal.attributes, entry));
    entry.cloned().map(MatchedPrincipal::Attributes)
}

/// How each pattern of a rule's entries for such an action stands to it, with the entry's place.
fn judge_rule(rule: &Rule, principal: &Principal, action: Action<'_>) -> Vec<(usize, Judged)> {
    let mut all = Vec::new();
    for (index, resource) in rule.broker_resources.iter().enumerate() {
        let judged = judge_broker(resource, principal, action);
        all.extend(judged.into_iter().map(|judged| (index, judged)));
    }
    for (index, resource) in rule.state_store_resources.iter().enumerate() {
        let judged = judge_store(resource, principal, action);
        all.extend(judged.into_iter().map(|judged| (index, judged)));
    }
    all
}

fn judge_broker(
    resource: &BrokerResource,
    principal: &Principal,
    action: Action<'_>,
) -> Vec<Judged> {
    let patterns = match (resource.method, action) {
        (BrokerMethod::Connect, Action::Connect) => &resource.client_ids,
        (BrokerMethod::Publish, Action::Publish(_)) => &resource.topics,
        (BrokerMethod::Subscribe, Action::Subscribe(_)) => &resource.topics,
        _ => return Vec::new(),
    };
    let judge = |text: &String| match action {
        Action::Connect => judge_client_id(text, principal),
        Action::Publish(topic) => judge_topic(text, resource.method, principal, topic),
        Action::Subscribe(filter) => match Filter::parse(filter) {
            Ok(filter) => judge_topic(text, resource.method, principal, filter.filter()),
            Err(_) => (None, Some(Why::NoMatch)),
        },
        Action::Key(..) => (None, Some(Why::NoMatch)),
    };
    let is_any_allowed =
        !matches!(action, Action::Subscribe(filter) if Filter::parse(filter).is_err());
    judge_all(patterns, judge, is_any_allowed)
}

fn judge_store(
    resource: &StateStoreResource,
    principal: &Principal,
    action: Action<'_>,
) -> Vec<Judged> {
    let Action::Key(access, key) = action else {
        return Vec::new();
    };
    if !store::allows(resource.method, access) {
        return Vec::new();
    }
    let judge = |text: &String| {
        let mut variables = Variables::default();
        match Key::parse(text, resource.key_type, &mut variables) {
            None => (None, Some(Why::NotValid)),
            Some(Key::Literal(literal)) => (None, (literal != key).then_some(Why::NoMatch)),
            Some(Key::Pattern(glob)) => (None, judge_glob(&glob, &variables, principal, key)),
        }
    };
    judge_all(&resource.keys, judge, false)
}

fn judge_all(
    patterns: &[String],
    mut judge: impl FnMut(&String) -> (Option<String>, Option<Why>),
    is_any_allowed: bool,
) -> Vec<Judged> {
    if patterns.is_empty() && is_any_allowed {
        return vec![Judged {
            pattern: None,
            substituted: None,
            why: None,
        }];
    }
    let judged = patterns.iter().enumerate().map(|(index, text)| {
        let (substituted, why) = judge(text);
        Judged {
            pattern: Some((index, text.clone())),
            substituted: substituted.filter(|substituted| substituted != text),
            why,
        }
    });
    judged.collect()
}

fn judge_client_id(text: &str, principal: &Principal) -> (Option<String>, Option<Why>) {
    let mut variables = Variables::default();
    let Some(glob) = Glob::parse_client_id(text, &mut variables) else {
        return (None, Some(Why::NotValid));
    };
    let why = judge_glob(&glob, &variables, principal, principal.client_id.as_bytes());
    (None, why)
}

fn judge_glob(
    glob: &Glob,
    variables: &Variables,
    principal: &Principal,
    text: &[u8],
) -> Option<Why> {
    let values = variables.values(principal);
    match glob.lacking(&values) {
        Some(_) => Some(Why::ValueMissing),
        None => (!glob.matches(&values, text)).then_some(Why::NoMatch),
    }
}

fn judge_topic(
    text: &str,
    method: BrokerMethod,
    principal: &Principal,
    asked: &str,
) -> (Option<String>, Option<Why>) {
    let mut variables = Variables::default();
    let Some(pattern) = parse_topic(text, method, &mut variables) else {
        return (None, Some(Why::NotValid));
    };
    let values = variables.values(principal);
    match pattern.text(&values) {
        Err(Lacking::Missing) => (None, Some(Why::ValueMissing)),
        Err(Lacking::Unfit) => (None, Some(Why::ValueUnfit)),
        Ok(substituted) => {
            let why = judge_pattern(&pattern, &values, asked);
            (Some(substituted), why)
        }
    }
}

fn judge_pattern(
    pattern: &crate::topic::TopicPattern,
    values: &Values,
    asked: &str,
) -> Option<Why> {
    if pattern.covers(values, asked) {
        None
    } else if pattern.meets(values, asked) {
        Some(Why::AsksForMore)
    } else {
        Some(Why::NoMatch)
    }
}
