//! Scripts: named scenarios, a line for each thing that goes wrong or that a client does. docs/simulation.md has the words.

use std::{fs, path::PathBuf};

use catena_slots::ShardId;
use catena_topology::Rule;

use crate::{
    mqtt::Clients,
    network::Place,
    parcel::Event,
    plan::{Kind, Plan, Syncing},
    workload::{Violation, Workload},
    world::World,
    writes::Writes,
};

/// What a script says.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub lines: Vec<Line>,
    expected: Vec<Expected>,
}

#[derive(Debug, Clone)]
pub struct Line {
    pub when: When,
    words: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
pub enum When {
    /// Microseconds from the start.
    At(u64),
    /// So long after the next step of this rule for this shard; once.
    After(Rule, ShardId, u64),
}

#[derive(Debug, Clone)]
enum Expected {
    /// A step of this rule for this shard, within this span of time.
    Step(Rule, ShardId, u64, u64),
    /// No step of this rule, within this span.
    Never(Rule, u64, u64),
    /// A shard is of this generation in the end.
    Generation(ShardId, u32),
    /// The workload knows.
    Other(Vec<String>),
}

/// Long enough to last until everything heals.
const FOR_GOOD: u64 = 1_000_000_000;

fn seconds(word: &str) -> Option<u64> {
    let seconds: f64 = word.parse().ok()?;
    (seconds >= 0.0).then_some((seconds * 1e6) as u64)
}

fn rule(word: &str) -> Option<Rule> {
    let is_it = |rule: &Rule| format!("{rule:?}") == word;
    Rule::ALL.into_iter().find(is_it)
}

fn shard(word: &str) -> Option<ShardId> {
    word.parse().ok().map(ShardId)
}

/// Reads a script, with the plan that it sets.
pub fn parse(text: &str) -> Result<(Plan, Script), String> {
    let mut plan = Plan {
        nodes: 3,
        gateways: 1,
        controls: 1,
        partitions: 1,
        workers: 1,
        redundancy: 2,
        zones: false,
        clients: 2,
        is_scripted: true,
        faults_until: 5_000_000,
        fault_gap: 0,
        command_gap: 0,
        ends_without_control: false,
        offloads_snapshots: false,
        disks: false,
        turns_disks: false,
        syncing: Syncing::Always,
        ..Plan::new(Kind::Clients, 1, None)
    };
    let mut script = Script::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        if !words.is_empty() {
            parse_line(&words, &mut plan, &mut script)
                .ok_or_else(|| format!("line {}: {line}", number + 1))?;
        }
    }
    Ok((plan, script))
}

fn parse_line(words: &[&str], plan: &mut Plan, script: &mut Script) -> Option<()> {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match words {
        ["nodes", n] => plan.nodes = n.parse().ok()?,
        ["gateways", n] => plan.gateways = n.parse().ok()?,
        ["controls", n] => plan.controls = n.parse().ok()?,
        ["shards", n] => plan.workers = n.parse().ok()?,
        ["redundancy", n] => plan.redundancy = n.parse().ok()?,
        ["clients", n] => plan.clients = n.parse().ok()?,
        ["seed", n] => plan.seed = n.parse().ok()?,
        ["writes"] => plan.kind = Kind::Writes,
        ["disks"] => plan.disks = true,
        ["disks", "interval"] => (plan.disks, plan.syncing) = (true, Syncing::Interval),
        ["snapshots", "elsewhere"] => plan.offloads_snapshots = true,
        ["heal", at] => plan.faults_until = seconds(at)?,
        ["without", "control"] => plan.ends_without_control = true,
        ["at", at, rest @ ..] => script.lines.push(Line {
            when: When::At(seconds(at)?),
            words: owned(rest),
        }),
        ["after", by, of, late, rest @ ..] => script.lines.push(Line {
            when: When::After(rule(by)?, shard(of)?, seconds(late)?),
            words: owned(rest),
        }),
        ["expect", "generation", of, number] => {
            let number = number.parse().ok()?;
            script
                .expected
                .push(Expected::Generation(shard(of)?, number));
        }
        ["expect", "step", by, of, from, to] => {
            let step = Expected::Step(rule(by)?, shard(of)?, seconds(from)?, seconds(to)?);
            script.expected.push(step);
        }
        ["never", by] => script
            .expected
            .push(Expected::Never(rule(by)?, 0, u64::MAX)),
        ["never", by, from, to] => {
            let never = Expected::Never(rule(by)?, seconds(from)?, seconds(to)?);
            script.expected.push(never);
        }
        ["expect", rest @ ..] => script.expected.push(Expected::Other(owned(rest))),
        _ => return None,
    }
    Some(())
}

impl<W: Workload> World<W> {
    /// Lets lines happen that wait for such a step.
    pub fn after_step(&mut self, by: Rule, of: ShardId) {
        for line in 0..self.script.lines.len() {
            let When::After(rule, shard, late) = self.script.lines[line].when else {
                continue;
            };
            if (rule, shard) == (by, of) {
                // Once.
                self.script.lines[line].when = When::At(0);
                self.schedule(self.now + late, Event::Line(line));
            }
        }
    }

