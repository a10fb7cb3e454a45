//! Where a server is.

use std::fmt;

use hyper::{Uri, header::HeaderValue};
use rustls::pki_types::ServerName;

/// Where a server is: `https://HOST[:PORT][/PATH][?QUERY]`.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    /// The name that its certificate must be for.
    pub name: ServerName<'static>,
    /// With a slash at its beginning.
    pub path: String,
    pub query: Option<String>,
    authority: HeaderValue,
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Endpoint, String> {
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("{url:?} is no URL: {error}"))?;
        if uri.scheme_str() != Some("https") {
            return Err(format!("{url:?} does not begin with https://"));
        }
        let authority = uri
            .authority()
            .ok_or_else(|| format!("{url:?} names no host"))?;
        if authority.as_str().contains('@') {
            return Err("a URL with a user or password is not taken".to_owned());
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host:?} is neither a host name nor an address"))?;
        Ok(Endpoint {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(443),
            name,
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|error| error.to_string())?,
        })
    }

    pub fn host_header(&self) -> HeaderValue {
        self.authority.clone()
    }

    /// Path and query, with more query.
    pub fn target(&self, more: Option<&str>) -> String {
        let query: Vec<&str> = self.query.as_deref().into_iter().chain(more).collect();
        match query.as_slice() {
            [] => self.path.clone(),
            query => format!("{}?{}", self.path, query.join("&")),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A password that goes to a server in clear text, or to another one.
    #[test]
    fn only_https_is_taken() {
        let endpoint = Endpoint::parse("https://auth.example").unwrap();
        assert_eq!(
            (endpoint.to_string().as_str(), endpoint.path.as_str()),
            ("auth.example:443", "/")
        );
        assert_eq!(endpoint.target(Some("a=b")), "/?a=b");
        let endpoint = Endpoint::parse("https://[::1]:8443/a/b?c=d").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 8443));
        assert_eq!(endpoint.target(Some("e=f")), "/a/b?c=d&e=f");
        assert_eq!(endpoint.target(None), "/a/b?c=d");
        assert_eq!(endpoint.host_header(), "[::1]:8443");
        for wrong in [
            "http://auth.example",
            "auth.example",
            "",
            "https://",
            "https://user:pass@auth.example",
            "ftp://x",
            "https://a b",
        ] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
