//! The schemas that are shipped, and what is said of fields.

use std::{fs, path::PathBuf};

use catena_resources::{Kind, explain, parse, schema};

/// With this set, the files are written anew: `make schema`.
const WRITE: &str = "CATENA_SCHEMA_WRITE";

// Editors check manifests by the files: one that differs from the types refuses what we take, or takes what we refuse.
#[test]
fn the_files_are_those_of_the_types() {
    for (name, kind) in Kind::ALL {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("schema")
            .join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&schema(*kind)).unwrap() + "\n";
        if std::env::var_os(WRITE).is_some() {
            fs::write(&path, &text).unwrap();
        }
        let file = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            file == text,
            "{name}.json is not of the types: run `make schema`"
        );
    }
}

// A field that nobody described cannot be explained.
#[test]
fn every_field_is_described() {
    fn check(kind: Kind, path: &str, missing: &mut Vec<String>) {
        let field = explain(kind, path).unwrap_or_else(|| panic!("{kind}.{path}"));
        if field.doc.is_empty() {
            missing.push(format!("{kind}.{path}"));
        }
        for (word, doc) in &field.words {
            if doc.is_empty() && !["Enabled", "Disabled"].contains(&word.as_str()) {
                missing.push(format!("{kind}.{path}: {word}"));
            }
        }
        for inner in &field.fields {
            check(kind, &format!("{path}.{}", inner.name), missing);
        }
    }
    let mut missing = Vec::new();
    for (_, kind) in Kind::ALL {
        check(*kind, "", &mut missing);
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

// `catena explain` shows what it is given: a wrong range is looked up and believed.
#[test]
fn a_field_says_what_it_may_be() {
    let workers = explain(Kind::Broker, "cardinality.backendChain.workers").unwrap();
    assert_eq!(workers.range.as_deref(), Some("from 1 to 16"));
    assert_eq!(workers.form, "whole number");
    assert_eq!(workers.default, Some(1.into()));
    assert!(!workers.required && !workers.ours);

    let tls = explain(Kind::BrokerListener, "spec.ports[].tls").unwrap();
    let names: Vec<&str> = tls.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["certManagerCertificateSpec", "manual", "mode"]);
    let mode = explain(Kind::BrokerListener, "ports.tls.mode").unwrap();
    assert!(mode.required);
    assert_eq!(mode.range.as_deref(), Some("Manual, Automatic"));
    assert_eq!(
        mode.words[0],
        ("Manual".to_owned(), "From a secret.".to_owned())
    );

    let proxy = explain(Kind::BrokerListener, "ports[0].proxyProtocol").unwrap();
    assert!(proxy.ours && !proxy.doc.starts_with('+'));
    let timeout = explain(Kind::Broker, "advanced.failureTimeoutSeconds").unwrap();
    assert_eq!(timeout.range.as_deref(), Some("from 0.1 to 60"));
    let floor = explain(
        Kind::BrokerAuthentication,
        "authenticationMethods.x509Settings.authorizationAttributes.root.subject",
    );
    assert!(floor.unwrap().required);
    assert_eq!(explain(Kind::Broker, "cardinality.nonsense"), None);
    let kind = explain(Kind::Broker, "").unwrap();
    assert_eq!(kind.name, "Broker");
    assert!(kind.fields.iter().any(|field| field.name == "persistence"));
}

// What the defaults of a field are said to be must be what is taken when it is left out.
#[test]
fn defaults_are_those_that_are_taken() {
    let manifest = "{apiVersion: catena.dev/v1, kind: Broker, metadata: {name: default}, spec: {}}";
    let broker = serde_json::to_value(&parse(manifest).unwrap()[0].spec).unwrap();
    fn check(path: &str, written: &serde_json::Value) {
        let Some(fields) = written.as_object() else {
            let said = explain(Kind::Broker, path).unwrap().default;
            assert_eq!(said.as_ref(), Some(written), "{path}");
            return;
        };
        for (name, value) in fields {
            check(&format!("{path}.{name}"), value);
        }
    }
    check("", &broker);
}
