//! A place to connect to, as one writes it: `HOST`, `HOST:PORT`, `[ADDRESS]:PORT`, or a URL as `pub` and `sub` take it.

use std::{fmt, str::FromStr};

use crate::cli::{tls::Tls, way::Way};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name, address or URL.
    host: String,
    /// If it was written beside a host.
    port: Option<u16>,
}

impl Place {
    /// The place with the way there.
    ///
    /// # Errors
    /// A URL that makes no sense, and what is wrong with files of `tls`.
    pub fn endpoint(&self, tls: &Tls) -> anyhow::Result<Endpoint> {
        let way = Way::read(&self.host, self.port, tls)?;
        Ok(Endpoint { way })
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        if text.contains("://") {
            let (host, port) = (text.to_owned(), None);
            return Ok(Place { host, port });
        }
        let wrong = || format!("{text:?} is not HOST:PORT");
        let (host, port) = match text.rsplit_once(':') {
            // An address of version 6 without a port has colons too.
            Some((host, port)) if !port.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| wrong())?))
            }
            _ => (text, None),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if bare.is_empty() || bare.contains('/') || bare.contains(':') && bare == host {
            return Err(wrong());
        }
        Ok(Place {
            host: bare.to_owned(),
            port,
        })
    }
}

/// A place that clients of a run connect to.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub way: Way,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Way {
            host,
            port,
            tls,
            path,
        } = &self.way;
        let scheme = match (path.is_some(), tls.is_some()) {
            (false, false) => "",
            (false, true) => "mqtts://",
            (true, false) => "ws://",
            (true, true) => "wss://",
        };
        let path = path.as_deref().unwrap_or_default();
        if host.contains(':') {
            write!(f, "{scheme}[{host}]:{port}{path}")
        } else {
            write!(f, "{scheme}{host}:{port}{path}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_port() {
        let place = |text: &str| {
            let place = text.parse().ok()?;
            let Place { host, port } = place;
            Some((host, port))
        };
        assert_eq!(place("a"), Some(("a".to_owned(), None)));
        assert_eq!(place("a:1"), Some(("a".to_owned(), Some(1))));
        assert_eq!(place("[::1]:1"), Some(("::1".to_owned(), Some(1))));
        assert_eq!(place("[::1]"), Some(("::1".to_owned(), None)));
        for wrong in ["", ":1", "a:b", "::1", "a:99999", "a/b"] {
            assert_eq!(place(wrong), None, "{wrong}");
        }
    }

    // A run that goes elsewhere than it was told, or unencrypted, watches another broker.
    #[test]
    fn each_place_says_how_it_is_reached() {
        let shown = |text: &str, tls: &Tls| {
            let place: Place = text.parse().unwrap();
            place.endpoint(tls).unwrap().to_string()
        };
        let (plain, tls) = (Tls::default(), Tls::anybody());
        assert_eq!(shown("a", &plain), "a:1883");
        assert_eq!(shown("a", &tls), "mqtts://a:8883");
        assert_eq!(shown("[::1]:7", &tls), "mqtts://[::1]:7");
        assert_eq!(shown("mqtts://a:7", &tls), "mqtts://a:7");
        assert_eq!(shown("ws://a", &plain), "ws://a:80/mqtt");
        assert_eq!(shown("wss://a/x", &tls), "wss://a:443/x");
        let place: Place = "ws://a".parse().unwrap();
        assert!(place.endpoint(&tls).is_err());
    }
}
