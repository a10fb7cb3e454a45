//! The shape of the house: what the compiler cannot check and reviews forget.
//!
//! Each test collects everything that is wrong and says where. The rules are those of DESIGN.md,
//! section 2, and of STYLE.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A crate, and which of ours it may use: itself and its tests apart, nothing else.
const ARROWS: &[(&str, &[&str])] = &[
    ("catena-mqtt", &[]),
    ("catena-resources", &["catena-mqtt"]),
    ("catena-policy", &["catena-mqtt", "catena-resources"]),
    ("catena-slots", &[]),
    ("catena-link", &[]),
    (
        "catena-shard",
        &["catena-mqtt", "catena-link", "catena-slots"],
    ),
    ("catena-chain", &["catena-link", "catena-slots"]),
    // What a chain is, is said in one type, which the chain manager makes and the replicas adopt.
    ("catena-topology", &["catena-slots", "catena-chain"]),
    (
        "catena-replicated",
        &[
            "catena-link",
            "catena-slots",
            "catena-shard",
            "catena-chain",
            "catena-mqtt",
        ],
    ),
    // A connection speaks MQTT to its client and ops to the shards.
    (
        "catena-connection",
        &[
            "catena-mqtt",
            "catena-policy",
            "catena-link",
            "catena-slots",
            "catena-shard",
        ],
    ),
    ("catena-proto", &[]),
    ("catena-runtime", &[]),
    ("catena-secrets", &[]),
    // What the Broker says of diagnostics is read there.
    ("catena-telemetry", &["catena-resources", "catena-mqtt"]),
    (
        "catena-authentication",
        &[
            "catena-mqtt",
            "catena-resources",
            "catena-runtime",
            "catena-secrets",
        ],
    ),
    // What the Broker and listeners say of certificates is read there.
    ("catena-pki", &["catena-resources", "catena-mqtt"]),
    ("catena-transport", LIBRARY),
    ("catena-membership", LIBRARY),
    ("catena-storage", CORE),
    ("catena-membership", LIBRARY),
    ("catena-gateway", LIBRARY),
    ("catena-backend", LIBRARY),
    ("catena-control-plane", LIBRARY),
    ("catena", ANY),
    ("catena-tests", ANY),
];

/// Pure crates: no IO, no clock, no randomness, no tasks.
const CORE: &[&str] = &[
    "catena-mqtt",
    "catena-policy",
    "catena-resources",
    "catena-slots",
    "catena-link",
    "catena-shard",
    "catena-chain",
    "catena-topology",
    "catena-replicated",
    "catena-connection",
];

/// What the three process libraries may use: never each other.
const LIBRARY: &[&str] = &[
    "catena-mqtt",
    "catena-policy",
    "catena-resources",
    "catena-slots",
    "catena-link",
    "catena-shard",
    "catena-chain",
    "catena-topology",
    "catena-replicated",
    "catena-connection",
    "catena-proto",
    "catena-runtime",
    "catena-secrets",
    "catena-authentication",
    "catena-pki",
    "catena-telemetry",
    "catena-transport",
    "catena-membership",
    "catena-storage",
    "catena-membership",
];

/// The binary and the tests may use everything.
const ANY: &[&str] = &["*"];

/// What a pure crate may not even pull in through others.
const IMPURE_CRATES: &[&str] = &[
    "futures",
    "futures-util",
    "getrandom",
    "log",
    "mio",
    "parking_lot",
    "prost",
    "rand",
    "rustix",
    "socket2",
    "tokio",
    "tonic",
    "tracing",
];

/// What the code of a pure crate may not say. The standard library has enough to break it.
const IMPURE_CODE: &[&str] = &[
    ".await",
    "async fn",
    "async move",
    "eprintln!",
    "Instant::now",
    "println!",
    "static mut",
    "std::env",
    "std::fs",
    "std::io",
    "std::process",
    "std::sync::Mutex",
    "std::thread",
    "SystemTime",
    "TcpStream",
    "thread_local!",
];

