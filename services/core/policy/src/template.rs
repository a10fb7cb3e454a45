//! `{principal.clientId}`, `{principal.username}` and `{principal.attributes.NAME}`: what a pattern takes from the client.

use bytestring::ByteString;

use crate::Principal;

/// What every substitution begins with. Other braces mean themselves.
const OPEN: &str = "{principal.";

/// What may stand in a pattern for a value of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Variable {
    ClientId,
    Username,
    Attribute(String),
}

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Literal(String),
    /// Place of a variable in [`Variables`].
    Value(u16),
}

/// The variables of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Variables(Vec<Variable>);

/// The values of a policy's variables for one client; `None`: it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Values(Box<[Option<Value>]>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    text: ByteString,
    /// Not empty, and without `/`, `+` and `#`, by which it would mean more than a part of a level.
    fits_topic: bool,
}

/// Why a pattern has no text for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lacking {
    Missing,
    /// It is empty, or contains `/`, `+` or `#`.
    Unfit,
}

impl Variable {
    fn parse(name: &str) -> Option<Variable> {
        match name {
            "clientId" => Some(Variable::ClientId),
            "username" => Some(Variable::Username),
            _ => match name.strip_prefix("attributes.") {
                Some(name) if !name.is_empty() => Some(Variable::Attribute(name.to_owned())),
                _ => None,
            },
        }
    }

    fn value(&self, principal: &Principal) -> Option<ByteString> {
        match self {
            Variable::ClientId => Some(principal.client_id.clone()),
            Variable::Username => principal.username.clone(),
            Variable::Attribute(name) => {
                let value = principal.attributes.get(name)?;
                Some(ByteString::from(value.as_str()))
            }
        }
    }
}

impl Variables {
    /// The pieces of `pattern`; `None` if it takes something from the client that there is not.
    pub fn parse(&mut self, pattern: &str) -> Option<Vec<Part>> {
        let mut parts = Vec::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once(OPEN) {
            let (name, after) = after.split_once('}')?;
            if !before.is_empty() {
                parts.push(Part::Literal(before.to_owned()));
            }
            parts.push(Part::Value(self.place(Variable::parse(name)?)?));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Some(parts)
    }

    fn place(&mut self, variable: Variable) -> Option<u16> {
        let found = self.0.iter().position(|known| *known == variable);
        let place = found.unwrap_or_else(|| {
            self.0.push(variable);
            self.0.len() - 1
        });
        u16::try_from(place).ok()
    }

    /// What they are for `principal`.
    pub fn values(&self, principal: &Principal) -> Values {
        let value = |variable: &Variable| {
            let text = variable.value(principal)?;
            let fits_topic = !text.is_empty() && !text.contains(['/', '+', '#']);
            Some(Value { text, fits_topic })
        };
        Values(self.0.iter().map(value).collect())
    }
}

impl Values {
    /// A value that means itself, whatever is in it.
    pub fn literal(&self, place: u16) -> Result<&str, Lacking> {
        let value = self.0.get(usize::from(place)).and_then(Option::as_ref);
        value.map(|value| &*value.text).ok_or(Lacking::Missing)
    }

    /// A value that is a part of a level.
    pub fn in_topic(&self, place: u16) -> Result<&str, Lacking> {
        let value = self.0.get(usize::from(place)).and_then(Option::as_ref);
        match value {
            Some(value) if value.fits_topic => Ok(&value.text),
            Some(_) => Err(Lacking::Unfit),
            None => Err(Lacking::Missing),
        }
    }

    /// Whether `level` is what `parts` make up.
    pub fn make_level(&self, parts: &[Part], level: &str) -> bool {
        let mut rest = level;
        for part in parts {
            let part = match part {
                Part::Literal(text) => text,
                Part::Value(place) => match self.in_topic(*place) {
                    Ok(text) => text,
                    Err(_) => return false,
                },
            };
            match rest.strip_prefix(part) {
                Some(left) => rest = left,
                None => return false,
            }
        }
        rest.is_empty()
    }
}
