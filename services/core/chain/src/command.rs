//! What an administrator asks of a shard: entries that the head makes by itself, as it makes Ticks.
//!
//! A command has no origin, so nobody has to be admitted for it `[C-43]`, and no number: it says itself what it is about, so
//! that one which is asked for again does nothing more. The head answers once the entry is committed.

use std::collections::VecDeque;

use crate::{
    configuration::Generation,
    entry::{Index, Payload},
    machine::Machine,
    replica::{Output, Replica},
};

/// Commands that wait to be committed.
const WAITING_MAX: usize = 256;

/// Names a command, uniquely in the life of the process that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct CommandId(pub u64);

/// Why a command has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Another replica is the head, or none is: nothing was done here.
    #[error("this replica is not the head")]
    NotHead,
    /// Too many wait: nothing was done.
    #[error("too many commands wait")]
    Full,
    /// The replica lost its role before the entry was committed: it may have been done.
    #[error("this replica was replaced before the command was committed")]
    Lost,
}

/// The commands of a head that are not committed yet.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    id: CommandId,
    generation: Generation,
    index: Index,
}

impl<M: Machine> Replica<M> {
    /// Takes a command, if we are the head. One that would do nothing is answered at once.
    pub(crate) fn command(
        &mut self,
        id: CommandId,
        command: M::Command,
        outputs: &mut Vec<Output<M>>,
    ) {
        let state = self.state.as_ref().filter(|_| self.role.is_head);
        let outcome = match state {
            None => Err(NotTaken::NotHead),
            Some(_) if self.commands.waiting.len() >= WAITING_MAX => Err(NotTaken::Full),
            Some(state) if !state.machine.would_act(&command) => Ok(false),
            Some(state) => {
                self.commands.waiting.push_back(Waiting {
                    id,
                    generation: state.generation,
                    index: state.log.last() + 1,
                });
                return self.append(Payload::Command(command));
            }
        };
        outputs.push(Output::Commanded { id, outcome });
    }

    /// Answers the commands that are committed, and those that we cannot follow any more.
    pub(crate) fn answer_commands(&mut self, outputs: &mut Vec<Output<M>>) {
        while let Some(first) = self.commands.waiting.front() {
            let state = self.state.as_ref().filter(|_| self.role.is_head);
            let outcome = match state.filter(|state| state.generation == first.generation) {
                None => Err(NotTaken::Lost),
                Some(state) if state.commit >= first.index => Ok(true),
                Some(_) => return,
            };
            outputs.push(Output::Commanded {
                id: first.id,
                outcome,
            });
            self.commands.waiting.pop_front();
        }
    }
}
