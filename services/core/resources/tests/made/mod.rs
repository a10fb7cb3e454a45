//! Manifests made at random by the schema of their kind.

use catena_resources::{Kind, schema};
use serde_json::{Map, Value, json};

/// Text that YAML could take for something else.
const ODD_TEXTS: &[&str] = &[
    "",
    " ",
    "true",
    "no",
    "~",
    "null",
    "1",
    "0x10",
    "1e3",
    "1_000",
    "-",
    "a: b",
    "a #b",
    "- a",
    "{a}",
    "[a]",
    "*a",
    "&a",
    "!a",
    "'",
    "\"",
    "\\",
    "a\nb",
    "\n",
    "a\n",
    "\ta",
    "ä€😀",
    "%",
    "@",
    "`",
    "|",
    ">",
    "---",
    "...",
    "2026-01-01",
    "=",
    "<<",
    ".inf",
    "\u{1}",
];

pub struct Made {
    state: u64,
    schema: Value,
}

impl Made {
    pub fn new(seed: u64) -> Made {
        Made {
            state: seed,
            schema: Value::Null,
        }
    }

    pub fn manifest(mut self, kind: Kind) -> Value {
        self.schema = schema(kind);
        let spec = self.schema["properties"]["spec"].clone();
        let spec = self.value(&spec, "spec");
        json!({
            "apiVersion": "catena.dev/v1",
            "kind": kind,
            "metadata": {
                "name": self.one(&["default", "a-1", "abc"]),
                "labels": { "example.com/odd": self.one(ODD_TEXTS) },
                "annotations": { "odd": self.one(ODD_TEXTS) },
            },
            "spec": spec,
        })
    }

