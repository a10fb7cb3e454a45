//! Messages that outlive their op: each stored once, counted by reference.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    account::{Account, REFERENCE_BYTES},
    id::Time,
    message::{Message, compact},
    slab::Slab,
};

/// A stored message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct MessageId(u64);

impl MessageId {
    /// Names it among those of its shard, as long as it is there.
    pub fn number(self) -> u64 {
        self.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    message: Arc<Message>,
    expires_at: Time,
    references: u32,
}

/// All stored messages of the shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Store {
    messages: Slab<Stored>,
}

impl Store {
    /// Stores a message with one reference to it.
    pub fn insert(
        &mut self,
        message: &Arc<Message>,
        expires_at: Time,
        account: &mut Account,
    ) -> MessageId {
        self.insert_as_it_is(compact(message), expires_at, account)
    }

    /// The same for a message that may stay in the memory that it is in.
    pub fn insert_as_it_is(
        &mut self,
        message: Arc<Message>,
        expires_at: Time,
        account: &mut Account,
    ) -> MessageId {
        account.add(message.weight() as u64 + REFERENCE_BYTES);
        let stored = Stored {
            message,
            expires_at,
            references: 1,
        };
        MessageId(self.messages.insert(stored))
    }

    /// One more reference to `id`.
    pub fn share(&mut self, id: MessageId, account: &mut Account) -> MessageId {
        account.add(REFERENCE_BYTES);
        self.stored_mut(id).references += 1;
        id
    }

    /// One reference less; the last one forgets the message.
    pub fn release(&mut self, id: MessageId, account: &mut Account) {
        let stored = self.stored_mut(id);
        stored.references -= 1;
        account.remove(REFERENCE_BYTES);
        if stored.references == 0 {
            account.remove(stored.message.weight() as u64);
            self.messages.remove(id.0);
        }
    }

    /// The message of `id`.
    pub fn message(&self, id: MessageId) -> &Arc<Message> {
        &self.stored(id).message
    }

    /// What the message of `id` weighs.
    pub fn weight(&self, id: MessageId) -> u32 {
        u32::try_from(self.message(id).weight()).unwrap_or(u32::MAX)
    }

    /// In how many places the message of `id` is.
    pub fn references(&self, id: MessageId) -> u32 {
        self.stored(id).references
    }

    /// When the message of `id` expires.
    pub fn expires_at(&self, id: MessageId) -> Time {
        self.stored(id).expires_at
    }

    /// The messages that are in more than one place.
    pub fn shared(&self) -> impl Iterator<Item = MessageId> {
        let shared = self.messages.iter().filter(|(_, row)| row.references > 1);
        shared.map(|(key, _)| MessageId(key))
    }

    /// How many messages are stored.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    fn stored(&self, id: MessageId) -> &Stored {
        self.messages
            .get(id.0)
            .expect("a reference keeps its message")
    }

    fn stored_mut(&mut self, id: MessageId) -> &mut Stored {
        self.messages
            .get_mut(id.0)
            .expect("a reference keeps its message")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::MessageId;

    /// An id for tests that never look the message up.
    pub(crate) fn id(number: u64) -> MessageId {
        MessageId(number)
    }
}
