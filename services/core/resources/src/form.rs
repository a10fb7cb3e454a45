//! Forms of text: names, addresses, URLs, headers. Each check says what may be.

use crate::document::shown;

/// Shortest and longest name of a resource.
pub(crate) const NAME_MIN: usize = 3;
pub(crate) const NAME_MAX: usize = 63;
const DNS_LABEL_MAX: usize = 63;
/// The secret of the cluster's own CA: whoever could make a listener show it could be anybody.
const CA_SECRET: &str = "catena-ca";
const DNS_NAME_MAX: usize = 253;

/// The name of a resource: `^[a-z0-9][a-z0-9-]*[a-z0-9]$`, 3 to 63 characters.
pub(crate) fn resource_name(text: &str) -> Result<(), String> {
    if is_label(text) && (NAME_MIN..=NAME_MAX).contains(&text.len()) {
        return Ok(());
    }
    Err(format!(
        "{}: must be {NAME_MIN} to {NAME_MAX} of a-z, 0-9 and -, without - at either end",
        shown(text)
    ))
}

/// A DNS label: a part of a name between dots.
pub(crate) fn dns_label(text: &str) -> Result<(), String> {
    if is_label(text) {
        return Ok(());
    }
    Err(format!(
        "{}: must be 1 to {DNS_LABEL_MAX} of a-z, 0-9 and -, without - at either end",
        shown(text)
    ))
}

/// The name of a secret or of a config map, which is also that of a directory.
pub(crate) fn secret_name(text: &str) -> Result<(), String> {
    if text == CA_SECRET {
        return Err(format!(
            "{text:?}: is the cluster's own CA, which manifests do not use: name another secret"
        ));
    }
    if text.len() <= DNS_NAME_MAX && text.split('.').all(is_label) {
        return Ok(());
    }
    Err(format!(
        "{}: must be the name of a secret or config map: a-z, 0-9, - and . between them",
        shown(text)
    ))
}

/// A DNS name that a certificate may be for: `broker.example.com`, `*.example.com`.
pub(crate) fn dns_name(text: &str) -> Result<(), String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let labels = |c: &str| is_label(&c.to_ascii_lowercase());
    if text.len() <= DNS_NAME_MAX && name.split('.').all(labels) {
        return Ok(());
    }
    Err(format!(
        "{}: must be a DNS name, as broker.example.com or *.example.com",
        shown(text)
    ))
}

/// `host:port`.
pub(crate) fn host_port(text: &str) -> Result<(), String> {
    if is_host_port(text, true) {
        return Ok(());
    }
    Err(format!(
        "{}: must be HOST:PORT, as broker.example.com:8883",
        shown(text)
    ))
}

/// A URL of one of these schemes: `https://HOST[:PORT][/PATH]`.
pub(crate) fn url(text: &str, schemes: &[&str]) -> Result<(), String> {
    let parsed = schemes
        .iter()
        .find_map(|scheme| text.strip_prefix(&format!("{scheme}://")))
        .is_some_and(|rest| {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let printable =
                |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '#');
            is_host_port(&rest[..end], false) && rest[end..].chars().all(printable)
        });
    if parsed {
        return Ok(());
    }
    let forms: Vec<String> = schemes
        .iter()
        .map(|scheme| format!("{scheme}://HOST[:PORT][/PATH]"))
        .collect();
    Err(format!("{}: must be {}", shown(text), forms.join(" or ")))
}

/// Where a web page comes from, as browsers say it: `https://app.example`, `null`; or `*`.
pub(crate) fn origin(text: &str) -> Result<(), String> {
    let is_page = text.split_once("://").is_some_and(|(scheme, host)| {
        let of_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(of_scheme)
            && is_host_port(host, false)
    });
    if is_page || matches!(text, "*" | "null") {
        return Ok(());
    }
    Err(format!(
        "{}: must be SCHEME://HOST[:PORT] without a path, as https://app.example, or null, or *",
        shown(text)
    ))
}

/// The name of an HTTP header.
pub(crate) fn header_name(text: &str) -> Result<(), String> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !text.is_empty() && text.chars().all(token) {
        return Ok(());
    }
    Err(format!("{}: is no name of an HTTP header", shown(text)))
}

/// The value of an HTTP header. It is not shown: it may be a secret.
pub(crate) fn header_value(text: &str) -> Result<(), String> {
    if text
        .chars()
        .all(|c| c == '\t' || c == ' ' || c.is_ascii_graphic())
    {
        return Ok(());
    }
    Err("has characters that no HTTP header may have: only visible ASCII may be there".to_owned())
}