/// Where a lock is all the same: DECISIONS.md 62 and 65 say why.
const LOCKS: &[&str] = &[
    "services/core/shard/src/segment.rs",
    "services/core/shard/src/shard.rs",
    "services/core/shard/src/watch.rs",
];

/// Names of rooms that end up holding anything.
const NAMELESS: &[&str] = &["common", "helpers", "misc", "types", "util", "utils"];

/// No file has as many lines as this.
const LINES_MAX: usize = 1_000;

/// The rules of the data path, F-1 to F-90.
const FLOW_RULES: &[std::ops::RangeInclusive<u32>] = &[
    1..=4,
    10..=26,
    30..=37,
    40..=45,
    50..=59,
    60..=67,
    70..=73,
    80..=80,
    90..=90,
];

/// The rules of replication, C-1 to C-66.
const CHAIN_RULES: &[std::ops::RangeInclusive<u32>] =
    &[1..=4, 10..=16, 20..=25, 30..=35, 40..=45, 50..=53, 59..=66];

/// A crate that reaches for one beside or above it cannot be tested, moved or understood alone.
#[test]
fn arrows_point_one_way() {
    let mut problems = Problems::default();
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for (name, used) in our_crates() {
        let Some(allowed) = arrows.get(name.as_str()) else {
            problems.add(
                &name,
                "is not in the table of who may use whom (tests/house.rs)",
            );
            continue;
        };
        for other in used {
            if *allowed != ANY && !allowed.contains(&other.as_str()) {
                problems.add(&name, &format!("may not use {other}"));
            }
        }
    }
    problems.assert_none();
}

/// A pure crate that knows a clock, a socket or a random number cannot be replayed.
#[test]
fn the_core_is_pure() {
    let mut problems = Problems::default();
    for (name, _) in our_crates() {
        if !CORE.contains(&name.as_str()) {
            continue;
        }
        let tree = cargo(&[
            "tree",
            "--package",
            &name,
            "--edges",
            "normal",
            "--prefix",
            "none",
        ]);
        for dependency in tree.lines().filter_map(|line| line.split(' ').next()) {
            if IMPURE_CRATES.contains(&dependency) {
                problems.add(&name, &format!("pulls in {dependency}"));
            }
        }
    }
    for file in rust_files().filter(|file| file.path.starts_with("services/core")) {
        let production = file.production();
        for (number, line) in lines(&production) {
            let code = line.split("//").next().unwrap_or_default();
            for impure in IMPURE_CODE.iter().filter(|impure| says(code, impure)) {
                problems.add(&file.at(number), &format!("{impure} in a pure crate"));
            }
        }
        for path in imports(&production) {
            let is_allowed = |impure: &str| {
                impure == "std::sync::Mutex" && LOCKS.iter().any(|room| file.path.ends_with(room))
            };
            let mut impure = IMPURE_CODE.iter().filter(|impure| says(&path, impure));
            if let Some(impure) = impure.find(|impure| !is_allowed(impure)) {
                problems.add(&file.name(), &format!("{impure} in a pure crate"));
            }
        }
    }
    problems.assert_none();
}

/// What a pure crate must not import could be hidden in a group.
#[test]
fn groups_of_imports_are_seen_through() {
    let source = "use std::{\n    fmt,\n    sync::{Arc, Mutex as Lock},\n};\npub use a::b;\nfn f() { use x::{y, z}; }\n";
    assert_eq!(
        imports(source),
        [
            "std::fmt",
            "std::sync::Arc",
            "std::sync::Mutex as Lock",
            "a::b",
            "x::y",
            "x::z"
        ]
    );
}

/// A crate outside the shared lints may hold unsafe code.
#[test]
fn every_crate_shares_the_lints_and_the_licence() {
    let mut problems = Problems::default();
    for file in files()
        .filter(|file| file.path.ends_with("Cargo.toml") && file.path.components().count() > 1)
    {
        // A fuzz crate is a workspace of its own.
        if file.text.contains("[workspace]") {
            continue;
        }
        for wanted in [
            "[lints]\nworkspace = true",
            "license.workspace = true",
            "publish.workspace = true",
        ] {
            if !file.text.contains(wanted) {
                problems.add(&file.name(), &format!("lacks {wanted:?}"));
            }
        }
    }
    problems.assert_none();
}

