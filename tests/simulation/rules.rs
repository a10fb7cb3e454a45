//! The simulator proves that it would notice: each rule that is switched off is found out.
//!
//! The table in docs/simulation.md comes from here: `CATENA_SIM_WRITE=1` writes it anew.

use std::{fmt::Write as _, fs, path::PathBuf};

use catena_chain::Rule;
use catena_connection::Rule as G;
use catena_shard::Rule as F;

use crate::{
    parallel,
    plan::{Kind, Loosened},
    run,
};

/// A rule, how it is loosened, and within how many seeds of which kind that is found.
struct Needed {
    rule: Loosened,
    kind: Kind,
    loosened: &'static str,
    seeds: u64,
}

const fn needed(rule: Loosened, seeds: u64, loosened: &'static str) -> Needed {
    let kind = match rule {
        Loosened::Shard(_) | Loosened::Connection(_) => Kind::Clients,
        _ => Kind::Writes,
    };
    Needed {
        rule,
        kind,
        loosened,
        seeds,
    }
}

const NEEDED: &[Needed] = &[
    needed(
        Loosened::Chain(Rule::C1),
        100,
        "a process that restarts keeps its name and plays its old role without state",
    ),
    needed(
        Loosened::Chain(Rule::C2),
        500,
        "generations are not compared",
    ),
    needed(
        Loosened::Chain(Rule::C3),
        500,
        "a replica keeps its state whatever its id and the generation are",
    ),
    needed(
        Loosened::Chain(Rule::C4),
        100,
        "an Open to a replica that is not head or tail is dropped",
    ),
    needed(
        Loosened::Chain(Rule::C10),
        100,
        "only the next epoch is adopted, none is skipped",
    ),
    needed(
        Loosened::Chain(Rule::C11),
        1_000,
        "nobody but the control plane hands a configuration on",
    ),
    needed(
        Loosened::C12,
        200,
        "a learner is promoted that was not reported",
    ),
    needed(
        Loosened::C13,
        500,
        "all but one are evicted although nobody is live",
    ),
    needed(Loosened::C14, 100, "silence counts as proof of death"),
    needed(Loosened::C15, 500, "writes to the store compare nothing"),
    needed(
        Loosened::Chain(Rule::C20),
        500,
        "streams go on after a break without Hello, and gaps are taken",
    ),
    needed(
        Loosened::Chain(Rule::C21),
        100,
        "entries of an earlier epoch are dropped",
    ),
    needed(
        Loosened::Chain(Rule::C22),
        100,
        "a replica that is not the tail calls committed what it has applied",
    ),
    needed(
        Loosened::Chain(Rule::C23),
        1_000,
        "what leaves a tail is not cut at the commit index",
    ),
    needed(
        Loosened::Chain(Rule::C30),
        1_000,
        "a learner installs whatever snapshot arrives",
    ),
    needed(
        Loosened::Chain(Rule::C31),
        200,
        "a tail in sync commits alone",
    ),
    needed(
        Loosened::Chain(Rule::C32),
        500,
        "a learner is reported before it has what was committed",
    ),
    needed(Loosened::C33, 2_000, "a report counts in any epoch"),
    needed(Loosened::C34, 200, "a learner that is lost is not dropped"),
    needed(
        Loosened::C35,
        100,
        "a node that returns is put at the end of the chain without joining",
    ),
    needed(
        Loosened::Chain(Rule::C40),
        500,
        "`applied_through` releases an origin's ops",
    ),
    needed(
        Loosened::Chain(Rule::C41),
        2_000,
        "an origin takes effects that it has taken before",
    ),
    needed(
        Loosened::Chain(Rule::C42),
        3_000,
        "what another shard's head has applied counts as committed there",
    ),
    needed(
        Loosened::Chain(Rule::C43),
        2_000,
        "gateways that are not live are admitted",
    ),
    needed(
        Loosened::Chain(Rule::C62),
        500,
        "an entry counts before it is durable",
    ),
    needed(
        Loosened::Chain(Rule::C65),
        1_000,
        "a disk that is begun while the replica goes on counts as soon as its snapshot is there",
    ),
    needed(
        Loosened::Chain(Rule::C66),
        500,
        "entries are committed without a disk that has not yet forgotten",
    ),
    needed(
        Loosened::C63,
        500,
        "whatever a disk has of the shard is gone on from, also a learner's or that of an earlier chain",
    ),
    needed(
        Loosened::C64,
        500,
        "a disk that may lack what was acknowledged is gone on from as if nothing were missing",
    ),
    needed(
        Loosened::Shard(F::F3),
        500,
        "ops of earlier connections and sessions are taken",
    ),
    needed(
        Loosened::Shard(F::F12),
        100,
        "a takeover does not wait for the old connection",
    ),
    needed(
        Loosened::Shard(F::F21),
        500,
        "CONNECT is answered while a will of the client is on its way",
    ),
    needed(
        Loosened::Shard(F::F22),
        100,
        "home is not told which shards hold something of a session",
    ),
    needed(
        Loosened::Connection(G::F41),
        500,
        "QoS 0 past the log does not wait for the log, nor the other way round",
    ),
    needed(
        Loosened::Shard(F::F42),
        100,
        "packet ids of QoS 2 publishes are not remembered",
    ),
    needed(
        Loosened::Connection(G::F56),
        500,
        "PUBREL leaves before PUBREC is committed",
    ),
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
        (
            "on the disk of",
            "a shard that starts empty although it is on a disk",
        ),
        (
            "as if nothing were missing",
            "a shard that goes on without what was committed",
        ),
        ("left out of", "a chain without any holder of its state"),
        ("acknowledged and lost", "an acknowledged op that is lost"),
        ("never got it", "an acknowledged publish that never arrives"),
        (
            "none of its group",
            "an acknowledged publish that never arrives",
        ),
        ("never came to", "an op between shards that is lost"),
        ("applied twice", "an op that is applied twice"),
        (
            "got answer",
            "effects that are lost, doubled or out of order",
        ),
        ("answered twice", "effects that are doubled"),
        ("connected twice", "two connections of one session at once"),
        ("lost its session", "a session that is lost"),
        ("although it was disconnected", "a will that nobody wanted"),
        ("will of socket", "a will that never comes"),
        ("heard last", "an old will that overtakes what is newer"),
        ("out of order", "messages that change their order"),
        ("twice at", "a message that is delivered twice"),
        ("is in use", "a packet id that is given twice"),
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

/// The first seed that finds each rule missing. Two threads share the rules.
fn search() -> Vec<Option<(u64, String)>> {
    let only = std::env::var("CATENA_SIM_RULE").ok();
    let find = |needed: &Needed| {
        if only
            .as_ref()
            .is_some_and(|only| *only != needed.rule.name())
        {
            return None;
        }
        let off = Some(needed.rule);
        (1..=needed.seeds).find_map(|seed| Some((seed, run(needed.kind, seed, off).err()?)))
    };
    parallel(NEEDED.iter(), find)
}

/// A rule that nobody would miss need not be kept, and a simulator that finds nothing shows nothing.
#[test]
fn every_rule_is_needed() {
    let mut table = String::from(
        "| rule | switched off, it means that | then the simulator finds | first in seed |\n|---|---|---|---|\n",
    );
    let mut missed = Vec::new();
    for (needed, found) in NEEDED.iter().zip(search()) {
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
    if std::env::var_os("CATENA_SIM_RULE").is_some() {
        return;
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