    fn value(&mut self, schema: &Value, name: &str) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let defined = self.schema.pointer(&reference[1..]).unwrap().clone();
            return self.value(&defined, name);
        }
        let words = words(schema);
        if !words.is_empty() {
            let index = self.below(words.len());
            return self.in_some_case(&words[index]);
        }
        match schema["type"].as_str() {
            Some("string") => json!(self.text(schema, name)),
            Some("integer") => {
                let from = schema["minimum"].as_u64().unwrap_or(0);
                let most = match schema["format"].as_str() {
                    Some("uint32") => u32::MAX.into(),
                    _ => u64::MAX,
                };
                let to = schema["maximum"].as_u64().unwrap_or(most);
                let between = from + self.next() % (to - from).max(1);
                json!(self.one(&[from, to, between]))
            }
            Some("number") => {
                let (from, to) = (&schema["minimum"], &schema["maximum"]);
                let (from, to) = (from.as_f64().unwrap(), to.as_f64().unwrap());
                let part = self.below(1_001) as f64 / 1_000.0;
                json!(((from + (to - from) * part) * 1_000.0).round() / 1_000.0)
            }
            Some("boolean") => json!(self.below(2) == 0),
            Some("array") => {
                let least = schema["minItems"].as_u64().unwrap_or(0) as usize;
                let count = least + self.below(3);
                (0..count)
                    .map(|_| self.value(&schema["items"], name))
                    .collect()
            }
            Some("object") => self.object(schema, name),
            _ => json!({"a": [1, "x", null, {"b": true}], "odd": self.one(ODD_TEXTS)}),
        }
    }

    fn object(&mut self, schema: &Value, name: &str) -> Value {
        let mut object = Map::new();
        let Some(properties) = schema["properties"].as_object() else {
            for key in ["a", "b-c", "d.e"].iter().take(1 + self.below(3)) {
                let value = self.value(&schema["additionalProperties"], name);
                object.insert((*key).to_owned(), value);
            }
            return Value::Object(object);
        };
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, of) in properties {
            if required.contains(&json!(name)) || self.below(2) == 0 {
                object.insert(name.clone(), self.value(of, name));
            }
        }
        self.keep_rules(&mut object, properties);
        Value::Object(object)
    }

    /// Changes what would break a rule that a schema cannot say.
    fn keep_rules(&mut self, object: &mut Map<String, Value>, of: &Map<String, Value>) {
        let word = |object: &Map<String, Value>, field: &str| {
            let text = object.get(field).and_then(Value::as_str);
            text.unwrap_or_default().to_lowercase()
        };
        let choice = |made: &mut Made, object: &mut Map<String, Value>, field: &str, is: bool| {
            if !is {
                object.remove(field);
            } else if !object.contains_key(field) {
                let value = made.value(&of[field], field);
                object.insert(field.to_owned(), value);
            }
        };
        let (method, mode) = (word(object, "method"), word(object, "mode"));
        for field in of.keys() {
            match field.as_str() {
                "x509Settings"
                | "serviceAccountTokenSettings"
                | "customSettings"
                | "passwordSettings"
                | "jwtSettings" => {
                    let is = field.to_lowercase() == format!("{method}settings");
                    choice(self, object, field, is);
                }
                "retainSettings" | "subscriberQueueSettings" | "stateStoreSettings" => {
                    choice(self, object, field, mode == "custom");
                }
                "manual" => choice(self, object, field, mode == "manual"),
                "certManagerCertificateSpec" => choice(self, object, field, mode == "automatic"),
                "jwksUri" => {
                    let is = !object.contains_key("jwksSecretRef");
                    choice(self, object, field, is);
                }
                "persistentVolumeClaimSpec" if object.contains_key("ephemeralVolumeClaimSpec") => {
                    object.remove(field);
                }
                "authorizationRef" if !object.contains_key("authenticationRef") => {
                    object.remove(field);
                }
                "clientIds" if of.contains_key("topics") && method != "connect" => {
                    object.remove(field);
                }
                "topics" if method == "connect" => {
                    object.remove(field);
                }
                "allowedOrigins" if word(object, "protocol") != "websockets" => {
                    object.remove(field);
                }
                "nodePort" => {
                    object.remove(field);
                }
                "keys" => {
                    let key = if word(object, "keyType") == "binary" {
                        "AAE="
                    } else {
                        "a/[0-9]*"
                    };
                    object.insert(field.clone(), json!([key]));
                }
                "duration" if object.contains_key(field) => {
                    object.insert(field.clone(), json!("2160h"));
                }
                "ports" => {
                    let ports = object[field].as_array_mut().into_iter().flatten();
                    for (index, port) in ports.enumerate() {
                        port["port"] = json!(1_000 + index);
                    }
                }
                _ => {}
            }
        }
    }

    fn text(&mut self, schema: &Value, name: &str) -> String {
        let number = 200 + self.below(10_000);
        match schema["format"].as_str() {
            Some("size") => return format!("{number}{}", self.one(&["M", "G", "Gi", "Mi"])),
            Some("duration") => {
                return self.one(&["1h", "90m", "1h30m5.5s", "250ms", "24h"]).into();
            }
            Some("ip") => return self.one(&["127.0.0.1", "::1", "fe80::1"]).into(),
            _ => {}
        }
        let texts: &[&str] = match name {
            "level" => &["info", "warn,gateway=debug"],
            "endpoint" | "jwksUri" => &["https://a.example.com:8443/b?c=d", "https://[::1]"],
            "opentelemetryCollectorAddress" => &["collector:4317", "http://collector:4317"],
            "allowedOrigins" => &["https://a.example:8443", "null", "*"],
            "serverReference" => &["b.example.com:8883"],
            "dns" => &["*.example.com", "a"],
            "kind" => &["Issuer", "ClusterIssuer"],
            "group" => &["cert-manager.io"],
            "headers" => &["", "a b", "~"],
            "subject" => &["CN = a, O = \"b, c\"", "CN=ä"],
            "topics" => &["#", "a/+/b", "+/a b: c", "- a"],
            "audiences" | "issuer" | "usernameClaim" | "attributeClaims" | "userPropertyKey" => {
                &["true", "a b", "https://id.example.com", "~"]
            }
            "subscriberClientIds" | "clientIds" => &["*", "a-*", "1", "null"],
            "attributes" | "usernames" | "userPropertyValue" => ODD_TEXTS,
            _ => &["abc", "a-1", "default"],
        };
        self.one(texts).to_owned()
    }

    fn in_some_case(&mut self, word: &str) -> Value {
        match self.below(3) {
            0 => json!(word.to_lowercase()),
            1 => json!(word.to_uppercase()),
            _ => json!(word),
        }
    }

    fn one<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

fn words(schema: &Value) -> Vec<String> {
    let several = schema["enum"].as_array().into_iter().flatten();
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    let single = schema.get("const");
    let inner = choices.flat_map(words);
    let own = several
        .chain(single)
        .filter_map(Value::as_str)
        .map(str::to_owned);
    own.chain(inner).collect()
}

/// Where there are values, as JSON pointers.
pub fn places(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(value, format!("{at}/{name}"), found);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                places(value, format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
    found.push(at);
}
