//! Prints what the chain manager does into docs/chain-manager.md and ARCHITECTURE.md, and checks that they say what the
//! code does.

mod world;

use std::{fmt::Write as _, fs, path::PathBuf};

use catena_topology::{Rule, Sight, chain};
use world::{World, changed, generation};

const HEADER: &str = "\
# What the chain manager does

Printed by a test from the code in `services/core/topology`, which fails when this file says something else;
`CATENA_CHAIN_MANAGER=write cargo test --package catena-topology --test table` writes it anew.

The chain manager is one pure function of what was decided (the topology in the store), what is seen (heartbeats, reports of
neighbours, refused probes) and what is wanted (the Broker's cardinality). It answers with one step at most. The step is
written by a transaction that compares the leader key and what the step was decided by - for a chain its epoch - and then the
manager is asked again. While a node reports an epoch above the store's, nothing is done at all `[C-16]`.

What is said of a replica:

- *live*: its process heartbeats, and its thread comes on
- *leaving*: live, and its process says that it is about to end, or that its disk is full or failed `[C-64]`
- *silent*: not heard of, but nothing follows from that yet: a new leader, or half of the nodes are silent at once `[C-15]`
- *lost*: silent for the time-out, or its port refuses connections, or its thread stands still
- *kept*: its process ended, and its node's new one has the state of the replica on its disk `[C-63]`
- *dead*: its node registered a newer process without that state, or an administrator declared it gone `[C-14]`

## The rules

Of all steps that could be made, that of the first rule is, and for that rule the one of the lowest shard.

| rule | when | what | keeps |
| --- | --- | --- | --- |
";

const SITUATIONS: &str = "
## One chain, in every situation

A chain of head H and tail T, of which three replicas are wanted; L is its learner, where it has one; a live node is at hand on
which a replica N may join. *Synced*: the tail's report of the learner is in hand. Cells name the rule and the next chain, `+`
its learner; `H'` goes on from H's disk.

";

const STANDINGS: [&str; 4] = ["live", "silent", "lost", "dead"];
/// What may be said of a member.
const MEMBERS: [&str; 5] = ["live", "silent", "lost", "kept", "dead"];

#[test]
fn the_document_says_what_the_code_does() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../docs/chain-manager.md");
    let printed = printed();
    if std::env::var_os("CATENA_CHAIN_MANAGER").is_some_and(|what| what == "write") {
        fs::write(&path, &printed).unwrap();
    }
    let document = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        document == printed,
        "docs/chain-manager.md is not what the code does; should be:\n{printed}"
    );
}

/// What stands around the table in ARCHITECTURE.md.
const BEGIN: &str = "<!-- chain manager: printed by a test, as docs/chain-manager.md is -->\n";
const END: &str = "<!-- end of the chain manager -->";

#[test]
fn the_architecture_says_what_the_code_does() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../ARCHITECTURE.md");
    let document = fs::read_to_string(&path).unwrap();
    let (before, rest) = document
        .split_once(BEGIN)
        .expect("the mark before the table");
    let (stands, after) = rest.split_once(END).expect("the mark behind the table");
    let table = situations();
    if std::env::var_os("CATENA_CHAIN_MANAGER").is_some_and(|what| what == "write") {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(
        stands == table,
        "ARCHITECTURE.md is not what the code does; should be:\n{table}"
    );
}

fn printed() -> String {
    let mut text = HEADER.to_owned();
    for rule in Rule::ALL {
        let (when, what, keeps) = rule.explained();
        writeln!(text, "| {rule:?} | {when} | {what} | {keeps} |").unwrap();
    }
    text.push_str(SITUATIONS);
    text.push_str(&situations());
    text
}

/// The table of situations.
fn situations() -> String {
    let mut text = String::new();
    let learners: Vec<Learner> = [Learner::None]
        .into_iter()
        .chain(STANDINGS.map(|standing| Learner::Joins {
            standing,
            synced: false,
        }))
        .chain(STANDINGS.map(|standing| Learner::Joins {
            standing,
            synced: true,
        }))
        .collect();
    text.push_str("| H | T |");
    for learner in &learners {
        match learner {
            Learner::None => text.push_str(" no L |"),
            Learner::Joins {
                standing,
                synced: false,
            } => write!(text, " L {standing} |").unwrap(),
            Learner::Joins { standing, .. } => write!(text, " L synced, {standing} |").unwrap(),
        }
    }
    writeln!(text, "\n|{}", " --- |".repeat(2 + learners.len())).unwrap();
    for head in MEMBERS {
        for tail in MEMBERS {
            write!(text, "| {head} | {tail} |").unwrap();
            for learner in &learners {
                write!(text, " {} |", cell(head, tail, learner)).unwrap();
            }
            text.push('\n');
        }
    }
    text
}

enum Learner {
    None,
    Joins {
        standing: &'static str,
        synced: bool,
    },
}

/// The step in this situation: nodes 1, 2 and 3 are H, T and L; 4 is there for N.
fn cell(head: &str, tail: &str, learner: &Learner) -> String {
    let mut world = World::with_chain(4, 4, 2);
    world.wanted = catena_topology::Wanted::new(1, 1, 3, 0).unwrap();
    if let Learner::Joins { standing, synced } = learner {
        world.learner(3);
        if *synced {
            world.report_synced();
        }
        stand(&mut world, 3, standing);
    } else {
        // Only one node is to be free.
        world.topology.nodes.remove(&world::name(3));
    }
    stand(&mut world, 1, head);
    stand(&mut world, 2, tail);
    let layout = world.topology.layout.as_ref().unwrap();
    let (topology, observed, wanted) = (&world.topology, &world.observed, &world.wanted);
    let Some(step) = chain::step(topology, layout, observed, wanted, world::SHARD) else {
        return "wait".to_owned();
    };
    let chain = changed(&step).expect("a step of a chain");
    let letter = |member: catena_chain::Member| {
        let of = world.chain().configuration.member(member.id);
        let number = of.map(|member| world.chain().homes[&member.id].0.clone());
        match number.as_deref() {
            Some("node-1") => "H",
            Some("node-2") => "T",
            Some("node-3") => "L",
            _ => "N",
        }
    };
    let configuration = &chain.configuration;
    let members: Vec<&str> = configuration.chain.iter().copied().map(letter).collect();
    let mut cell = format!("{:?}: {}", step.rule, members.join(" "));
    if let Some(learner) = configuration.learner {
        write!(cell, " + {}", letter(learner)).unwrap();
    }
    if matches!(configuration.began, catena_chain::Beginning::Disk(_)) {
        // The same node under another id.
        cell = format!("{:?}: {}'", step.rule, home(chain));
    }
    if configuration.generation != generation(1) {
        cell.push_str(" (empty)");
    }
    cell
}

/// Which member's node the founder is on.
fn home(chain: &catena_topology::Chain) -> &'static str {
    let founder = chain.configuration.founder;
    if chain.homes[&founder] == world::name(1) {
        "H"
    } else {
        assert_eq!(chain.homes[&founder], world::name(2));
        "T"
    }
}

fn stand(world: &mut World, number: u64, standing: &str) {
    match standing {
        "live" => world.see(number, Sight::Live),
        "silent" => world.see(number, Sight::Silent),
        "lost" => world.see(number, Sight::Lost),
        "kept" => world.restart_from_disk(number),
        // Its new process is not heard of yet, so that nothing joins on it.
        _ => {
            world.restart(number);
            world.see(number, Sight::Silent);
        }
    }
}