    /// A line's turn has come.
    pub fn do_line(&mut self, line: usize) {
        let words = self.script.lines[line].words.clone();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.trace(|| words.join(" "));
        if let ["client", rest @ ..] = &words[..] {
            let done = self.with_workload(|workload, scene| workload.script(rest, scene));
            return done.unwrap_or_else(|violation| self.fail(violation));
        }
        if self.do_words(&words).is_none() {
            self.fail(format!("nothing can be done by {words:?}"));
        }
    }

    fn do_words(&mut self, words: &[&str]) -> Option<()> {
        let (words, long) = match words {
            [rest @ .., "for", long] => (rest, seconds(long)?),
            words => (words, FOR_GOOD),
        };
        match words {
            ["crash", who, which] => self.crash(self.place(who, which)?, long, false),
            ["power-off", who, which] => self.crash(self.place(who, which)?, long, true),
            ["start", who, which] => self.restart(self.place(who, which)?),
            ["stop", who, which] => self.stop(self.place(who, which)?, long),
            ["cut", a, b, "->", c, d] => {
                self.cut(self.place(a, b)?, self.place(c, d)?, false, long);
            }
            ["cut", a, b, "<->", c, d] => {
                self.cut(self.place(a, b)?, self.place(c, d)?, true, long);
            }
            ["break", a, b, "<->", c, d] => {
                let (one, other) = (self.place(a, b)?, self.place(c, d)?);
                self.break_pair(one, other);
            }
            ["isolate", who, which] => self.isolate(self.place(who, which)?, true, 0, long),
            ["slow", who, which, "by", by] => self.slow(self.place(who, which)?, seconds(by)?),
            ["hang", who, which, "shard", of] => match self.place(who, which)? {
                Place::Node(node) => self.hang(node, shard(of)?.index(), long),
                _ => return None,
            },
            ["clock", "node", node, "+", by] => {
                self.jump(node.parse().ok()?, 1_000_000_000 + seconds(by)?);
            }
            ["drain", who, which] => match self.place(who, which)? {
                Place::Node(node) => self.drain(node, long),
                _ => return None,
            },
            ["gone", "node", node] => self.declare_gone(node.parse().ok()?),
            ["depose"] => self.depose(),
            ["store", "away"] => self.store_away(long),
            _ => return None,
        }
        Some(())
    }

    /// `node 1`, `gateway 0`, `control 0`; or who plays a part now: `head 0`, `tail 0`, `learner 0` of a shard.
    fn place(&self, who: &str, which: &str) -> Option<Place> {
        let number: usize = which.parse().ok()?;
        let configuration = self.store.content().configuration(number);
        let member = match who {
            "node" => return (number < self.nodes.len()).then_some(Place::Node(number)),
            "gateway" => {
                return (number < self.gateways.len()).then_some(Place::Gateway(number));
            }
            "control" => return (number < self.control.len()).then_some(Place::Control(number)),
            "head" => configuration?.head()?,
            "tail" => configuration?.tail()?,
            "learner" => configuration?.learner?,
            _ => return None,
        };
        let node = self.store.place_of.get(&member.incarnation)?;
        Some(Place::Node(*node))
    }

    /// Whether everything came as the script expects.
    fn is_as_expected(&self) -> Result<(), Violation> {
        for expected in &self.script.expected {
            let steps = &self.watch.steps;
            match expected {
                Expected::Step(by, of, from, to) => {
                    let is_it = |(at, rule, shard): &&(u64, Rule, ShardId)| {
                        (rule, shard) == (by, of) && (*from..=*to).contains(at)
                    };
                    if steps.iter().find(is_it).is_none() {
                        return Err(format!("{expected:?} never came: {steps:?}"));
                    }
                }
                Expected::Never(by, from, to) => {
                    let is_it = |(at, rule, _): &&(u64, Rule, ShardId)| {
                        rule == by && (*from..=*to).contains(at)
                    };
                    if let Some(step) = steps.iter().find(is_it) {
                        return Err(format!("{step:?} came, which was not to come"));
                    }
                }
                Expected::Generation(of, wanted) => {
                    let known = self.store.content().generations(self.plan.shards());
                    if known[of.index()] != *wanted {
                        return Err(format!("{expected:?}, and generations are {known:?}"));
                    }
                }
                Expected::Other(words) => {
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    self.workload.expect(&words)?;
                }
            }
        }
        Ok(())
    }
}

fn play<W: Workload>(plan: Plan, script: Script) -> Result<(), Violation> {
    let mut world = World::<W>::new(plan, script);
    world.run()?;
    world.is_as_expected()
}

/// Each script in testdata plays as it says.
#[test]
fn scenarios_end_as_they_should() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("simulation/testdata");
    let only = std::env::var("CATENA_SIM_SCENARIO").ok();
    let entries = fs::read_dir(folder).expect("the scripts are there");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("it is listed").path())
        .collect();
    paths.sort();
    let mut wrong = Vec::new();
    for path in &paths {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let text = fs::read_to_string(path).expect("a script can be read");
        let done = parse(&text).and_then(|(plan, script)| match plan.kind {
            Kind::Writes => play::<Writes>(plan, script),
            Kind::Clients => play::<Clients>(plan, script),
        });
        if let Err(violation) = done {
            wrong.push(format!(
                "{name}: {violation}\n  replay it: CATENA_SIM_TRACE=1 CATENA_SIM_SCENARIO={name} cargo test --package \
                 catena-tests --test simulation scenarios -- --nocapture"
            ));
        }
    }
    assert!(paths.len() >= 6, "scripts are missing");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
