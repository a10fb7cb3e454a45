//! The form of a distinguished name, as certificates have them: `CN = Plant, O = Contoso`.
//!
//! RFC 4514 with the freedoms that people take: spaces around `,` and `=`, and values in quotes. What a name means is for
//! those who compare it with certificates.

use crate::document::shown;

/// Characters that a value has only behind `\`, or in quotes.
const SPECIAL: &str = "\"+,;<>";

/// Checks the form of a name.
///
/// # Errors
/// What may be.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let mut rest = text.trim();
    let mut is_good = !rest.is_empty();
    while is_good {
        match attribute(rest) {
            Some("") => return Ok(()),
            Some(more) => rest = more,
            None => is_good = false,
        }
    }
    Err(format!(
        "{}: must be a distinguished name, as CN = Plant, O = Contoso",
        shown(text)
    ))
}

/// Takes an attribute with its value and the separator behind it. `None` where there is none.
fn attribute(text: &str) -> Option<&str> {
    let (kind, value) = text.split_once('=')?;
    if !is_kind(kind.trim()) {
        return None;
    }
    let rest = value_end(value.trim_start())?.trim_start();
    if rest.is_empty() {
        return Some("");
    }
    let rest = rest.strip_prefix([',', '+', ';'])?.trim_start();
    // A separator at the end promises one more.
    (!rest.is_empty()).then_some(rest)
}

/// `CN`, or `2.5.4.3`.
fn is_kind(text: &str) -> bool {
    let is_oid = text
        .split('.')
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let named = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let is_name = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(named);
    is_oid || is_name
}

/// What follows a value.
fn value_end(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut escaped = false;
        let end = quoted.find(|c| {
            let is_end = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            is_end
        })?;
        return Some(&quoted[end + 1..]);
    }
    let mut characters = text.char_indices();
    while let Some((index, c)) = characters.next() {
        match c {
            '\\' => {
                characters.next()?;
            }
            ',' | '+' | ';' => return Some(&text[index..]),
            c if SPECIAL.contains(c) => return None,
            _ => {}
        }
    }
    Some("")
}

#[cfg(test)]
mod tests {
    use super::*;

    // A subject with a mistake matches no certificate, and nobody learns why.
    #[test]
    fn names_are_told_from_other_text() {
        for good in [
            "CN=a",
            "CN = Contoso Root CA Cert, OU = Engineering, C = US",
            "cn=a+ou=b,2.5.4.10=c",
            r#"O="Contoso, Inc.", CN=x"#,
            r"CN=a\,b\+c\\",
            "CN=",
            "CN = Müller",
            "CN=a;O=b",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            " ",
            "Contoso",
            "=a",
            "CN=a,",
            "CN=a,,O=b",
            "CN=a, Contoso",
            "C N=a",
            r"CN=a\",
            r#"CN="a"#,
            r#"CN="a"b"#,
            "1.=a",
            "CN=a<b",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
