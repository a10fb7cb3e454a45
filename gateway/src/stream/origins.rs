//! Which web pages may connect. A browser says in `Origin` where the page comes from that wants to, and connects wherever its
//! user could: without this any page could speak to a broker on its visitors' networks.

use std::net::IpAddr;

use catena_resources::listener::Port;
use tungstenite::http::{HeaderMap, header};

/// Whose pages may connect. Programs that are no browsers send no origin, and may always.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Origins {
    /// Everybody's: each client proves who it is.
    #[default]
    Any,
    /// Those of the host that the request is for.
    SameHost,
    /// These; `*` is everybody's.
    Named(Vec<String>),
}

impl Origins {
    /// As the port says, and otherwise by whether its clients have to prove who they are.
    pub fn of(port: &Port) -> Origins {
        match &port.allowed_origins {
            Some(named) => Origins::Named(named.clone()),
            None if port.authentication_ref.is_some() => Origins::Any,
            None => Origins::SameHost,
        }
    }

    /// Whether a request with these headers may become a WebSocket.
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        origins.all(|origin| {
            origin
                .to_str()
                .is_ok_and(|origin| self.allows(origin.trim(), host.unwrap_or_default()))
        })
    }

    fn allows(&self, origin: &str, host: &str) -> bool {
        match self {
            Origins::Any => true,
            Origins::Named(named) => named
                .iter()
                .any(|named| named == "*" || named.eq_ignore_ascii_case(origin)),
            Origins::SameHost => {
                let of_page = origin.split_once("://").map(|(_, rest)| name(rest));
                of_page.is_some_and(|page| is_same(page, name(host)))
            }
        }
    }
}

/// The name or address of `name:port`, without brackets.
fn name(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

fn is_same(page: &str, host: &str) -> bool {
    !page.is_empty() && (page.eq_ignore_ascii_case(host) || is_loopback(page) && is_loopback(host))
}

/// Whether it is this machine, by one of its names.
fn is_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use catena_resources::Spec;
    use tungstenite::http::HeaderValue;

    use super::*;

    fn allows(origins: &Origins, host: &str, asked: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        for origin in asked {
            headers.append(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        origins.allow(&headers)
    }

    // Any page that somebody has open would speak to the broker on their network.
    #[test]
    fn a_page_of_another_host_is_refused_where_nobody_proves_who_they_are() {
        let same = Origins::SameHost;
        for (host, origin) in [
            ("plant.example:8080", "https://plant.example"),
            ("Plant.example", "http://plant.Example:3000"),
            ("192.0.2.1:80", "http://192.0.2.1"),
            ("[2001:db8::1]:8080", "http://[2001:db8::1]"),
            ("127.0.0.1:8080", "http://localhost:3000"),
            ("localhost", "http://[::1]:3000"),
        ] {
            assert!(allows(&same, host, &[origin]), "{host} {origin}");
        }
        for (host, origin) in [
            ("plant.example:8080", "https://evil.example"),
            ("plant.example", "https://plant.example.evil.example"),
            ("plant.example", "https://evil.example/plant.example"),
            ("127.0.0.1:8080", "http://192.0.2.1"),
            ("localhost", "http://localhost.evil.example"),
            ("localhost", "null"),
            ("localhost", ""),
            ("", "http://"),
        ] {
            assert!(!allows(&same, host, &[origin]), "{host} {origin}");
        }
        assert!(allows(&same, "plant.example", &[]), "programs send none");
        let both = ["https://plant.example", "https://evil.example"];
        assert!(!allows(&same, "plant.example", &both));
        assert!(allows(&Origins::Any, "a", &["https://b"]));
    }

    #[test]
    fn named_origins_are_whole_ones() {
        let named = Origins::Named(vec!["https://app.example".to_owned(), "null".to_owned()]);
        assert!(allows(&named, "b", &["https://APP.example"]));
        assert!(allows(&named, "b", &["null"]) && allows(&named, "b", &[]));
        for other in [
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.evil.example",
            "https://b",
        ] {
            assert!(!allows(&named, "b", &[other]), "{other}");
        }
        let any = Origins::Named(vec!["*".to_owned()]);
        assert!(allows(&any, "b", &["https://a"]));
    }

    // A port that is opened to everybody is the one where pages matter.
    #[test]
    fn who_may_connect_follows_from_the_port() {
        let of = |fields: &str| {
            let text = format!(
                "apiVersion: catena.dev/v1\nkind: BrokerListener\nmetadata: {{name: web}}\n\
                 spec: {{ports: [{{port: 1, protocol: WebSockets{fields}}}]}}"
            );
            match catena_resources::parse(&text).unwrap().remove(0).spec {
                Spec::BrokerListener(listener) => Origins::of(&listener.ports[0]),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(of(""), Origins::SameHost);
        assert_eq!(of(", authenticationRef: people"), Origins::Any);
        let named = vec!["https://a".to_owned()];
        assert_eq!(of(", allowedOrigins: ['https://a']"), Origins::Named(named));
    }
}
