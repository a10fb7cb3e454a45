//! What administrators ask: questions, a few in each turn, and commands for the log.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
};

use catena_chain::{CommandId, NotTaken};
use catena_replicated::Input;
use catena_shard::{Command, Query};
use catena_transport::{Answered, Asked, Dial, Frozen, NotAnswered, Reach};
use tokio::sync::oneshot;

use super::Host;
use crate::limits::{QUESTIONS, TURN_QUESTIONS};

type Answer<T> = oneshot::Sender<Result<T, NotAnswered>>;

/// What is asked and not answered yet.
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    questions: VecDeque<(Query, Answer<Answered>)>,
    commands: HashMap<CommandId, Answer<bool>>,
    next_command: u64,
    /// As long as it is held a backup is told the state.
    saved: Weak<()>,
}

impl Inquiries {
    /// Whether questions wait for the next turn.
    pub fn wait(&self) -> bool {
        !self.questions.is_empty()
    }

    /// The replica has answered a command.
    pub fn commanded(&mut self, id: CommandId, outcome: Result<bool, NotTaken>) {
        let outcome = outcome.map_err(|why| match why {
            NotTaken::NotHead => NotAnswered::NotServing,
            NotTaken::Full => NotAnswered::Full,
            NotTaken::Lost => NotAnswered::Gone,
        });
        if let Some(answer) = self.commands.remove(&id) {
            // Who asked may have gone; what was done is done.
            let _ = answer.send(outcome);
        }
    }
}

impl<D: Dial, R: Reach> Host<D, R> {
    /// Takes a question for a later turn, or a command for the log.
    pub(super) fn inquire(&mut self, asked: Asked) {
        match asked {
            Asked::Query { answer, .. } if self.inquiries.questions.len() >= QUESTIONS => {
                let _ = answer.send(Err(NotAnswered::Full));
            }
            Asked::Save { answer } => {
                // Who asked may have gone.
                let _ = answer.send(self.freeze());
            }
            Asked::Query { query, answer } => self.inquiries.questions.push_back((query, answer)),
            Asked::Command { command, answer } => {
                self.inquiries.next_command += 1;
                let id = CommandId(self.inquiries.next_command);
                // The replica bounds how many wait.
                self.inquiries.commands.insert(id, answer);
                self.handle(Input::Command { id, command });
            }
        }
    }

    /// The state for a backup: what others hear of it is committed, as in [`Host::answer_inquiries`].
    fn freeze(&mut self) -> Result<Frozen, NotAnswered> {
        let machine = self.replica.direct().ok_or(NotAnswered::NotServing)?;
        if self.inquiries.saved.strong_count() > 0 {
            return Err(NotAnswered::Full);
        }
        let held = Arc::new(());
        self.inquiries.saved = Arc::downgrade(&held);
        Ok(Frozen {
            state: machine.shard().freeze(),
            held,
        })
    }

    /// A command of our own for the log: nobody waits for what becomes of it.
    pub(super) fn tell_shard(&mut self, command: Command) {
        self.inquiries.next_command += 1;
        let id = CommandId(self.inquiries.next_command);
        self.later.push(Input::Command { id, command });
    }

    /// Answers some of the questions that wait. Only a tail that others still hear of as such knows what is committed
    /// `[C-22]` `[C-51]`; while a learner comes in, it may be ahead of that by what the learner has not taken yet `[C-31]`.
    pub(super) fn answer_inquiries(&mut self) {
        for _ in 0..TURN_QUESTIONS {
            let Some((query, answer)) = self.inquiries.questions.pop_front() else {
                return;
            };
            let machine = self.replica.direct();
            let answered = machine.ok_or(NotAnswered::NotServing).map(|machine| {
                let shard = machine.shard();
                Answered {
                    generation: shard.generation(),
                    now: shard.now().0,
                    answer: shard.query(&query),
                }
            });
            // Who asked may have gone.
            let _ = answer.send(answered);
        }
    }
}
