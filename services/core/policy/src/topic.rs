//! Topic patterns: topic filters that may take values from the client.

use crate::template::{Lacking, Part, Values, Variables};

/// The first level of the filter of a shared subscription.
const SHARE: &str = "$share";

/// A pattern that is valid, level by level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicPattern(pub Vec<Level>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Level {
    Literal(String),
    /// Takes something from the client.
    Template(Vec<Part>),
    /// `+`
    One,
    /// `#`, in the last level alone.
    Rest,
}

impl TopicPattern {
    /// `None` if the pattern is not valid: it matches nothing.
    pub fn parse(pattern: &str, variables: &mut Variables) -> Option<TopicPattern> {
        if pattern.is_empty() {
            return None;
        }
        let mut levels = Vec::new();
        let mut level = Vec::new();
        for part in variables.parse(pattern)? {
            let Part::Literal(text) = part else {
                level.push(part);
                continue;
            };
            let mut pieces = text.split('/');
            push_literal(&mut level, pieces.next());
            for piece in pieces {
                levels.push(Level::of(std::mem::take(&mut level))?);
                push_literal(&mut level, Some(piece));
            }
        }
        levels.push(Level::of(level)?);
        let before_last = &levels[..levels.len() - 1];
        if before_last.contains(&Level::Rest) {
            return None;
        }
        Some(TopicPattern(levels))
    }

    /// Without `$share/GROUP/`, as far as that was written: what comes from a client makes neither a share nor a group.
    pub fn without_share(mut self) -> Option<TopicPattern> {
        if self.0.first() != Some(&Level::Literal(SHARE.to_owned())) {
            return Some(self);
        }
        let is_share = match &self.0[..] {
            [_, Level::Literal(group), _, ..] => !group.is_empty(),
            _ => false,
        };
        self.0.drain(..2.min(self.0.len()));
        is_share.then_some(self)
    }

    /// Whether every topic that `asked` can match is matched by this pattern. `asked` is a topic name, or a filter without
    /// `$share/GROUP/`.
    pub fn covers(&self, values: &Values, asked: &str) -> bool {
        let is_hidden = asked.starts_with('$');
        let mut rest = Some(plain(asked));
        for (depth, level) in self.0.iter().enumerate() {
            // [MQTT-4.7.2-1]
            if is_hidden && depth == 0 && !level.names_hidden() {
                return false;
            }
            if *level == Level::Rest {
                // Also where no level is left: `a/#` matches `a`.
                return true;
            }
            let Some(left) = rest else { return false };
            let (first, left) = split(left);
            let fits = match level {
                Level::Literal(text) => text == first,
                Level::Template(parts) => values.make_level(parts, first),
                Level::One => first != "#",
                Level::Rest => true,
            };
            if !fits {
                return false;
            }
            rest = left;
        }
        rest.is_none()
    }

    /// Whether it can match a topic that `asked` can match as well.
    pub fn meets(&self, values: &Values, asked: &str) -> bool {
        let is_hidden = asked.starts_with('$');
        let mut rest = Some(asked);
        for (depth, level) in self.0.iter().enumerate() {
            if is_hidden && depth == 0 && !level.names_hidden() {
                return false;
            }
            let first = rest.map(split);
            match (level, first) {
                (Level::Rest, _) | (_, Some(("#", _))) => return true,
                (_, None) => return false,
                (Level::One, Some((_, left))) | (_, Some(("+", left))) => rest = left,
                (Level::Literal(text), Some((first, left))) if text == first => rest = left,
                (Level::Template(parts), Some((first, left)))
                    if values.make_level(parts, first) =>
                {
                    rest = left;
                }
                _ => return false,
            }
        }
        rest.is_none_or(|rest| rest == "#")
    }

    /// The pattern with the client's values in it.
    pub fn text(&self, values: &Values) -> Result<String, Lacking> {
        let mut text = String::new();
        for (depth, level) in self.0.iter().enumerate() {
            if depth > 0 {
                text.push('/');
            }
            match level {
                Level::Literal(literal) => text.push_str(literal),
                Level::One => text.push('+'),
                Level::Rest => text.push('#'),
                Level::Template(parts) => {
                    for part in parts {
                        match part {
                            Part::Literal(literal) => text.push_str(literal),
                            Part::Value(place) => text.push_str(values.in_topic(*place)?),
                        }
                    }
                }
            }
        }
        Ok(text)
    }
}

/// A filter that matches the same as `asked`, with every level written out that its topics must have: there is no topic
/// without a level, and none of one empty level.
pub(crate) fn plain(asked: &str) -> &str {
    match asked {
        "#" => "+/#",
        "/#" => "/+/#",
        asked => asked,
    }
}

/// The first level, and what follows it.
pub(crate) fn split(rest: &str) -> (&str, Option<&str>) {
    match rest.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (rest, None),
    }
}

/// Whether the first letters of a level stand in the rule, and do not come from the client.
pub(crate) fn begins_as_written(parts: &[Part]) -> bool {
    matches!(parts.first(), Some(Part::Literal(_)))
}

fn push_literal(level: &mut Vec<Part>, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        level.push(Part::Literal(text.to_owned()));
    }
}

impl Level {
    /// Whether it can be the first level of a topic that begins with `$`: the rule says so itself. What comes from a client
    /// leads no more there than a wildcard does.
    fn names_hidden(&self) -> bool {
        match self {
            Level::Literal(_) => true,
            Level::Template(parts) => begins_as_written(parts),
            Level::One | Level::Rest => false,
        }
    }

    /// `None`: a wildcard that is not alone in its level.
    fn of(parts: Vec<Part>) -> Option<Level> {
        let is_wild =
            |part: &Part| matches!(part, Part::Literal(text) if text.contains(['+', '#']));
        match &parts[..] {
            [] => Some(Level::Literal(String::new())),
            [Part::Literal(text)] => match text.as_str() {
                "+" => Some(Level::One),
                "#" => Some(Level::Rest),
                text if text.contains(['+', '#']) => None,
                text => Some(Level::Literal(text.to_owned())),
            },
            parts if parts.iter().any(is_wild) => None,
            _ => Some(Level::Template(parts)),
        }
    }
}
