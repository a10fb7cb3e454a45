//! The simulator proves that it would notice: each rule that is switched off is found out.
//!
//! The table in docs/simulation.md comes from here: `CATENA_SIM_WRITE=1` writes it anew.

use std::{fmt::Write as _, fs, path::PathBuf};

use catena_chain::Rule;

use crate::{plan::Loosened, run};

/// A rule, how it is loosened, and within how many seeds that is found.
struct Needed {
    rule: Loosened,
    loosened: &'static str,
    seeds: u64,
}

const fn needed(rule: Rule, seeds: u64, loosened: &'static str) -> Needed {
    Needed {
        rule: Loosened::Chain(rule),
        loosened,
        seeds,
    }
}

const NEEDED: &[Needed] = &[
    needed(
        Rule::C1,
        100,
        "a process that restarts keeps its name and plays its old role without state",
    ),
    needed(Rule::C2, 100, "generations are not compared"),
    needed(
        Rule::C3,
        500,
        "a replica keeps its state whatever its id and the generation are",
    ),
    needed(
        Rule::C4,
        100,
        "an Open to a replica that is not head or tail is dropped",
    ),
    needed(
        Rule::C10,
        100,
        "only the next epoch is adopted, none is skipped",
    ),
    needed(
        Rule::C11,
        1_000,
        "nobody but the control plane hands a configuration on",
    ),
    Needed {
        rule: Loosened::C12,
        loosened: "a learner is promoted that was not reported",
        seeds: 200,
    },
    Needed {
        rule: Loosened::C14,
        loosened: "silence counts as proof of death",
        seeds: 100,
    },
    needed(
        Rule::C20,
        500,
        "streams go on after a break without Hello, and gaps are taken",
    ),
    needed(Rule::C21, 100, "entries of an earlier epoch are dropped"),
    needed(
        Rule::C22,
        100,
        "a replica that is not the tail calls committed what it has applied",
    ),
    needed(
        Rule::C23,
        1_000,
        "what leaves a tail is not cut at the commit index",
    ),
    needed(
        Rule::C30,
        1_000,
        "a learner installs whatever snapshot arrives",
    ),
    needed(Rule::C31, 100, "a tail in sync commits alone"),
    needed(
        Rule::C32,
        200,
        "a learner is reported before it has what was committed",
    ),
    Needed {
        rule: Loosened::C33,
        loosened: "a report counts in any epoch",
        seeds: 2_000,
    },
    Needed {
        rule: Loosened::C35,
        loosened: "a node that returns is put at the end of the chain without joining",
        seeds: 100,
    },
    needed(Rule::C40, 500, "`applied_through` releases an origin's ops"),
    needed(
        Rule::C41,
        2_000,
        "an origin takes effects that it has taken before",
    ),
    needed(
        Rule::C42,
        200,
        "what another shard's head has applied counts as committed there",
    ),
    needed(Rule::C43, 100, "gateways that are not live are admitted"),
];

/// What a violation comes down to, for the table.
fn kind(violation: &str) -> &'static str {
    const KINDS: &[(&str, &str)] = &[
        (
            "is no prefix",
            "a log that is no prefix of its predecessor's",
        ),
        ("another history", "two histories of what was committed"),
        (
            "Mismatch",
            "a replica whose log does not fit its predecessor's",
        ),
        ("Diverged", "replicas whose effects differ"),
        (
            "started empty",
            "a shard that starts empty although its state lives",
        ),
        ("acknowledged and lost", "an acknowledged op that is lost"),
        ("never came", "an op between shards that is lost"),
        ("applied twice", "an op that is applied twice"),
        (
            "got answer",
            "effects that are lost, doubled or out of order",
        ),
        ("answered twice", "effects that are doubled"),
        ("waits for", "a client that waits for ever"),
        ("full strength", "a chain that is never whole again"),
        ("differ", "replicas that differ in the end"),
        ("still owes", "an outbox that is never emptied"),
        ("no registration", "a gateway that is never admitted"),
        ("never becomes quiet", "messages that go round in circles"),
    ];
    let found = KINDS.iter().find(|(part, _)| violation.contains(part));
    found.map_or("something else", |(_, kind)| kind)
}

/// A rule that nobody would miss need not be kept, and a simulator that finds nothing shows nothing.
#[test]
fn every_rule_is_needed() {
    let mut table = String::from(
        "| rule | switched off, it means that | then the simulator finds | first in seed |\n|---|---|---|---|\n",
    );
    let mut missed = Vec::new();
    for needed in NEEDED {
        let off = Some(needed.rule);
        let found = (1..=needed.seeds).find_map(|seed| Some((seed, run(seed, off).err()?)));
        let name = needed.rule.name();
        match found {
            Some((seed, violation)) => {
                println!("{name} off, seed {seed}: {violation}");
                let (loosened, kind) = (needed.loosened, kind(&violation));
                writeln!(table, "| {name} | {loosened} | {kind} | {seed} |")
                    .expect("a string takes everything");
            }
            None => missed.push(format!("{name} off is not found in {} seeds", needed.seeds)),
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/simulation.md");
    let text = fs::read_to_string(&path).expect("docs/simulation.md is there");
    let begin = text.find("| rule |").expect("the table begins");
    let end = begin
        + text[begin..]
            .find("\n\n")
            .expect("a blank line ends the table")
        + 1;
    if std::env::var_os("CATENA_SIM_WRITE").is_some() {
        let text = format!("{}{table}{}", &text[..begin], &text[end..]);
        fs::write(&path, text).expect("docs/simulation.md can be written");
        return;
    }
    // Which seed is the first changes with every change of the code; which rules there are does not.
    let rules = |table: &str| -> Vec<String> {
        let rows = table.lines().skip(2);
        let columns = |row: &str| row.split('|').skip(1).take(2).collect();
        rows.map(columns).collect()
    };
    assert_eq!(
        rules(&text[begin..end]),
        rules(&table),
        "docs/simulation.md has another table: CATENA_SIM_WRITE=1 writes it anew"
    );
}
