//! Text as a tree of values, before anything is known of what they mean. YAML and JSON become the same.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, Value};
use serde_saphyr::DuplicateKeyPolicy;

/// Largest text that is read, in bytes. What a store takes in one piece is smaller.
pub const TEXT_BYTES_MAX: usize = 4 << 20;
/// Most manifests in one text.
pub const DOCUMENTS_MAX: usize = 4_096;
/// Deepest value.
const DEPTH_MAX: usize = 64;
/// Most values in one text: what aliases stand for counts.
const NODES_MAX: usize = 500_000;
/// Most aliases in one text.
const ALIASES_MAX: usize = 1_000;
/// Longest text of a value that is shown, in characters.
const SHOWN_MAX: usize = 60;

/// A value. Fields are in the order of the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Reads all documents of a text. Empty ones are left out.
///
/// # Errors
/// Where the text is neither YAML nor JSON, or more than the bounds allow.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, String> {
    if text.len() > TEXT_BYTES_MAX {
        let size = text.len();
        return Err(format!(
            "the text has {size} bytes: at most {TEXT_BYTES_MAX} are read at once"
        ));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // YAML is almost, but not quite, a superset of JSON.
    if text.trim_start().starts_with(['{', '['])
        && let Ok(documents) = json(text)
    {
        return Ok(documents);
    }
    serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| {
        let told = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
        told.split_whitespace().collect::<Vec<_>>().join(" ")
    })
}

fn json(text: &str) -> Result<Vec<Node>, serde_json::Error> {
    serde_json::Deserializer::from_str(text)
        .into_iter()
        .collect()
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_documents: DOCUMENTS_MAX,
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_merge_keys: ALIASES_MAX,
            max_total_scalar_bytes: TEXT_BYTES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: NODES_MAX,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

impl Node {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&Node> {
        let Node::Map(fields) = self else { return None };
        fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value)
    }

    /// The text that it is.
    pub fn text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As the JSON that it is.
    pub fn into_json(self) -> Value {
        match self {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(value),
            Node::Number(value) => Value::Number(value),
            Node::Text(value) => Value::String(value),
            Node::List(values) => values.into_iter().map(Node::into_json).collect(),
            Node::Map(fields) => {
                let fields = fields.into_iter();
                fields
                    .map(|(name, value)| (name, value.into_json()))
                    .collect()
            }
        }
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Node {
        match value {
            Value::Null => Node::Null,
            Value::Bool(value) => Node::Bool(value),
            Value::Number(value) => Node::Number(value),
            Value::String(value) => Node::Text(value),
            Value::Array(values) => Node::List(values.into_iter().map(Node::from).collect()),
            Value::Object(fields) => {
                let fields = fields.into_iter();
                Node::Map(fields.map(|(name, value)| (name, value.into())).collect())
            }
        }
    }
}

/// As it is shown in a problem: short, and on one line.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Null => f.write_str("nothing"),
            Node::Bool(value) => write!(f, "{value}"),
            Node::Number(value) => write!(f, "{value}"),
            Node::Text(text) => f.write_str(&shown(text)),
            Node::List(_) => f.write_str("a list"),
            Node::Map(_) => f.write_str("fields"),
        }
    }
}

/// Text as it is shown in a problem: quoted, short, and on one line.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

struct AnyNode;

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value);
        number
            .map(Node::Number)
            .ok_or_else(|| E::custom(format!("{value}: is no number that can be used")))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        while let Some((name, value)) = fields.next_entry::<String, Node>()? {
            if !seen.insert(name.clone()) {
                let name = shown(&name);
                return Err(de::Error::custom(format!(
                    "the field {name} is there twice"
                )));
            }
            map.push((name, value));
        }
        Ok(Node::Map(map))
    }
}
