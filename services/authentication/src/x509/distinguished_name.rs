//! Distinguished names: as certificates have them and as people write them. Pure.
//!
//! People copy names from tools, which print them from either end and with spaces or without: `CN = a, O = b`, `O=b,CN=a`. Two names
//! are the same when they have the same parts; where several parts are of one type (`DC=example,DC=com`), their order among
//! each other counts, from either end. Values compare as RFC 5280, section 7.1 has it: letter case and the amount of white space
//! aside.

use x509_parser::{
    der_parser::asn1_rs::{Any, FromDer as _, Tag, ToDer as _},
    x509::{AttributeTypeAndValue, RelativeDistinguishedName},
};

/// Names of types and their object identifiers, RFC 4514 and what openssl prints.
const TYPES: &[(&str, &str)] = &[
    ("CN", "2.5.4.3"),
    ("COMMONNAME", "2.5.4.3"),
    ("SN", "2.5.4.4"),
    ("SURNAME", "2.5.4.4"),
    ("SERIALNUMBER", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("COUNTRY", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("LOCALITY", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("S", "2.5.4.8"),
    ("STATE", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("ORGANIZATION", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("ORGANIZATIONALUNIT", "2.5.4.11"),
    ("T", "2.5.4.12"),
    ("TITLE", "2.5.4.12"),
    ("DESCRIPTION", "2.5.4.13"),
    ("BUSINESSCATEGORY", "2.5.4.15"),
    ("POSTALCODE", "2.5.4.17"),
    ("NAME", "2.5.4.41"),
    ("G", "2.5.4.42"),
    ("GN", "2.5.4.42"),
    ("GIVENNAME", "2.5.4.42"),
    ("INITIALS", "2.5.4.43"),
    ("GENERATIONQUALIFIER", "2.5.4.44"),
    ("X500UNIQUEIDENTIFIER", "2.5.4.45"),
    ("DNQ", "2.5.4.46"),
    ("DNQUALIFIER", "2.5.4.46"),
    ("PSEUDONYM", "2.5.4.65"),
    ("ORGANIZATIONIDENTIFIER", "2.5.4.97"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("USERID", "0.9.2342.19200300.100.1.1"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("DOMAINCOMPONENT", "0.9.2342.19200300.100.1.25"),
    ("E", "1.2.840.113549.1.9.1"),
    ("EMAIL", "1.2.840.113549.1.9.1"),
    ("EMAILADDRESS", "1.2.840.113549.1.9.1"),
];

const COMMON_NAME: &str = "2.5.4.3";

/// A distinguished name.
#[derive(Debug, Clone, Default)]
pub struct DistinguishedName {
    /// In the order they came.
    parts: Vec<Part>,
    common_name: Option<String>,
}

/// A relative distinguished name: mostly one type and value, sometimes several, whose order means nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part(Vec<(String, Value)>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    /// Folded: lower case, one space for any white space.
    Text(String),
    /// What is no text, as it is encoded.
    Der(Vec<u8>),
}

/// Why a text is no distinguished name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error(
        "a distinguished name is a list as `CN = Plant, O = Contoso`; commas and plus signs in values are written \\, and \\+"
    )]
    Form,
    #[error(
        "{0:?} is no type of a distinguished name: a known name, as CN, or an object identifier"
    )]
    Type(String),
    #[error("the value of {0} ends in the middle, or is not UTF-8")]
    Value(String),
}

impl DistinguishedName {
    /// Of what a certificate says: the content of a Name, without its outermost header. `None`: it is none.
    pub fn from_der(mut content: &[u8]) -> Option<DistinguishedName> {
        let mut name = DistinguishedName::default();
        while !content.is_empty() {
            let (rest, part) = RelativeDistinguishedName::from_der(content).ok()?;
            content = rest;
            let mut pairs = Vec::new();
            for pair in part.iter() {
                let oid = pair.attr_type().to_id_string();
                let text = text(pair);
                if oid == COMMON_NAME && name.common_name.is_none() {
                    name.common_name.clone_from(&text);
                }
                pairs.push((oid, value(pair, text)?));
            }
            pairs.sort();
            name.parts.push(Part(pairs));
        }
        Some(name)
    }

    /// Of what a person wrote: RFC 4514, from either end.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<DistinguishedName, Invalid> {
        let mut name = DistinguishedName::default();
        let mut rest = text;
        loop {
            let mut pairs = Vec::new();
            let end = loop {
                let (pair, end, after) = pair(rest)?;
                pairs.push(pair);
                rest = after;
                if end != Some('+') {
                    break end;
                }
            };
            pairs.sort();
            name.parts.push(Part(pairs));
            if end.is_none() {
                return Ok(name);
            }
        }
    }

    /// The first common name, as the certificate has it.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// Whether both name the same.
    pub fn is(&self, other: &DistinguishedName) -> bool {
        if self.parts.len() != other.parts.len() {
            return false;
        }
        // By type only, so that parts of one type keep their order: a stable sort.
        let sorted = |parts: &mut Vec<&Part>| parts.sort_by_key(|part| part.types());
        let mut ours: Vec<_> = self.parts.iter().collect();
        let mut theirs: Vec<_> = other.parts.iter().collect();
        let mut reversed: Vec<_> = other.parts.iter().rev().collect();
        for parts in [&mut ours, &mut theirs, &mut reversed] {
            sorted(parts);
        }
        ours == theirs || ours == reversed
    }
}

