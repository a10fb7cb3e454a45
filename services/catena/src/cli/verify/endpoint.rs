//! A place to connect to, as one writes it: `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`.

use std::{fmt, str::FromStr};

use crate::cli::way::Way;

/// Where MQTT is spoken unless something else is said.
const PORT: u16 = 1883;

/// The place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Endpoint {
    /// The way there: plain TCP.
    pub fn way(&self) -> Way {
        Way {
            host: self.host.clone(),
            port: self.port,
            tls: None,
            path: None,
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoint, String> {
        let wrong = || format!("{text:?} is not HOST:PORT");
        let (host, port) = match text.rsplit_once(':') {
            // An address of version 6 without a port has colons too.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong())?)
            }
            _ => (text, PORT),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if bare.is_empty() || bare.contains(':') && bare == host {
            return Err(wrong());
        }
        Ok(Endpoint {
            host: bare.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Endpoint { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_port() {
        let place = |text: &str| text.parse().map(|place: Endpoint| (place.host, place.port));
        assert_eq!(place("a"), Ok(("a".to_owned(), 1883)));
        assert_eq!(place("a:1"), Ok(("a".to_owned(), 1)));
        assert_eq!(place("[::1]:1"), Ok(("::1".to_owned(), 1)));
        assert_eq!(place("[::1]"), Ok(("::1".to_owned(), 1883)));
        for wrong in ["", ":1", "a:b", "::1", "a:99999"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