/// Code that is not written yet panics when it is reached, and a test that is ignored shows nothing.
#[test]
fn nothing_is_left_undone() {
    let undone = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[", "ignore"),
        concat!("dbg", "!("),
    ];
    let mut problems = Problems::default();
    for file in rust_files() {
        for (number, line) in lines(&file.text) {
            for left in undone.iter().filter(|left| line.contains(**left)) {
                problems.add(&file.at(number), &format!("{left} is left"));
            }
        }
    }
    problems.assert_none();
}

/// A file that everything goes into is read by nobody.
#[test]
fn rooms_are_small_and_named_after_what_they_hold() {
    let mut problems = Problems::default();
    for file in files() {
        for part in file.path.with_extension("").components() {
            let part = part.as_os_str().to_string_lossy();
            if NAMELESS.contains(&part.as_ref()) {
                problems.add(&file.name(), &format!("{part} is no name"));
            }
        }
        let is_code =
            file.has_extension(&["rs", "py", "js", "sh", "proto", "yaml", "tpl", "service"]);
        let count = file.text.lines().count();
        if is_code && count >= LINES_MAX {
            problems.add(&file.name(), &format!("has {count} lines"));
        }
    }
    for file in
        rust_files().filter(|file| !file.production().is_empty() && !file.text.starts_with("//!"))
    {
        problems.add(
            &file.name(),
            "does not begin by saying what it is for (//!)",
        );
    }
    problems.assert_none();
}

/// What is deployed changes by itself where an image is named without its version, or runs as root, and nobody has changed anything.
#[test]
fn what_is_deployed_is_named_by_its_version_and_is_not_root() {
    let mut problems = Problems::default();
    let of = |file: &File, room: &str| file.path.starts_with(room);
    for file in files().filter(|file| of(file, "docker") || of(file, "helm")) {
        for (number, line) in lines(&file.text) {
            let line = line.trim();
            let names_image = line.starts_with("image: ") || line.starts_with("ARG BUILDER=");
            // `${NAME:-IMAGE:TAG}`, or a template that puts them together.
            let has_version = line.contains("{{")
                || line.matches(':').count() >= 2 + line.matches(":-").count()
                || (line.starts_with("ARG ") && line.contains(':'))
                || line.contains("tag:");
            if line.contains(":latest") || (names_image && !has_version) && line != "image:" {
                problems.add(&file.at(number), "names an image without its version");
            }
        }
    }
    let mut units = 0;
    for file in files().filter(|file| file.has_extension(&["service"])) {
        units += 1;
        for wanted in [
            "User=catena",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "CapabilityBoundingSet=",
        ] {
            if !file.text.lines().any(|line| line.starts_with(wanted)) {
                problems.add(&file.name(), &format!("lacks {wanted}"));
            }
        }
    }
    assert!(units >= 4, "the units are not where they should be");
    problems.assert_none();
}

/// A path of one machine works on no other, and an address of a registry rots.
#[test]
fn nothing_names_a_machine_or_a_registry() {
    let places = [
        concat!("/", "work/"),
        concat!("/", "root/"),
        concat!("/", "home/"),
    ];
    let hosts = [
        concat!("static.", "crates.io"),
        concat!("index.", "crates.io"),
        concat!("registry.", "npmjs.org"),
        concat!("python", "hosted.org"),
        concat!("pypi", ".org"),
        concat!("deb.", "debian.org"),
    ];
    let mut problems = Problems::default();
    for file in files() {
        for (number, line) in lines(&file.text) {
            for place in places.iter().filter(|place| names_place(line, place)) {
                problems.add(&file.at(number), &format!("names the place {place}"));
            }
            for host in hosts.iter().filter(|host| line.contains(**host)) {
                problems.add(&file.at(number), &format!("names the host {host}"));
            }
            let is_source = file.path.ends_with("Cargo.lock") && line.starts_with("source = ");
            if is_source
                && !line.ends_with(concat!(
                    "\"registry+https://github.com/rust-lang/",
                    "crates.io-index\""
                ))
            {
                problems.add(&file.at(number), "not from the public registry of crates");
            }
        }
    }
    problems.assert_none();
}

