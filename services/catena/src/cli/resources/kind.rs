//! Kinds and names of resources, as people type them.

use std::str::FromStr;

use anyhow::bail;
use catena_proto::admin::v1 as proto;
use catena_resources::Kind;

/// What each kind is called, beside its own name and with an `s` or without.
const SHORT: &[(&str, Kind)] = &[
    ("listener", Kind::BrokerListener),
    ("authentication", Kind::BrokerAuthentication),
    ("authn", Kind::BrokerAuthentication),
    ("authorization", Kind::BrokerAuthorization),
    ("authz", Kind::BrokerAuthorization),
];

/// A kind, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked(pub Option<Kind>);

/// What follows the command: `KIND`, `KIND NAME` or `KIND/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub kind: Option<Kind>,
    pub name: Option<String>,
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(word: &str) -> Result<Asked, String> {
        if word.eq_ignore_ascii_case("all") {
            return Ok(Asked(None));
        }
        let lower = word.to_ascii_lowercase();
        let singular = lower.strip_suffix('s').unwrap_or(&lower);
        let own = Kind::ALL.iter().map(|(name, kind)| (*name, *kind));
        let found = own.chain(SHORT.iter().copied()).find(|(name, _)| {
            [lower.as_str(), singular].contains(&name.to_ascii_lowercase().as_str())
        });
        found.map(|(_, kind)| Asked(Some(kind))).ok_or_else(|| {
            format!(
                "there is no kind {word:?}: it is broker, listener, authentication (authn), authorization (authz), or all"
            )
        })
    }
}

impl Target {
    /// # Errors
    /// A kind that does not exist, and a name twice.
    pub fn new(kind: &str, name: Option<&str>) -> anyhow::Result<Target> {
        let (kind, inside) = match kind.split_once('/') {
            Some((kind, name)) => (kind, Some(name)),
            None => (kind, None),
        };
        if inside.is_some() && name.is_some() {
            bail!("{kind}/{} has its name already", inside.unwrap_or_default());
        }
        let Asked(kind) = kind.parse().map_err(anyhow::Error::msg)?;
        let name = inside.or(name).map(str::to_owned);
        if kind.is_none() && name.is_some() {
            bail!("say of which kind: all has no names");
        }
        Ok(Target { kind, name })
    }

    /// # Errors
    /// When a kind or a name is missing.
    pub fn one(&self) -> anyhow::Result<proto::ResourceId> {
        match (self.kind, &self.name) {
            (Some(kind), Some(name)) => Ok(proto::ResourceId {
                kind: kind.to_string(),
                name: name.clone(),
            }),
            _ => bail!("say which one: KIND NAME or KIND/NAME"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Nobody remembers what the kinds are called to the letter.
    #[test]
    fn kinds_have_short_names_in_any_case_and_number() {
        for (word, kind) in [
            ("broker", Kind::Broker),
            ("Brokers", Kind::Broker),
            ("BrokerListener", Kind::BrokerListener),
            ("listeners", Kind::BrokerListener),
            ("AUTHN", Kind::BrokerAuthentication),
            ("authz", Kind::BrokerAuthorization),
            ("brokerauthorizations", Kind::BrokerAuthorization),
        ] {
            assert_eq!(word.parse(), Ok(Asked(Some(kind))), "{word}");
        }
        assert_eq!("all".parse(), Ok(Asked(None)));
        assert!("pod".parse::<Asked>().is_err());
        let both = Target::new("listener/default", None).unwrap();
        assert_eq!(both, Target::new("Listener", Some("default")).unwrap());
        assert!(Target::new("listener/a", Some("b")).is_err());
        assert!(Target::new("all", Some("b")).is_err());
        assert!(Target::new("listener", None).unwrap().one().is_err());
    }
}
