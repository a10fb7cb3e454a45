//! What a value may be: the JSON Schema of a type in the form that values are compared with.
//!
//! The types are the one place where fields, ranges, defaults and their meaning are written down; schemars makes a schema of
//! them, and this makes a [`Shape`] of the schema.

use std::{net::IpAddr, str::FromStr};

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};

use crate::{go_duration::GoDuration, size::Size};

/// What a value may be, and what it means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    /// What it means.
    pub doc: String,
    /// What it is when it is left out.
    pub default: Option<Value>,
    pub form: Form,
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Form {
    /// Handed on as it is.
    Any,
    Bool,
    Integer {
        min: i128,
        max: i128,
    },
    Number {
        min: f64,
        max: f64,
    },
    Text(TextForm),
    /// Words with their meaning.
    Words(Vec<(String, String)>),
    List {
        items: Box<Shape>,
        min: usize,
    },
    /// Names that the user chooses.
    Map(Box<Shape>),
    Object(Vec<FieldShape>),
}

/// A field of an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FieldShape {
    pub name: String,
    pub required: bool,
    pub shape: Shape,
}

/// What a text may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextForm {
    Any,
    Size,
    Duration,
    Ip,
}

impl TextForm {
    /// Checks a text.
    ///
    /// # Errors
    /// What may be.
    pub fn check(self, text: &str) -> Result<(), String> {
        fn parsed<T: FromStr>(text: &str, say: impl Fn(T::Err) -> String) -> Result<(), String> {
            text.parse::<T>().map(|_| ()).map_err(say)
        }
        match self {
            TextForm::Any => Ok(()),
            TextForm::Size => parsed::<Size>(text, |error| error.to_string()),
            TextForm::Duration => parsed::<GoDuration>(text, |error| error.to_string()),
            TextForm::Ip => parsed::<IpAddr>(text, |_| {
                format!("{}: must be an IP address", crate::document::shown(text))
            }),
        }
    }

    /// A text of this form.
    pub fn example(self) -> &'static str {
        match self {
            TextForm::Any => "",
            TextForm::Size => "1E",
            TextForm::Duration => "1h",
            TextForm::Ip => "127.0.0.1",
        }
    }
}

impl Shape {
    /// The shape of a type.
    pub fn of<T: JsonSchema>() -> Shape {
        let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
        let schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
        Shape::read(schema.as_value())
    }

    fn read(schema: &Value) -> Shape {
        // An optional field says that it may be null, which is the same as left out.
        let choices = schema["anyOf"].as_array();
        let chosen = choices.and_then(|all| all.iter().find(|one| one["type"] != "null"));
        let form = Form::read(chosen.unwrap_or(schema));
        let doc = |schema: &Value| schema["description"].as_str().map(one_line);
        Shape {
            doc: doc(schema).or(chosen.and_then(doc)).unwrap_or_default(),
            default: schema
                .get("default")
                .filter(|value| !value.is_null())
                .cloned(),
            form,
        }
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&FieldShape> {
        let Form::Object(fields) = &self.form else {
            return None;
        };
        fields.iter().find(|field| field.name == name)
    }
}

impl Form {
    fn read(schema: &Value) -> Form {
        let words = words(schema);
        if !words.is_empty() {
            return Form::Words(words);
        }
        let number = |key: &str| schema[key].as_f64();
        let integer = |key: &str| {
            let value = &schema[key];
            let whole = value.as_i64().map(i128::from);
            whole.or_else(|| value.as_u64().map(i128::from))
        };
        match type_of(schema) {
            "boolean" => Form::Bool,
            "integer" => Form::Integer {
                min: integer("minimum").unwrap_or(i64::MIN.into()),
                max: integer("maximum").unwrap_or(match schema["format"].as_str() {
                    Some("uint32") => u32::MAX.into(),
                    _ => u64::MAX.into(),
                }),
            },
            "number" => Form::Number {
                min: number("minimum").unwrap_or(f64::MIN),
                max: number("maximum").unwrap_or(f64::MAX),
            },
            "string" => Form::Text(match schema["format"].as_str() {
                Some("size") => TextForm::Size,
                Some("duration") => TextForm::Duration,
                Some("ip") => TextForm::Ip,
                _ => TextForm::Any,
            }),
            "array" => Form::List {
                items: Box::new(Shape::read(&schema["items"])),
                min: schema["minItems"].as_u64().unwrap_or(0) as usize,
            },
            "object" => Form::read_object(schema),
            _ => Form::Any,
        }
    }

    fn read_object(schema: &Value) -> Form {
        let Some(properties) = schema["properties"].as_object() else {
            return Form::Map(Box::new(Shape::read(&schema["additionalProperties"])));
        };
        let required: Vec<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let field = |(name, schema): (&String, &Value)| FieldShape {
            name: name.clone(),
            required: required.contains(&name.as_str()),
            shape: Shape::read(schema),
        };
        Form::Object(properties.iter().map(field).collect())
    }
}

/// The first type that is not null.
fn type_of(schema: &Value) -> &str {
    let kind = &schema["type"];
    let mut several = kind
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let of_several = several.find(|kind| *kind != "null");
    kind.as_str().or(of_several).unwrap_or_default()
}

/// The words that a value may be, with what is said of each.
fn words(schema: &Value) -> Vec<(String, String)> {
    let of = |schema: &Value| -> Vec<(String, String)> {
        let doc = schema["description"]
            .as_str()
            .map(one_line)
            .unwrap_or_default();
        let single = schema.get("const").into_iter();
        let several = schema["enum"].as_array().into_iter().flatten();
        let words = single.chain(several).filter_map(Value::as_str);
        words.map(|word| (word.to_owned(), doc.clone())).collect()
    };
    match schema["oneOf"].as_array() {
        Some(choices) => choices.iter().flat_map(of).collect(),
        None => {
            let plain = |(word, _)| (word, String::new());
            of(schema).into_iter().map(plain).collect()
        }
    }
}

/// A doc comment without its line ends.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A schema for files: what may be null may be left out, which is enough.
pub(crate) fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Array(types)) = fields.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = &types[..] {
                    let only = only.clone();
                    fields.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(words)) = fields.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
                choices.retain(|choice| choice["type"] != "null");
                if let [Value::Object(only)] = &choices[..] {
                    let only: Map<String, Value> = only.clone();
                    fields.remove("anyOf");
                    for (key, value) in only {
                        fields.entry(key).or_insert(value);
                    }
                }
            }
            fields.values_mut().for_each(without_null);
        }
        Value::Array(values) => values.iter_mut().for_each(without_null),
        _ => {}
    }
}