/// A number that no rule has sends its reader looking for nothing.
#[test]
fn named_rules_exist() {
    let mut problems = Problems::default();
    for file in files().filter(|file| {
        file.has_extension(&["rs", "py", "js", "txt", "sh", "yaml", "tpl", "service"])
    }) {
        for (number, line) in lines(&file.text) {
            for (letter, rules) in [('F', FLOW_RULES), ('C', CHAIN_RULES)] {
                for rule in rules_named(line, letter)
                    .iter()
                    .filter(|rule| !is_rule(rules, **rule))
                {
                    problems.add(
                        &file.at(number),
                        &format!("there is no rule {letter}-{rule}"),
                    );
                }
            }
        }
    }
    problems.assert_none();
}

/// Each rule of the data path is there because something breaks without it; a test that shows this
/// names the rule. Those that no test names yet are listed in a file, which may only shrink:
/// `make rules` takes off it what is tested now.
#[test]
fn rules_are_tested() {
    let list = workspace().join("tests/house/untested-rules.txt");
    let text = fs::read_to_string(&list).expect("the list is there");
    let listed: BTreeSet<u32> = lines(&text)
        .filter(|(_, line)| !line.starts_with('#'))
        .flat_map(|(_, line)| rules_named(line, 'F'))
        .collect();
    let tested: BTreeSet<u32> = rust_files()
        .flat_map(|file| rules_named(&file.tests(), 'F'))
        .collect();
    let untested: BTreeSet<u32> = FLOW_RULES
        .iter()
        .cloned()
        .flatten()
        .filter(|rule| !tested.contains(rule))
        .collect();

    if std::env::var_os("CATENA_HOUSE_SHRINK").is_some() {
        let left = listed.intersection(&untested);
        let header = text
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(str::to_owned);
        let kept: Vec<String> = header.chain(left.map(|rule| format!("F-{rule}"))).collect();
        fs::write(&list, kept.join("\n") + "\n").expect("the list can be written");
        return;
    }
    println!("{} rules are not tested yet: {untested:?}", untested.len());
    let mut problems = Problems::default();
    for rule in untested.difference(&listed) {
        problems.add(&format!("F-{rule}"), "is named by no test any more");
    }
    for rule in listed.difference(&untested) {
        problems.add(
            &format!("F-{rule}"),
            "is tested now: `make rules` takes it off the list",
        );
    }
    problems.assert_none();
}

/// What is wrong, gathered so that one run shows all of it.
#[derive(Default)]
struct Problems(String);

impl Problems {
    fn add(&mut self, place: &str, problem: &str) {
        writeln!(self.0, "  {place}: {problem}").expect("a string takes everything");
    }

    fn assert_none(&self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}

/// A text file of the repository.
struct File {
    /// From the workspace.
    path: PathBuf,
    text: String,
}

impl File {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    fn has_extension(&self, wanted: &[&str]) -> bool {
        self.path
            .extension()
            .is_some_and(|extension| wanted.iter().any(|wanted| extension == *wanted))
    }

    fn has_part(&self, wanted: &str) -> bool {
        self.path
            .with_extension("")
            .components()
            .any(|part| part.as_os_str() == wanted)
    }

    /// Is it part of a library or of a binary?
    fn is_source(&self) -> bool {
        self.has_part("src")
    }

    /// The part that is not compiled for tests alone. Tests stand at the end of a file.
    fn production(&self) -> String {
        match (
            self.is_source() && !self.has_part("tests"),
            self.text.find("#[cfg(test)]"),
        ) {
            (true, Some(end)) => self.text[..end].to_owned(),
            (true, None) => self.text.clone(),
            (false, _) => String::new(),
        }
    }

