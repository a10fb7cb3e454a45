//! Topic filters.

use std::{fmt, str::FromStr};

use bytestring::ByteString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::topic;

/// The most levels that a filter can have, as for topic names.
pub const LEVELS_MAX: usize = topic::LEVELS_MAX;

/// The first level of the filter of a shared subscription.
const SHARE: &str = "$share";

/// Why a string is not a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    /// It is empty. v5 and v3.1.1 `[MQTT-4.7.3-1]`
    #[error("topic filter is empty")]
    Empty,
    /// It is longer than 65,535 bytes. v5 and v3.1.1 `[MQTT-4.7.3-3]`
    #[error("topic filter is longer than 65,535 bytes")]
    TooLong,
    /// It contains U+0000. v5 and v3.1.1 `[MQTT-4.7.3-2]`
    #[error("topic filter contains the character U+0000")]
    Null,
    /// `#` is not alone in the last level. v5 `[MQTT-4.7.1-1]`, v3.1.1 `[MQTT-4.7.1-2]`
    #[error("# is not alone in the last level")]
    MultiLevel,
    /// `+` is not alone in its level. v5 `[MQTT-4.7.1-2]`, v3.1.1 `[MQTT-4.7.1-3]`
    #[error("+ is not alone in its level")]
    SingleLevel,
    /// The group of a shared subscription is empty or contains `+` or `#`. v5 `[MQTT-4.8.2-1]`, `[MQTT-4.8.2-2]`
    #[error("the share name is empty or contains a wildcard")]
    ShareName,
    /// No filter follows the group of a shared subscription. v5 `[MQTT-4.8.2-2]`
    #[error("a shared subscription without a topic filter")]
    ShareFilter,
}

/// A topic filter, known to be valid; possibly that of a shared subscription: `$share/GROUP/FILTER`.
///
/// Equal, ordered, hashed and serialized as the string that was sent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter {
    full: ByteString,
    /// Where the filter starts behind `$share/GROUP/`; 0 if it is not shared. At most 65,534.
    start: u16,
}

impl Filter {
    /// Checks `full`, and finds its parts.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub fn parse(full: impl Into<ByteString>) -> Result<Filter, Error> {
        let full = full.into();
        if full.len() > topic::LENGTH_MAX {
            return Err(Error::TooLong);
        }
        let start = shared_start(&full)?;
        validate(&full[start..]).map_err(|error| match error {
            Error::Empty if start > 0 => Error::ShareFilter,
            error => error,
        })?;
        let start = u16::try_from(start).expect("at most 65,535 bytes, as checked above");
        Ok(Filter { full, start })
    }

    /// As it was sent.
    pub fn full(&self) -> &ByteString {
        &self.full
    }

    /// What is matched: without the `$share/GROUP/` of a shared subscription.
    pub fn filter(&self) -> &str {
        &self.full[usize::from(self.start)..]
    }

    /// The same as [`Filter::filter`], as a handle of the string's memory.
    pub fn filter_string(&self) -> ByteString {
        self.full.slice_ref(self.filter())
    }

    /// The group of a shared subscription. v5 4.8.2
    pub fn share(&self) -> Option<&str> {
        (self.start > 0).then(|| &self.full[SHARE.len() + 1..usize::from(self.start) - 1])
    }

    /// Whether it may match more than one topic name.
    pub fn has_wildcards(&self) -> bool {
        self.filter()
            .bytes()
            .any(|byte| matches!(byte, b'+' | b'#'))
    }

    /// The levels of [`Filter::filter`].
    pub fn levels(&self) -> std::str::Split<'_, char> {
        topic::levels(self.filter())
    }

    /// Whether a message with the name `topic` is for a subscription of this filter.
    pub fn matches(&self, topic: &str) -> bool {
        matches(self.filter(), topic)
    }
}

/// The place behind `$share/GROUP/`, or 0 where there is no such thing. v5 4.8.2
fn shared_start(full: &str) -> Result<usize, Error> {
    let Some(rest) = full.strip_prefix(SHARE) else {
        return Ok(0);
    };
    let Some(rest) = rest.strip_prefix('/') else {
        return if rest.is_empty() {
            Err(Error::ShareFilter)
        } else {
            Ok(0)
        };
    };
    let Some((group, filter)) = rest.split_once('/') else {
        return Err(Error::ShareFilter);
    };
    // v5 [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    if group.is_empty() || group.contains(['+', '#', '\0']) {
        return Err(Error::ShareName);
    }
    Ok(full.len() - filter.len())
}

/// The rules for a filter without a share name.
fn validate(filter: &str) -> Result<(), Error> {
    if filter.is_empty() {
        return Err(Error::Empty);
    }
    let mut levels = topic::levels(filter).peekable();
    while let Some(level) = levels.next() {
        if level.bytes().any(|byte| byte == 0) {
            return Err(Error::Null);
        }
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err(Error::MultiLevel);
        }
        if level.contains('+') && level != "+" {
            return Err(Error::SingleLevel);
        }
    }
    Ok(())
}