impl Part {
    fn types(&self) -> Vec<&str> {
        self.0.iter().map(|(oid, _)| oid.as_str()).collect()
    }
}

fn fold(text: &str) -> Value {
    let words: Vec<_> = text.split_whitespace().collect();
    Value::Text(words.join(" ").to_lowercase())
}

/// The text of a value; `None`: it is no text.
fn text(pair: &AttributeTypeAndValue<'_>) -> Option<String> {
    if let Ok(text) = pair.as_str() {
        return Some(text.to_owned());
    }
    let value = pair.attr_value();
    let units = |size: usize| {
        value
            .data
            .chunks(size)
            .map(|unit| unit.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)))
    };
    match value.tag() {
        Tag::BmpString if value.data.len() % 2 == 0 => {
            let units: Vec<u16> = units(2).filter_map(|unit| unit.try_into().ok()).collect();
            String::from_utf16(&units).ok()
        }
        Tag::UniversalString if value.data.len() % 4 == 0 => units(4).map(char::from_u32).collect(),
        // Latin-1, as everybody has it who still writes these.
        Tag::TeletexString => Some(value.data.iter().map(|byte| char::from(*byte)).collect()),
        _ => None,
    }
}

fn value(pair: &AttributeTypeAndValue<'_>, text: Option<String>) -> Option<Value> {
    match text {
        Some(text) => Some(fold(&text)),
        None => pair.attr_value().to_der_vec_raw().ok().map(Value::Der),
    }
}

/// The first type and value of a text, the sign that ended it, and what comes after that.
#[allow(
    clippy::type_complexity,
    reason = "three things, each used once, right where this is called"
)]
fn pair(text: &str) -> Result<((String, Value), Option<char>, &str), Invalid> {
    let (name, rest) = text.split_once('=').ok_or(Invalid::Form)?;
    let name = name.trim();
    if name.is_empty() || name.contains([',', '+', ';']) {
        return Err(Invalid::Form);
    }
    let oid = oid(name).ok_or_else(|| Invalid::Type(name.to_owned()))?;
    let broken = || Invalid::Value(name.to_owned());
    let rest = rest.trim_start();
    if let Some(hex) = rest.strip_prefix('#') {
        let (hex, end, after) = match hex.find([',', '+', ';']) {
            Some(at) => (&hex[..at], hex[at..].chars().next(), &hex[at + 1..]),
            None => (hex, None, ""),
        };
        let der = unhex(hex.trim()).ok_or_else(broken)?;
        return Ok(((oid, encoded(&der).ok_or_else(broken)?), end, after));
    }
    let (value, end, after) = string(rest).ok_or_else(broken)?;
    Ok(((oid, fold(&value)), end, after))
}

/// A value that is written as its encoding: text where it is that.
fn encoded(der: &[u8]) -> Option<Value> {
    let (_, any) = Any::from_der(der)
        .ok()
        .filter(|(rest, _)| rest.is_empty())?;
    match any.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            std::str::from_utf8(any.data).ok().map(fold)
        }
        _ => Some(Value::Der(der.to_owned())),
    }
}

/// A value as text, the sign that ended it, and what comes after that.
fn string(text: &str) -> Option<(String, Option<char>, &str)> {
    let mut bytes = Vec::new();
    let mut chars = text.char_indices();
    let mut quoted = false;
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => {
                let (_, escaped) = chars.next()?;
                match escaped.to_digit(16) {
                    Some(high) => {
                        let (_, low) = chars.next()?;
                        bytes.push((high << 4 | low.to_digit(16)?) as u8);
                    }
                    None => bytes.extend(escaped.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
            '"' => quoted = !quoted,
            ',' | ';' | '+' if !quoted => {
                return Some((String::from_utf8(bytes).ok()?, Some(char), &text[at + 1..]));
            }
            other => bytes.extend(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if quoted {
        return None;
    }
    Some((String::from_utf8(bytes).ok()?, None, ""))
}

fn oid(name: &str) -> Option<String> {
    let name = name.to_ascii_uppercase();
    if let Some((_, oid)) = TYPES.iter().find(|(known, _)| *known == name) {
        return Some((*oid).to_owned());
    }
    let oid = name.strip_prefix("OID.").unwrap_or(&name);
    let mut arcs = oid.split('.');
    let is_arc = |arc: &str| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit());
    (oid.contains('.') && arcs.all(is_arc)).then(|| oid.to_owned())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|char| char.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks(2)
            .map(|pair| (pair[0] << 4 | pair[1]) as u8)
            .collect(),
    )
}

#[cfg(test)]
mod tests;
