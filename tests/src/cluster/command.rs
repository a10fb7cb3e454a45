//! What one may do to a running cluster, in words: for people at a terminal and for scripts.

use std::{
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use super::{Cluster, HEAL, START};

/// What the words are; shown by `help`.
pub const HELP: &str = "\
  kill WHO           crash a process                        WHO: backend-1, gateway-2, control-1, etcd,
  hang WHO SECONDS   let it do nothing for a while               head, head:1, tail, tail:1 (of a shard),
  pause WHO          the same, until `resume WHO`                leader (of the control plane)
  end WHO            ask it to end, as an upgrade would
  start WHO          start it again
  wait               until everything is at full strength
  status             what the control plane says
  help, quit";

/// One command.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Crash.
    Kill(Who),
    /// Do nothing for so many seconds.
    Hang(Who, f64),
    /// Do nothing from now on.
    Pause(Who),
    /// Go on.
    Resume(Who),
    /// End when asked to.
    End(Who),
    /// Start again.
    Start(Who),
    /// Wait for full strength.
    Wait,
    /// Ask the control plane.
    Status,
    /// Show the words.
    Help,
    /// Stop everything.
    Quit,
}

/// A process, by its name or by what it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// By name.
    Name(String),
    /// The head of a shard.
    Head(u16),
    /// The tail of a shard.
    Tail(u16),
    /// The control plane's leader.
    Leader,
}

impl FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Command, String> {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or("help");
        let rest: Vec<&str> = words.collect();
        let who = || match rest.as_slice() {
            [who] => who.parse(),
            _ => Err(format!("{verb} whom?")),
        };
        match (verb, rest.as_slice()) {
            ("kill", _) => Ok(Command::Kill(who()?)),
            ("hang", [who, seconds]) => {
                let seconds = seconds.parse().ok().filter(|seconds| *seconds >= 0.0);
                let seconds = seconds.ok_or_else(|| "for how many seconds?".to_owned())?;
                Ok(Command::Hang(who.parse()?, seconds))
            }
            ("hang", _) => Err("hang WHO SECONDS".to_owned()),
            ("pause", _) => Ok(Command::Pause(who()?)),
            ("resume", _) => Ok(Command::Resume(who()?)),
            ("end", _) => Ok(Command::End(who()?)),
            ("start", _) => Ok(Command::Start(who()?)),
            ("wait", []) => Ok(Command::Wait),
            ("status", []) => Ok(Command::Status),
            ("help", _) => Ok(Command::Help),
            ("quit" | "exit", []) => Ok(Command::Quit),
            _ => Err(format!("what is {line:?}? Try `help`")),
        }
    }
}

impl FromStr for Who {
    type Err = String;

    fn from_str(word: &str) -> Result<Who, String> {
        let (place, shard) = word.split_once(':').unwrap_or((word, "0"));
        let shard = || {
            let number = shard.parse();
            number.map_err(|_| format!("{shard:?} is no shard"))
        };
        match place {
            "head" => Ok(Who::Head(shard()?)),
            "tail" => Ok(Who::Tail(shard()?)),
            "leader" => Ok(Who::Leader),
            _ => Ok(Who::Name(word.to_owned())),
        }
    }
}

/// What has come of a command.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Done {
    /// The process that was meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its number, before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How long it took.
    pub seconds: f64,
    /// The answer, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl Cluster {
    /// Does what the command says. `Quit` and `Help` are up to the caller.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn obey(&mut self, command: &Command) -> Result<Done, String> {
        let began = Instant::now();
        let mut done = Done::default();
        match command {
            Command::Kill(who) => {
                done = self.named(who)?;
                self.kill(&name(&done));
            }
            Command::Hang(who, seconds) => {
                done = self.named(who)?;
                self.hang(&name(&done), Duration::from_secs_f64(*seconds));
            }
            Command::Pause(who) => {
                done = self.named(who)?;
                self.process_mut(&name(&done)).pause();
            }
            Command::Resume(who) => {
                done = self.named(who)?;
                self.process_mut(&name(&done)).resume();
            }
            Command::End(who) => {
                done = self.named(who)?;
                let process = self.process_mut(&name(&done));
                process.ask_to_end();
                process.wait_for_end(super::END);
            }
            Command::Start(who) => {
                done = self.named(who)?;
                let process = self.process_mut(&name(&done));
                if process.is_running() {
                    return Err(format!("{} runs", process.name));
                }
                // Let its last life be buried first.
                process.kill();
                process.start();
                if name(&done) != "etcd" {
                    process.announced(START)?;
                }
                done.pid = process.pid();
            }
            Command::Wait => {
                let deadline = Instant::now() + HEAL;
                while let Err(lack) = self.whole() {
                    if Instant::now() > deadline {
                        return Err(lack);
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            }
            Command::Status => done.text = self.status_text()?,
            Command::Help => HELP.clone_into(&mut done.text),
            Command::Quit => {}
        }
        done.seconds = began.elapsed().as_secs_f64();
        Ok(done)
    }

    fn named(&self, who: &Who) -> Result<Done, String> {
        let name = match who {
            Who::Name(name) => name.clone(),
            Who::Head(shard) => self.status()?.find(*shard)?.head().to_owned(),
            Who::Tail(shard) => self.status()?.find(*shard)?.tail().to_owned(),
            Who::Leader => self.find_leader()?,
        };
        let process = self.processes().find(|process| process.name == name);
        let process = process.ok_or_else(|| format!("there is no {name:?}"))?;
        Ok(Done {
            pid: process.pid(),
            name: Some(name),
            ..Done::default()
        })
    }
}

fn name(done: &Done) -> String {
    done.name.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_commands() {
        let parse = str::parse::<Command>;
        assert_eq!(parse("kill head"), Ok(Command::Kill(Who::Head(0))));
        assert_eq!(parse("pause tail:3"), Ok(Command::Pause(Who::Tail(3))));
        let name = Who::Name("backend-1".to_owned());
        assert_eq!(parse(" hang backend-1  2.5"), Ok(Command::Hang(name, 2.5)));
        assert_eq!(parse(""), Ok(Command::Help));
        for nonsense in ["kill", "kill a b", "hang leader -1", "kill head:x", "burn"] {
            assert!(parse(nonsense).is_err(), "{nonsense}");
        }
    }
}