/// Whether the topic name `topic` matches `filter`, which has no share name. Both are taken to be valid.
/// Takes time in proportion to their length. v5 and v3.1.1 4.7
pub fn matches(filter: &str, topic: &str) -> bool {
    // v5 and v3.1.1 [MQTT-4.7.2-1]
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = topic::levels(topic);
    for level in topic::levels(filter) {
        if level == "#" {
            // Also where no level is left: "sport/#" matches "sport". v5 4.7.1.2
            return true;
        }
        match names.next() {
            Some(name) if level == "+" || level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.full, f)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(full: &str) -> Result<Filter, Error> {
        Filter::parse(full)
    }
}

impl TryFrom<ByteString> for Filter {
    type Error = Error;

    fn try_from(full: ByteString) -> Result<Filter, Error> {
        Filter::parse(full)
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.full.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Filter, D::Error> {
        Filter::parse(ByteString::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(full: &str) -> Error {
        Filter::parse(full).unwrap_err()
    }

    // v5 and v3.1.1 4.7.1
    #[test]
    fn valid_filters() {
        for good in [
            "#", "+", "/", "a", "a/#", "+/+", "/+", "a/+/b/#", "$SYS/#", "a b", "+//#",
        ] {
            let filter = Filter::parse(good).unwrap();
            assert_eq!(
                (&**filter.full(), filter.filter(), filter.share()),
                (good, good, None)
            );
        }
        assert!(Filter::parse("a/+").unwrap().has_wildcards());
        assert!(!Filter::parse("a/b").unwrap().has_wildcards());
    }

    #[test]
    fn invalid_filters() {
        assert_eq!(error(""), Error::Empty);
        assert_eq!(error("a\0"), Error::Null);
        assert_eq!(error(&"a".repeat(65_536)), Error::TooLong);
        // v5 [MQTT-4.7.1-1]
        for bad in ["#/a", "a#", "a/#/b", "##", "+#", "a/b#"] {
            assert_eq!(error(bad), Error::MultiLevel, "{bad}");
        }
        // v5 [MQTT-4.7.1-2]
        for bad in ["a+", "+a", "a/+b", "++"] {
            assert_eq!(error(bad), Error::SingleLevel, "{bad}");
        }
    }

    // v5 4.8.2
    #[test]
    fn shares() {
        let filter = Filter::parse("$share/group/a/+").unwrap();
        assert_eq!((filter.share(), filter.filter()), (Some("group"), "a/+"));
        assert!(filter.has_wildcards());
        assert!(filter.matches("a/b"));
        assert_eq!(filter.filter_string(), "a/+");
        assert_eq!(Filter::parse("$share/g//").unwrap().filter(), "/");
        // The group's wildcard-free name and the filter's are judged apart.
        assert!(!Filter::parse("$share/g/a").unwrap().has_wildcards());
        for bad in ["$share//a", "$share/+/a", "$share/g#/a", "$share/a+b/c"] {
            assert_eq!(error(bad), Error::ShareName, "{bad}");
        }
        for bad in ["$share", "$share/", "$share/g", "$share/g/"] {
            assert_eq!(error(bad), Error::ShareFilter, "{bad}");
        }
        assert_eq!(error("$share/g/a/#/b"), Error::MultiLevel);
        // Only the whole first level makes a share.
        assert_eq!(Filter::parse("$shared/g/a").unwrap().share(), None);
    }

    #[test]
    fn matching() {
        let rows = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/ranking",
                true,
            ),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/score/wimbledon",
                true,
            ),
            ("sport/#", "sport", true),
            ("sport/#", "sports", false),
            ("#", "a/b", true),
            ("#", "/", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("+/", "a/", true),
            ("+/", "a", false),
            ("a/b", "a/b", true),
            ("a/b", "A/b", false),
            ("a", "a/", false),
            // v5 and v3.1.1 [MQTT-4.7.2-1]
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("+", "$SYS", false),
            ("$SYS/#", "$SYS/a", true),
            ("$SYS/+", "$SYS/a", true),
            ("a/#", "a/$b", true),
            ("a/+", "a/$b", true),
        ];
        for (filter, topic, expected) in rows {
            assert_eq!(matches(filter, topic), expected, "{filter} on {topic}");
        }
    }

    // Twenty thousand levels are matched in one walk, without a stack of that depth.
    #[test]
    fn many_levels() {
        let topic = "a/".repeat(20_000);
        let filter = Filter::parse(format!("{}#", "+/".repeat(20_000))).unwrap();
        assert!(filter.matches(&topic));
        assert_eq!(filter.levels().count(), 20_001);
        assert!(!filter.matches(&topic[..39_990]));
    }

    /// The rules of 4.7, said in another way: by recursion over lists.
    fn model(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            ([level, filter @ ..], [name, topic @ ..]) => {
                (*level == "+" || level == name) && model(filter, topic)
            }
            _ => false,
        }
    }

    fn model_from_the_root(filter: &str, topic: &str) -> bool {
        let filter: Vec<_> = filter.split('/').collect();
        let topic: Vec<_> = topic.split('/').collect();
        let hidden = topic[0].starts_with('$') && matches!(filter[0], "+" | "#");
        !hidden && model(&filter, &topic)
    }

    proptest! {
        #[test]
        fn matches_like_the_model(filter in "([a$]|[+]|)(/([ab$]|[+]|)){0,4}(/#)?", topic in "[ab$]?(/[ab$]?){0,4}") {
            prop_assume!(!filter.is_empty() && !topic.is_empty());
            let parsed = Filter::parse(filter.as_str()).unwrap();
            prop_assert_eq!(parsed.matches(&topic), model_from_the_root(&filter, &topic));
        }

        // Whatever is parsed is left as it was, and its parts make it up.
        #[test]
        fn parts_make_the_whole(full in "(\\$share/)?[a+#/$]{0,12}") {
            if let Ok(filter) = Filter::parse(full.as_str()) {
                prop_assert_eq!(&**filter.full(), full.as_str());
                let share = filter.share().map_or(String::new(), |group| format!("$share/{group}/"));
                prop_assert_eq!(share + filter.filter(), full);
            }
        }
    }
}
