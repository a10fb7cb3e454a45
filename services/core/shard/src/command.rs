//! What an administrator asks for: entries of the head's own, without a link `[F-26]`.
//!
//! Each names exactly what it was decided about - a session and one of its connections, the entry that stored a retained
//! message - so that a second one of the same does nothing, and one that comes late hits nothing new.

use bytestring::ByteString;
use catena_mqtt::ReasonCode;
use serde::{Deserialize, Serialize};

use crate::{
    effect::{Effect, Kick},
    home::{HomeId, Session},
    id::{ClientKey, SessionId},
    op::EndSession,
    saved::Restore,
    shard::Shard,
};

/// A change that an administrator wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// To the home shard: this connection is to end, with 0x98. Its gateway says when it has; then its will and its expiry
    /// begin to run as after any other abnormal end `[F-26]`.
    Disconnect {
        client: ClientKey,
        session: SessionId,
        epoch: u64,
    },
    /// To the home shard: the session ends everywhere, its connection with 0x98, and its will is published
    /// `[F-20]` `[F-23]`.
    EndSession(EndSession),
    /// To the topic's shard: the retained message that the entry `sequence` stored is forgotten. Nobody is told.
    ClearRetained { topic: ByteString, sequence: u64 },
    /// Things of a backup, which come next in a restore.
    Restore(Box<Restore>),
    /// Of the head's host itself: whether parts of long queues may leave memory, or have no place to go.
    PauseSpill(bool),
    /// Of the host of a founder that goes on from its disk: what entries through this one brought, and the settings do not
    /// keep, is dropped `[C-59]`.
    DropUnkept { through: u64 },
}

impl Shard {
    /// Whether the command would do anything now.
    pub fn would_act(&self, command: &Command) -> bool {
        match command {
            Command::Disconnect {
                client,
                session,
                epoch,
            } => self
                .session_of(*client, *session)
                .is_some_and(|(_, record)| record.epoch == *epoch && record.attached.is_some()),
            Command::EndSession(end) => self.session_of(end.client, end.session).is_some(),
            Command::ClearRetained { topic, sequence } => self
                .retained
                .get(topic)
                .is_some_and(|retained| retained.sequence == *sequence),
            Command::Restore(restore) => self.would_restore(restore),
            Command::PauseSpill(pause) => self.spill_paused != *pause,
            Command::DropUnkept { through } => self.would_drop_unkept(*through),
        }
    }

    pub(crate) fn command(&mut self, command: &Command) {
        if !self.would_act(command) {
            return;
        }
        match command {
            Command::Disconnect {
                client, session, ..
            } => {
                if let Some((home, _)) = self.session_of(*client, *session) {
                    self.kick_by_administrator(home);
                }
            }
            Command::EndSession(end) => {
                if let Some((home, _)) = self.session_of(end.client, end.session) {
                    self.kick_by_administrator(home);
                    self.end_session(home);
                    self.tend_home(home);
                }
            }
            Command::ClearRetained { topic, .. } => self.clear_retained(topic),
            Command::Restore(restore) => self.restore_things(restore),
            Command::PauseSpill(pause) => {
                self.spill_paused = *pause;
                self.spill_later();
            }
            Command::DropUnkept { through } => self.drop_unkept(*through),
        }
    }

    fn session_of(&self, client: ClientKey, session: SessionId) -> Option<(HomeId, &Session)> {
        let id = self.homes.find(client)?;
        let record = self.homes.get(id)?.session.as_ref()?;
        (record.id == session).then_some((id, record))
    }

    pub(crate) fn kick_by_administrator(&mut self, id: HomeId) {
        let record = self.homes.get(id).and_then(|home| home.session.as_ref());
        let kick = record.and_then(|record| {
            let at = record.attached?;
            let kick = Kick {
                conn: at.conn,
                epoch: record.epoch,
                reason: ReasonCode::AdministrativeAction,
            };
            Some((at.link, kick))
        });
        if let Some((link, kick)) = kick {
            self.emit(link, Effect::Kick(kick));
        }
    }
}