/// A filter of logs: `info`, `info,gateway=debug`.
pub(crate) fn log_filter(text: &str) -> Result<(), String> {
    const LEVELS: &[&str] = &["trace", "debug", "info", "warn", "error", "off"];
    let is_level = |text: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text));
    let is_target = |text: &str| {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
        !text.is_empty() && text.chars().all(part)
    };
    let is_directive = |directive: &str| match directive.trim().split_once('=') {
        Some((target, level)) => is_target(target.trim()) && is_level(level.trim()),
        None => is_level(directive.trim()),
    };
    if text.split(',').all(is_directive) {
        return Ok(());
    }
    Err(format!(
        "{}: must be one of {}, or a filter such as info,gateway=debug",
        shown(text),
        LEVELS.join(", ")
    ))
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=DNS_LABEL_MAX).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_host_port(text: &str, needs_port: bool) -> bool {
    let bracket = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (is_host, port) = match bracket {
        Some((ip, rest)) => {
            let is_ip = ip.parse::<std::net::Ipv6Addr>().is_ok();
            if !rest.is_empty() && !rest.starts_with(':') {
                return false;
            }
            (is_ip, rest.strip_prefix(':'))
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            let label = |label: &str| is_label(&label.to_ascii_lowercase().replace('_', "-"));
            let is_host = host.len() <= DNS_NAME_MAX && host.split('.').all(label);
            (is_host, port)
        }
    };
    let is_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    is_host && port.map_or(!needs_port, is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(check: impl Fn(&str) -> Result<(), String>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
        for text in bad {
            assert!(check(text).is_err(), "{text:?}");
        }
    }

    // A name becomes a key of the store and of Kubernetes.
    #[test]
    fn names_have_the_form_of_kubernetes() {
        let long = "a".repeat(64);
        verdicts(
            resource_name,
            &["abc", "a-b", "0a9", &long[1..]],
            &["", "ab", "-ab", "ab-", "Abc", "a_b", "a.b", &long, "aä1"],
        );
        verdicts(dns_label, &["a", "a-b"], &["", "-", "a.b", &long]);
    }

    // A secret's name is also that of a directory: `..` would leave it.
    #[test]
    fn secrets_stay_in_their_directory() {
        verdicts(
            secret_name,
            &["a", "tls.example", "client-ca"],
            &["", ".", "..", "../etc", "a/b", "a..b", "A", "a\0"],
        );
    }

    #[test]
    fn addresses_and_urls_are_told_from_others() {
        verdicts(
            host_port,
            &[
                "a:1",
                "broker.example.com:8883",
                "10.0.0.1:1883",
                "[::1]:1883",
            ],
            &[
                "",
                "a",
                "a:",
                "a:0",
                "a:65536",
                ":1",
                "::1:1883",
                "a b:1",
                "[::1]1883",
                "[a]:1",
            ],
        );
        let https = |text: &str| url(text, &["https"]);
        verdicts(
            https,
            &["https://a", "https://a:8443/b?c=d", "https://[::1]:1/"],
            &[
                "http://a",
                "https://",
                "https:///a",
                "https://a:b",
                "https://u@a",
                "a",
                "https://a/ b",
                "HTTPS",
            ],
        );
        verdicts(
            dns_name,
            &["a", "A.b", "*.a.b"],
            &["", "*", "a.*.b", "a..b", "a b"],
        );
    }

    // What no browser sends would keep out the page that was meant.
    #[test]
    fn origins_have_no_path() {
        verdicts(
            origin,
            &[
                "https://app.example",
                "http://a:8080",
                "app://localhost",
                "http://[::1]:1",
                "null",
                "*",
            ],
            &[
                "",
                "app.example",
                "https://",
                "https://a/",
                "https://a/b",
                "*.example",
                "https://*",
                "https://a:b",
            ],
        );
    }

    // What breaks a header breaks the request, or makes another of it.
    #[test]
    fn headers_cannot_smuggle() {
        verdicts(header_name, &["X-Api-Key"], &["", "a b", "a:", "a\r\nb"]);
        verdicts(header_value, &["", "Bearer a"], &["a\r\nb: c", "ä"]);
    }

    #[test]
    fn filters_of_logs_name_levels() {
        verdicts(
            log_filter,
            &[
                "info",
                "WARN",
                "info,gateway=debug",
                "catena_gateway::client=trace, off",
            ],
            &["", "verbose", "info,", "=info", "a=b", "info;debug"],
        );
    }
}
