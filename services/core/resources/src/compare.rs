//! A value compared with the shape that it should have: every misfit is named, and something that fits is put in its place, so
//! that the rest can be checked too.

use serde_json::{Map, Number, Value, json};

use crate::{
    document::{Node, shown},
    problem::Problems,
    shape::{FieldShape, Form, Shape},
};

/// How alike two names must be for one to be meant by the other: edits per character.
const EDITS_PER_CHARACTER: f64 = 0.4;
/// Longest name that another is found for.
const NAME_MAX: usize = 128;
/// Most names that are listed where none is alike.
const NAMED_MAX: usize = 24;

/// What `node` says, with everything in its place: words as they are printed, nulls left out, and stand-ins for misfits.
pub(crate) fn compare(shape: &Shape, node: Node, path: &str, problems: &mut Problems) -> Value {
    let misfit = |problems: &mut Problems, what: &str| {
        problems.misfit(path, format!("{node}: must be {what}"));
        stand_in(shape, &node)
    };
    match (&shape.form, &node) {
        (Form::Any, _) => node.into_json(),
        (Form::Bool, Node::Bool(value)) => Value::Bool(*value),
        (Form::Bool, _) => misfit(problems, "true or false"),
        (Form::Integer { min, max }, Node::Number(number)) => match whole(number) {
            Some(whole) if (*min..=*max).contains(&whole) => {
                u64::try_from(whole).map_or_else(|_| json!(whole as i64), Value::from)
            }
            Some(_) => misfit(problems, &range(*min, *max)),
            None => misfit(problems, &format!("a whole number {}", range(*min, *max))),
        },
        (Form::Integer { .. }, _) => misfit(problems, &unquoted("a whole number", &node)),
        (Form::Number { min, max }, Node::Number(number)) => {
            if number
                .as_f64()
                .is_some_and(|number| (*min..=*max).contains(&number))
            {
                Value::Number(number.clone())
            } else {
                misfit(problems, &format!("from {min} to {max}"))
            }
        }
        (Form::Number { .. }, _) => misfit(problems, &unquoted("a number", &node)),
        (Form::Text(form), Node::Text(text)) => match form.check(text) {
            Ok(()) => Value::String(text.clone()),
            Err(reason) => {
                problems.misfit(path, reason);
                stand_in(shape, &node)
            }
        },
        (Form::Text(_), _) => misfit(problems, &quoted(&node)),
        (Form::Words(words), Node::Text(text)) => {
            let known = words
                .iter()
                .find(|(word, _)| word.eq_ignore_ascii_case(text));
            match known {
                Some((word, _)) => Value::String(word.clone()),
                None => misfit(
                    problems,
                    &one_of(words.iter().map(|(word, _)| word.as_str())),
                ),
            }
        }
        (Form::Words(words), _) => misfit(
            problems,
            &one_of(words.iter().map(|(word, _)| word.as_str())),
        ),
        (Form::List { .. }, Node::List(_)) => list(shape, node, path, problems),
        (Form::List { .. }, _) => misfit(problems, "a list"),
        (Form::Map(_), Node::Map(_)) => map(shape, node, path, problems),
        (Form::Object(_), Node::Map(_)) => object(shape, node, path, problems),
        (Form::Map(_) | Form::Object(_), _) => misfit(problems, "fields with values"),
    }
}

fn list(shape: &Shape, node: Node, path: &str, problems: &mut Problems) -> Value {
    let (Form::List { items, min }, Node::List(nodes)) = (&shape.form, node) else {
        return Value::Null;
    };
    if nodes.len() < *min {
        let reason = format!("has {}: must have at least {min}", nodes.len());
        problems.misfit(path, reason);
    }
    let values = nodes.into_iter().enumerate();
    values
        .map(|(index, node)| compare(items, node, &format!("{path}[{index}]"), problems))
        .collect()
}

fn map(shape: &Shape, node: Node, path: &str, problems: &mut Problems) -> Value {
    let (Form::Map(of), Node::Map(nodes)) = (&shape.form, node) else {
        return Value::Null;
    };
    let mut map = Map::new();
    for (name, node) in nodes {
        let value = compare(of, node, &join(path, &name), problems);
        map.insert(name, value);
    }
    Value::Object(map)
}