    /// The part that is compiled for tests alone. This file speaks of rules, but tests none.
    fn tests(&self) -> String {
        if self.path.ends_with("tests/house.rs") {
            return String::new();
        }
        self.text[self.production().len()..].to_owned()
    }
}

/// All text files of the repository, those that were built or installed left out.
fn files() -> impl Iterator<Item = File> {
    let mut found = Vec::new();
    collect(&workspace(), &mut found);
    found.sort();
    assert!(found.len() > 50, "the workspace is not where it should be");
    found.into_iter().filter_map(|path| {
        // What is no text names nothing.
        let text = fs::read_to_string(&path).ok()?;
        let path = path
            .strip_prefix(workspace())
            .expect("it was found there")
            .to_owned();
        Some(File { path, text })
    })
}

fn rust_files() -> impl Iterator<Item = File> {
    files().filter(|file| file.has_extension(&["rs"]))
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of the repository") {
        let path = entry.expect("a directory of the repository").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_ours = !matches!(
            name.as_str(),
            ".git" | ".tools" | "node_modules" | "target" | "dist" | "corpus" | "artifacts"
        );
        if path.is_dir() && is_ours && !path.join("CACHEDIR.TAG").exists() {
            collect(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// Our crates, and which of ours each uses outside its tests.
fn our_crates() -> Vec<(String, Vec<String>)> {
    let metadata: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"]))
            .expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let name = |value: &serde_json::Value| value["name"].as_str().expect("a name").to_owned();
    let used = |package: &serde_json::Value| {
        let dependencies = package["dependencies"]
            .as_array()
            .expect("a list of dependencies");
        let ours = dependencies
            .iter()
            .filter(|dependency| dependency["path"].is_string());
        ours.filter(|dependency| dependency["kind"].is_null())
            .map(name)
            .collect()
    };
    packages
        .iter()
        .map(|package| (name(package), used(package)))
        .collect()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .args(["--offline", "--locked"])
        .current_dir(workspace())
        .output()
        .expect("there is a cargo");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .to_owned()
}

/// The lines with their numbers, from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

/// The paths of all `use` declarations, each in full.
fn imports(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for declaration in source.split("use ").skip(1) {
        let declaration = declaration.split(';').next().unwrap_or_default();
        unfold("", declaration, &mut found);
    }
    found
}

/// Adds each path of `tree`, behind `prefix`.
fn unfold(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((path, group)) = tree.split_once('{') else {
        if !tree.is_empty() {
            found.push(format!("{prefix}{tree}"));
        }
        return;
    };
    let prefix = format!("{prefix}{}", path.trim());
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let (mut depth, mut from) = (0, 0);
    for (at, sign) in group.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                unfold(&prefix, &group[from..at], found);
                from = at + 1;
            }
            _ => {}
        }
    }
    unfold(&prefix, &group[from..], found);
}

/// Does the code say `phrase`, not as the start of a longer word?
fn says(code: &str, phrase: &str) -> bool {
    code.match_indices(phrase).any(|(index, _)| {
        let after = code[index + phrase.len()..].chars().next();
        !after.is_some_and(|after| after.is_alphanumeric() || after == '_')
    })
}

/// Does the line name `place` at the root, not as a part of another path?
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(index, _)| {
        let before = line[..index].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "._-/}*~$".contains(before))
    })
}

/// The numbers of the rules that a text names: of `F-12` 12.
fn rules_named(text: &str, letter: char) -> Vec<u32> {
    let start = format!("{letter}-");
    let named = text.match_indices(&start).filter_map(|(index, _)| {
        let before = text[..index].chars().next_back();
        let rest = &text[index + start.len()..];
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let after = rest[digits..].chars().next();
        let part_of_a_word =
            |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_');
        let alone = !part_of_a_word(before) && !part_of_a_word(after);
        alone.then(|| rest[..digits].parse().ok()).flatten()
    });
    named.collect()
}

fn is_rule(rules: &[std::ops::RangeInclusive<u32>], rule: u32) -> bool {
    rules.iter().any(|range| range.contains(&rule))
}
