//! The tables of statements, and their agreement with the tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde::Deserialize;

/// The share of the statements that bind a server which tests have to show, in percent.
const SHOWN_AT_LEAST: usize = 95;
/// How many statements appendix B of the standard has, by version.
const TABLES: [(&str, usize); 2] = [("v5", 251), ("v3.1.1", 141)];

/// A normative statement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    /// What it asks for.
    says: String,
    binds: Binds,
    /// The tests that show it.
    #[serde(default)]
    shown_by: BTreeSet<String>,
    /// Why no test can.
    unshown: Option<String>,
}

/// Whom a statement obliges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Binds {
    Server,
    Client,
    Both,
}

type Table = BTreeMap<String, Statement>;

/// If this fails, somebody lost or invented a statement.
#[test]
fn the_tables_are_whole() {
    for (version, count) in TABLES {
        let table = table(version);
        assert_eq!(table.len(), count, "{version}");
        for (id, statement) in &table {
            assert!(is_id(id), "{version} {id}");
            assert!(!statement.says.is_empty(), "{version} {id}");
            let shown = !statement.shown_by.is_empty();
            let reasoned = statement
                .unshown
                .as_ref()
                .is_some_and(|reason| !reason.is_empty());
            let needed = statement.binds != Binds::Client;
            assert!(!(shown && reasoned), "{version} {id} is shown, and is not");
            assert!(
                shown || reasoned || !needed,
                "{version} {id} is neither shown nor explained"
            );
        }
    }
}

/// If this fails, a table names a test that is not there, or a test a statement that is not its own.
#[test]
fn tables_and_tests_agree() {
    let tests = tests();
    for (version, _) in TABLES {
        let table = table(version);
        for (id, statement) in &table {
            let tagged: BTreeSet<_> = tests
                .iter()
                .filter(|test| test.tags.contains(&(version.to_owned(), id.clone())))
                .map(|test| test.name.clone())
                .collect();
            assert_eq!(
                statement.shown_by, tagged,
                "{version} {id}: the table, then the tests"
            );
        }
        for test in &tests {
            for (_, id) in test.tags.iter().filter(|(of, _)| of == version) {
                assert!(
                    table.contains_key(id),
                    "{} shows {version} {id}, unknown",
                    test.name
                );
            }
        }
    }
}

/// If this fails, a test that shows statements is never run.
#[test]
fn every_tagged_test_runs_on_shards() {
    for test in tests() {
        assert!(test.on_shards, "{} is not in on_shards!", test.name);
        assert!(!test.tags.is_empty(), "{} shows no statement", test.name);
    }
}

/// If this fails, too much of the standard is not shown any more.
#[test]
fn enough_is_shown() {
    for (version, _) in TABLES {
        let table = table(version);
        let binding: Vec<_> = table
            .iter()
            .filter(|(_, s)| s.binds != Binds::Client)
            .collect();
        let unshown: Vec<_> = binding
            .iter()
            .filter(|(_, s)| s.shown_by.is_empty())
            .collect();
        let (all, shown) = (binding.len(), binding.len() - unshown.len());
        println!("{version}: {shown} of {all} statements that bind a server are shown");
        for (id, statement) in &unshown {
            println!(
                "  {id}: {}",
                statement.unshown.as_deref().unwrap_or("no reason")
            );
        }
        assert!(
            shown * 100 >= all * SHOWN_AT_LEAST,
            "{version}: {shown} of {all}"
        );
    }
}

/// A test function with what its documentation says.
#[derive(Debug)]
struct Test {
    name: String,
    /// (version, id)
    tags: BTreeSet<(String, String)>,
    on_shards: bool,
}

fn directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

fn table(version: &str) -> Table {
    let path = directory().join(format!("statements-{version}.toml"));
    let text = fs::read_to_string(&path).expect("the table is there");
    toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All functions that take a broker as a test does, in the sources beside this one.
fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for entry in fs::read_dir(directory()).expect("the sources are there") {
        let path = entry.expect("the sources can be listed").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            tests.extend(tests_in(
                &fs::read_to_string(path).expect("a source can be read"),
            ));
        }
    }
    assert!(tests.len() > 50, "the sources are read wrongly");
    tests
}

fn tests_in(source: &str) -> Vec<Test> {
    let listed: BTreeSet<_> = source
        .split_once("on_shards!(")
        .and_then(|(_, rest)| rest.split_once(");"))
        .map(|(names, _)| {
            names
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .collect()
        })
        .unwrap_or_default();
    let mut tests = Vec::new();
    let mut tags = BTreeSet::new();
    for line in source.lines() {
        if let Some(documentation) = line.strip_prefix("/// ") {
            tags.extend(tags_of(documentation));
        } else if let Some(name) = test_name(line) {
            tests.push(Test {
                name: name.to_owned(),
                tags: std::mem::take(&mut tags),
                on_shards: listed.contains(name),
            });
        } else if line != "///" {
            assert!(
                tags.is_empty(),
                "tags that belong to no test, before {line:?}"
            );
        }
    }
    tests
}

/// The name of the test that begins on this line, if one does.
fn test_name(line: &str) -> Option<&str> {
    line.strip_prefix("fn ")?
        .strip_suffix("(broker: &Broker) {")
}

/// The statements that a line `v5 [MQTT-3.1.0-1] ...` names.
fn tags_of(documentation: &str) -> Vec<(String, String)> {
    let Some((version, ids)) = documentation.split_once(' ') else {
        return Vec::new();
    };
    if !TABLES.iter().any(|(known, _)| *known == version) {
        return Vec::new();
    }
    ids.split_whitespace()
        .map(|id| {
            let id = id
                .strip_prefix('[')
                .and_then(|id| id.strip_suffix(']'))
                .unwrap_or(id);
            assert!(is_id(id), "{documentation}");
            (version.to_owned(), id.to_owned())
        })
        .collect()
}

/// `MQTT-CHAPTER.SECTION.SUBSECTION-NUMBER`
fn is_id(id: &str) -> bool {
    let numbers = id.strip_prefix("MQTT-").map(|rest| rest.replace('-', "."));
    numbers.is_some_and(|numbers| {
        let parts: Vec<_> = numbers.split('.').collect();
        parts.len() == 4 && parts.iter().all(|part| part.parse::<u8>().is_ok())
    })
}