fn object(shape: &Shape, node: Node, path: &str, problems: &mut Problems) -> Value {
    let (Form::Object(fields), Node::Map(nodes)) = (&shape.form, node) else {
        return Value::Null;
    };
    let present = |field: &&FieldShape| nodes.iter().any(|(name, _)| *name == field.name);
    let present: Vec<&FieldShape> = fields.iter().filter(present).collect();
    let mut object = Map::new();
    for (name, node) in nodes {
        if let Some(field) = fields.iter().find(|field| field.name == name) {
            // In Kubernetes null is the same as left out.
            if node != Node::Null {
                let value = compare(&field.shape, node, &join(path, &name), problems);
                object.insert(name, value);
            }
            continue;
        }
        let known = fields.iter().map(|field| field.name.as_str());
        problems.misfit(&join(path, &name), unknown_field(&name, known.clone()));
        // What was meant is taken for what is there, so that it is not missed too.
        let meant = nearest(&name, known).and_then(|meant| shape.field(meant));
        let field = meant.filter(|meant| !present.iter().any(|field| field.name == meant.name));
        if let Some(FieldShape {
            name: meant, shape, ..
        }) = field
            && node != Node::Null
        {
            let value = compare(shape, node, &join(path, &name), problems);
            object.insert(meant.clone(), value);
        }
    }
    for field in fields.iter().filter(|field| field.required) {
        if !object.contains_key(&field.name) {
            problems.misfit(&join(path, &field.name), "is missing");
            object.insert(field.name.clone(), stand_in(&field.shape, &Node::Null));
        }
    }
    Value::Object(object)
}

/// What stands in for a misfit: as near to it as can be.
fn stand_in(shape: &Shape, node: &Node) -> Value {
    let text = match node {
        Node::Text(text) => text.clone(),
        Node::Bool(_) | Node::Number(_) => node.to_string(),
        _ => String::new(),
    };
    match &shape.form {
        Form::Any => Value::Null,
        Form::Bool => Value::Bool(false),
        Form::Integer { min, max } => {
            let said = match node {
                Node::Number(number) => whole(number),
                _ => text.parse().ok(),
            };
            let near = said.unwrap_or(0).clamp(*min, *max);
            u64::try_from(near).map_or_else(|_| json!(near as i64), Value::from)
        }
        Form::Number { min, max } => {
            let near = text.parse::<f64>().unwrap_or(0.0).clamp(*min, *max);
            Number::from_f64(near).map_or(Value::Null, Value::Number)
        }
        Form::Text(form) if form.check(&text).is_ok() => Value::String(text),
        Form::Text(form) => Value::String(form.example().to_owned()),
        Form::Words(words) => {
            let default = shape.default.as_ref().and_then(Value::as_str);
            let word = default.or(words.first().map(|(word, _)| word.as_str()));
            Value::from(word.unwrap_or_default())
        }
        Form::List { .. } => Value::Array(Vec::new()),
        Form::Map(_) => Value::Object(Map::new()),
        Form::Object(fields) => {
            let required = fields.iter().filter(|field| field.required);
            let stand_ins =
                required.map(|field| (field.name.clone(), stand_in(&field.shape, &Node::Null)));
            Value::Object(stand_ins.collect())
        }
    }
}

/// A number that is whole, whatever it is written as.
fn whole(number: &Number) -> Option<i128> {
    if let Some(whole) = number.as_i64() {
        return Some(whole.into());
    }
    if let Some(whole) = number.as_u64() {
        return Some(whole.into());
    }
    number
        .as_f64()
        .filter(|number| number.fract() == 0.0 && number.abs() < 1e30)
        .map(|number| number as i128)
}

fn range(min: i128, max: i128) -> String {
    if max >= i128::from(u64::MAX) {
        format!("at least {min}")
    } else {
        format!("from {min} to {max}")
    }
}

/// What is said of a text where a number is wanted.
fn unquoted(what: &str, node: &Node) -> String {
    match node {
        Node::Text(text) if text.parse::<f64>().is_ok() => format!("{what}, without quotes"),
        _ => what.to_owned(),
    }
}

/// What is said of a number where a text is wanted.
fn quoted(node: &Node) -> String {
    match node {
        Node::Bool(_) | Node::Number(_) => format!("text, in quotes: \"{node}\""),
        _ => "text".to_owned(),
    }
}

fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    format!("one of {}", words.collect::<Vec<_>>().join(", "))
}

/// What is said of a field that does not exist.
pub(crate) fn unknown_field<'a>(
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> String {
    match nearest(name, known.clone()) {
        Some(nearest) => format!("there is no such field: is {nearest} meant?"),
        None => {
            let named: Vec<&str> = known.take(NAMED_MAX).collect();
            format!("there is no such field; there are {}", named.join(", "))
        }
    }
}

/// The known name that is most like `name`, if one is alike.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let characters = name.chars().count();
    // Not worth the comparison.
    if characters > NAME_MAX {
        return None;
    }
    let alike = known.filter_map(|known| {
        let edits = strsim::osa_distance(&name, &known.to_lowercase());
        let most = EDITS_PER_CHARACTER * characters.min(known.chars().count()) as f64;
        (edits as f64 <= most).then_some((edits, known))
    });
    alike.min().map(|(_, known)| known)
}

/// The path of a field: `spec.ports`, `metadata.labels["a.b"]`.
pub(crate) fn join(path: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match (path.is_empty(), !name.is_empty() && name.chars().all(plain)) {
        (true, true) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{}]", shown(name)),
    }
}
