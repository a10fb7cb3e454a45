//! The JSON Schema of each kind, for editors and for those who check manifests without us; and what is said of a field.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::{
    authentication::BrokerAuthentication,
    authorization::BrokerAuthorization,
    broker::Broker,
    listener::BrokerListener,
    parse::{API_VERSION_SYNONYMS, spec_shape},
    resource::{API_VERSION, Kind, Metadata},
    shape::{Form, Shape, TextForm, without_null},
};

/// What marks a field, in its description, that is ours.
const OURS: &str = "+ ";

/// The JSON Schema (2020-12) of a kind's manifests. Words are in it as they are printed; [`crate::parse`] takes them in any
/// letter case.
pub fn schema(kind: Kind) -> Value {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let mut refer = |kind: Kind| match kind {
        Kind::Broker => reference::<Broker>(&mut generator),
        Kind::BrokerListener => reference::<BrokerListener>(&mut generator),
        Kind::BrokerAuthentication => reference::<BrokerAuthentication>(&mut generator),
        Kind::BrokerAuthorization => reference::<BrokerAuthorization>(&mut generator),
    };
    let spec = refer(kind);
    let metadata = reference::<Metadata>(&mut generator);
    let versions: Vec<&str> = std::iter::once(API_VERSION)
        .chain(API_VERSION_SYNONYMS.iter().copied())
        .collect();
    let definitions = generator.take_definitions(true);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.to_string(),
        "type": "object",
        "properties": {
            "apiVersion": { "enum": versions },
            "kind": { "const": kind },
            "metadata": metadata,
            "spec": spec,
            "status": { "description": "What the broker says of it. Ignored in a manifest." },
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "$defs": definitions,
    });
    without_null(&mut schema);
    schema
}

fn reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().into()
}

/// What is said of a field.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name, with `[]` behind that of a list. That of the kind, for the kind itself.
    pub name: String,
    /// What it means.
    pub doc: String,
    /// What it is: `text`, `whole number`, `list of text`, ...
    pub form: String,
    /// What it may be: `from 1 to 16`, `A, B or C`. `None`: anything of its form.
    pub range: Option<String>,
    /// What it is when it is left out. `None`: nothing.
    pub default: Option<Value>,
    /// Whether it must be there.
    pub required: bool,
    /// Whether it is ours, and the schema that we follow does not have it.
    pub ours: bool,
    /// Its words, with what each means.
    pub words: Vec<(String, String)>,
    /// The fields that are in it.
    pub fields: Vec<Field>,
}

/// What is said of the field at `path`, as `ports.tls.mode` or `spec.ports[].tls`; of the kind itself, without a path. The
/// fields within are there too, without theirs. `None`: there is no such field.
pub fn explain(kind: Kind, path: &str) -> Option<Field> {
    let path = path.strip_prefix("spec").map_or(path, |rest| {
        if rest.is_empty() || rest.starts_with('.') {
            rest
        } else {
            path
        }
    });
    let mut shape = spec_shape(kind);
    let mut field = (kind.to_string(), true);
    for part in path.split('.').filter(|part| !part.is_empty()) {
        // `ports[0]` and `ports[]` mean each of them.
        let name = part.split_once('[').map_or(part, |(name, _)| name);
        let inner = within(shape);
        if let Form::Map(values) = &inner.form {
            (shape, field) = (values, (name.to_owned(), false));
            continue;
        }
        let found = inner.field(name)?;
        (shape, field) = (&found.shape, (found.name.clone(), found.required));
    }
    let fields = match &within(shape).form {
        Form::Object(fields) => fields
            .iter()
            .map(|field| describe(field.name.clone(), field.required, &field.shape))
            .collect(),
        _ => Vec::new(),
    };
    let (name, required) = field;
    Some(Field {
        fields,
        ..describe(name, required, shape)
    })
}

/// What the fields of a value are in: the items of a list.
fn within(shape: &Shape) -> &Shape {
    match &shape.form {
        Form::List { items, .. } => within(items),
        _ => shape,
    }
}

fn describe(name: String, required: bool, shape: &Shape) -> Field {
    let brackets = if matches!(shape.form, Form::List { .. }) {
        "[]"
    } else {
        ""
    };
    let doc = shape.doc.strip_prefix(OURS);
    let words = match &within(shape).form {
        Form::Words(words) => words.clone(),
        _ => Vec::new(),
    };
    Field {
        name: name + brackets,
        doc: doc.unwrap_or(&shape.doc).to_owned(),
        form: form(shape),
        range: range(shape),
        default: shape.default.clone(),
        required,
        ours: doc.is_some(),
        words,
        fields: Vec::new(),
    }
}

fn form(shape: &Shape) -> String {
    match &shape.form {
        Form::Any => "anything".to_owned(),
        Form::Bool => "true or false".to_owned(),
        Form::Integer { .. } => "whole number".to_owned(),
        Form::Number { .. } => "number".to_owned(),
        Form::Text(TextForm::Any) => "text".to_owned(),
        Form::Text(TextForm::Size) => "size, as 10Gi".to_owned(),
        Form::Text(TextForm::Duration) => "span of time, as 1h30m".to_owned(),
        Form::Text(TextForm::Ip) => "IP address".to_owned(),
        Form::Words(_) => "word".to_owned(),
        Form::List { items, .. } => format!("list of {}", form(items)),
        Form::Map(values) => format!("names, each with {}", form(values)),
        Form::Object(_) => "fields".to_owned(),
    }
}

fn range(shape: &Shape) -> Option<String> {
    match &shape.form {
        Form::Integer { min, max } if *max >= i128::from(u64::MAX) => {
            Some(format!("at least {min}"))
        }
        Form::Integer { min, max } => Some(format!("from {min} to {max}")),
        Form::Number { min, max } => Some(format!("from {min} to {max}")),
        Form::Words(words) => {
            let words: Vec<&str> = words.iter().map(|(word, _)| word.as_str()).collect();
            Some(words.join(", "))
        }
        Form::List { min, .. } if *min > 0 => Some(format!("at least {min}")),
        _ => None,
    }
}
