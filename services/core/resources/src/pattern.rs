//! The form of what rules name: topics, client ids and keys, with what is substituted in them.

use base64::{Engine, engine::general_purpose::STANDARD};
use catena_mqtt::Filter;

use crate::{authorization::KeyType, document::shown};

const SHARED: &str = "$share/";
/// What may be substituted, as it is shown.
const VARIABLES: &str =
    "{principal.clientId}, {principal.username} and {principal.attributes.NAME}";

/// A topic of a rule: a topic filter in which something may be substituted.
pub(crate) fn topic(text: &str) -> Result<(), String> {
    if text.starts_with(SHARED) {
        return Err(format!(
            "{}: leave out $share/GROUP/: who may subscribe may also share",
            shown(text)
        ));
    }
    topic_filter_named(&substituted(text)?, text)
}

/// A topic filter.
pub(crate) fn topic_filter(text: &str) -> Result<(), String> {
    topic_filter_named(text, text)
}

/// A client id of a rule, in which something may be substituted.
pub(crate) fn client_id(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    substituted(text).map(|_| ())
}

/// A key of the state store, in which something may be substituted.
pub(crate) fn key(kind: KeyType, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    match kind {
        KeyType::Pattern => brackets(&substituted(text)?, text),
        KeyType::String => Ok(()),
        KeyType::Binary => STANDARD
            .decode(text)
            .map(|_| ())
            .map_err(|_| format!("{}: must be base64", shown(text))),
    }
}

fn topic_filter_named(filter: &str, text: &str) -> Result<(), String> {
    Filter::parse(filter)
        .map(|_| ())
        .map_err(|error| format!("{}: {error}", shown(text)))
}

/// The text with a word in place of each variable.
fn substituted(text: &str) -> Result<String, String> {
    let (mut rest, mut done) = (text, String::new());
    while let Some((before, behind)) = rest.split_once('{') {
        let variable = behind.split_once('}').filter(|(name, _)| is_variable(name));
        let Some((_, after)) = variable else {
            return Err(format!(
                "{}: what can be in braces is {VARIABLES}",
                shown(text)
            ));
        };
        done += before;
        done += "x";
        rest = after;
    }
    Ok(done + rest)
}

fn is_variable(name: &str) -> bool {
    let attribute = name.strip_prefix("principal.attributes.");
    matches!(name, "principal.clientId" | "principal.username")
        || attribute.is_some_and(|attribute| !attribute.is_empty())
}

/// Whether each `[` of a glob is closed, with something in it.
fn brackets(glob: &str, text: &str) -> Result<(), String> {
    let mut rest = glob;
    while let Some((_, behind)) = rest.split_once('[') {
        let inside = behind.strip_prefix(['!', '^']).unwrap_or(behind);
        // A `]` right behind the bracket means itself.
        let first = inside.chars().next().map_or(0, char::len_utf8);
        let Some(end) = inside[first..].find(']') else {
            return Err(format!("{}: a [ is not closed", shown(text)));
        };
        rest = &inside[first + end + 1..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // A pattern with a mistake grants nothing, and the client learns only that it may not.
    #[test]
    fn patterns_are_checked_with_what_is_substituted() {
        for good in [
            "a/+/#",
            "#",
            "sensors/{principal.clientId}/{principal.attributes.floor}",
            "a{principal.username}b",
        ] {
            assert_eq!(topic(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a/#/b",
            "a+",
            "{principal.name}",
            "{principal.attributes.}",
            "a/{",
            "$share/g/a",
            "{clientId}/#b",
        ] {
            assert!(topic(bad).is_err(), "{bad}");
        }
        assert!(client_id("{x}").is_err() && client_id("").is_err() && client_id("a-*").is_ok());
        assert!(topic_filter("{x}/+").is_ok() && topic_filter("a#").is_err());
    }

    #[test]
    fn keys_are_checked_by_their_kind() {
        assert!(key(KeyType::Pattern, "a/[0-9]?*").is_ok());
        assert!(key(KeyType::Pattern, "[]]").is_ok());
        assert!(key(KeyType::Pattern, "a[0-9").is_err());
        assert!(key(KeyType::Pattern, "[").is_err());
        assert!(key(KeyType::Pattern, "{principal.x}").is_err());
        assert!(key(KeyType::String, "{[").is_ok());
        assert!(key(KeyType::Binary, "AAE=").is_ok());
        assert!(key(KeyType::Binary, "AAE").is_err());
        assert!(key(KeyType::String, "").is_err());
    }
}
