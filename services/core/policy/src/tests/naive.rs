//! The rules, evaluated as they are written: one after the other, on text.

use base64::{Engine, prelude::BASE64_STANDARD};
use catena_mqtt::{Filter, filter};
use catena_resources::{
    BrokerAuthorization,
    authorization::{BrokerMethod, KeyType, Rule, StateStoreMethod},
};

use crate::{Action, KeyAccess, Principal};

/// Whether a rule allows it.
pub fn is_allowed(spec: &BrokerAuthorization, principal: &Principal, action: Action<'_>) -> bool {
    let mut rules = spec.authorization_policies.rules.iter();
    rules.any(|rule| is_about(rule, principal) && grants(rule, principal, action))
}

fn is_about(rule: &Rule, principal: &Principal) -> bool {
    let named = &rule.principals;
    let has_id = |id: &String| id == "*" || **id == *principal.client_id;
    let has_name = |name: &String| {
        let username = principal.username.as_deref();
        name == "*" || username == Some(name)
    };
    named.client_ids.iter().any(has_id)
        || named.usernames.iter().any(has_name)
        || named.attributes.iter().any(|pairs| {
            let has =
                |(name, value): (&String, &String)| principal.attributes.get(name) == Some(value);
            !pairs.is_empty() && pairs.iter().all(has)
        })
}

fn grants(rule: &Rule, principal: &Principal, action: Action<'_>) -> bool {
    let broker = rule.broker_resources.iter().any(|resource| {
        let (patterns, method) = match action {
            Action::Connect => (&resource.client_ids, BrokerMethod::Connect),
            Action::Publish(_) => (&resource.topics, BrokerMethod::Publish),
            Action::Subscribe(_) => (&resource.topics, BrokerMethod::Subscribe),
            Action::Key(..) => return false,
        };
        let matches = |pattern: &String| match action {
            Action::Connect => glob(&tokens(pattern, principal, false), &principal.client_id),
            Action::Publish(topic) => topic_matches(pattern, principal, topic),
            Action::Subscribe(asked) => filter_covers(pattern, principal, asked),
            Action::Key(..) => false,
        };
        let is_valid = !matches!(action, Action::Subscribe(asked) if Filter::parse(asked).is_err());
        resource.method == method
            && ((patterns.is_empty() && is_valid) || patterns.iter().any(matches))
    });
    let store = rule.state_store_resources.iter().any(|resource| {
        let Action::Key(access, key) = action else {
            return false;
        };
        let is_method = match resource.method {
            StateStoreMethod::Read => access == KeyAccess::Read,
            StateStoreMethod::Write => access == KeyAccess::Write,
            StateStoreMethod::ReadWrite => true,
        };
        is_method
            && resource.keys.iter().any(|pattern| match resource.key_type {
                KeyType::String => pattern.as_bytes() == key,
                KeyType::Binary => BASE64_STANDARD.decode(pattern).is_ok_and(|k| k == key),
                KeyType::Pattern => {
                    let text = std::str::from_utf8(key);
                    text.is_ok_and(|text| glob(&tokens(pattern, principal, true), text))
                }
            })
    });
    broker || store
}

fn topic_matches(pattern: &str, principal: &Principal, topic: &str) -> bool {
    // A `$` that would come from the client.
    if topic.starts_with('$') && pattern.starts_with("{principal.") {
        return false;
    }
    let pattern = substitute(pattern, principal);
    pattern.is_some_and(|pattern| is_plain_filter(&pattern) && filter::matches(&pattern, topic))
}

fn filter_covers(pattern: &str, principal: &Principal, asked: &str) -> bool {
    // Before values are put in: no client can make a share of its name.
    let pattern = match Filter::parse(pattern) {
        Ok(filter)
            if filter
                .share()
                .is_some_and(|group| group.contains("{principal.")) =>
        {
            return false;
        }
        Ok(filter) => filter.filter().to_owned(),
        // `x+`, or a share without a filter.
        Err(_) => return false,
    };
    let is_from_client = pattern.starts_with("{principal.");
    let (Some(pattern), Ok(asked)) = (substitute(&pattern, principal), Filter::parse(asked)) else {
        return false;
    };
    let is_hidden_by_client = is_from_client && asked.filter().starts_with('$');
    !is_hidden_by_client && is_plain_filter(&pattern) && covers(&pattern, asked.filter())
}

/// Whether it is a filter, taken without its share.
fn is_plain_filter(pattern: &str) -> bool {
    // With a level in front there is no share.
    !pattern.is_empty() && Filter::parse(format!("x/{pattern}")).is_ok()
}

/// Containment, said by recursion over lists.
pub fn covers(pattern: &str, asked: &str) -> bool {
    fn covers(pattern: &[&str], asked: &[&str]) -> bool {
        match (pattern, asked) {
            (["#"], _) => true,
            ([], []) => true,
            (["+", ..], ["#"]) => false,
            (["+", pattern @ ..], [_, asked @ ..]) => covers(pattern, asked),
            ([name, pattern @ ..], [level, asked @ ..]) => name == level && covers(pattern, asked),
            _ => false,
        }
    }
    let pattern: Vec<_> = pattern.split('/').collect();
    let mut levels: Vec<_> = asked.split('/').collect();
    let is_hidden = levels[0].starts_with('$') && matches!(pattern[0], "+" | "#");
    // A topic is not empty.
    match asked {
        "#" => levels.insert(0, "+"),
        "/#" => levels.insert(1, "+"),
        _ => {}
    }
    !is_hidden && covers(&pattern, &levels)
}

/// Of the pattern and its values: text or a wildcard.
#[derive(Debug)]
enum Token {
    Character(char),
    Any,
    One,
}

fn value<'a>(name: &str, principal: &'a Principal) -> Option<&'a str> {
    match name {
        "clientId" => Some(&principal.client_id),
        "username" => principal.username.as_deref(),
        name => {
            let value = principal.attributes.get(name.strip_prefix("attributes.")?);
            value.map(String::as_str)
        }
    }
}

fn substitute(pattern: &str, principal: &Principal) -> Option<String> {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("{principal.") {
        let (name, after) = after.split_once('}')?;
        let value = value(name, principal)
            .filter(|value| !value.is_empty() && !value.contains(['/', '+', '#']))?;
        text.push_str(before);
        text.push_str(value);
        rest = after;
    }
    Some(text + rest)
}

fn tokens(pattern: &str, principal: &Principal, is_key: bool) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    loop {
        let (before, after) = match rest.split_once("{principal.") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        tokens.extend(before.chars().map(|character| match character {
            '*' => Token::Any,
            '?' if is_key => Token::One,
            character => Token::Character(character),
        }));
        let Some(after) = after else {
            return Some(tokens);
        };
        let (name, after) = after.split_once('}')?;
        tokens.extend(value(name, principal)?.chars().map(Token::Character));
        rest = after;
    }
}

fn glob(tokens: &Option<Vec<Token>>, text: &str) -> bool {
    fn glob(tokens: &[Token], text: &[char]) -> bool {
        match (tokens, text) {
            ([], []) => true,
            ([Token::Any, rest @ ..], _) => (0..=text.len()).any(|at| glob(rest, &text[at..])),
            ([Token::One, rest @ ..], [_, text @ ..]) => glob(rest, text),
            ([Token::Character(one), rest @ ..], [first, text @ ..]) => {
                one == first && glob(rest, text)
            }
            _ => false,
        }
    }
    let text: Vec<char> = text.chars().collect();
    tokens.as_ref().is_some_and(|tokens| glob(tokens, &text))
}
