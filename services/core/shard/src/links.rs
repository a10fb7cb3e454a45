//! The links to origins: what was applied, what they are owed, and who of them lives `[C-43]`.

use std::collections::{BTreeMap, BTreeSet};

use catena_link::{Inbound, Outbox};
use serde::{Deserialize, Serialize};

use crate::{effect::Effect, id::Origin, reader::ReaderId};

/// Unacknowledged bytes from which a gateway's readers have no window `[F-64]`.
pub const CONGESTED_BYTES: u64 = 16 * 1024 * 1024;

/// The same where the memory profile's buffer is small: a quarter of it.
pub(crate) fn congested_bytes(buffer: u64) -> u64 {
    CONGESTED_BYTES.min(buffer / 4)
}

/// What an effect weighs beyond the message in it, per target.
const EFFECT_BYTES: u32 = 64;

/// A link's number; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LinkId(pub u32);

/// One origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    pub origin: Origin,
    pub inbound: Inbound,
    pub outbox: Outbox<Effect>,
    /// Above [`congested_bytes`], and not yet below half of it again.
    pub is_congested: bool,
    /// Readers that wait for that.
    pub starved: BTreeSet<ReaderId>,
    /// A job that serves them is under way.
    pub has_job: bool,
}

/// All links; a dropped one leaves its number empty for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Links {
    rows: Vec<Option<Link>>,
    by_origin: BTreeMap<Origin, LinkId>,
    /// Counts dropped ones.
    dropped: u64,
}

impl Links {
    /// Begins the ops of `origin` at `first`, unless some were applied. Effects may have gone to it before.
    pub fn begin(&mut self, origin: Origin, first: u64) {
        let id = self.open(origin, first);
        if let Some(link) = self.get_mut(id)
            && link.inbound.applied_through() == 0
        {
            link.inbound = Inbound::starting_at(first);
        }
    }

    /// The link of `origin`, made with first op `first` if there is none.
    pub fn open(&mut self, origin: Origin, first: u64) -> LinkId {
        if let Some(id) = self.by_origin.get(&origin) {
            return *id;
        }
        let id = LinkId(self.rows.len() as u32);
        self.rows.push(Some(Link {
            origin,
            inbound: Inbound::starting_at(first),
            outbox: Outbox::default(),
            is_congested: false,
            starved: BTreeSet::new(),
            has_job: false,
        }));
        self.by_origin.insert(origin, id);
        id
    }

    pub fn find(&self, origin: &Origin) -> Option<LinkId> {
        self.by_origin.get(origin).copied()
    }

    pub fn get(&self, id: LinkId) -> Option<&Link> {
        self.rows.get(id.0 as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.rows.get_mut(id.0 as usize)?.as_mut()
    }

    /// Forgets a link; its readers count as detached from here on.
    pub fn drop_link(&mut self, id: LinkId) -> Option<Link> {
        let link = self.rows.get_mut(id.0 as usize)?.take()?;
        self.by_origin.remove(&link.origin);
        self.dropped += 1;
        Some(link)
    }

    /// How many were dropped: what is derived from who is attached holds until this changes.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    pub fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.by_origin
            .values()
            .filter_map(|id| Some((*id, self.get(*id)?)))
    }
}

/// Bytes that `effect` weighs in an outbox.
pub(crate) fn weight(effect: &Effect) -> u32 {
    match effect {
        Effect::Deliver(deliver) => {
            let message = u32::try_from(deliver.message.weight()).unwrap_or(u32::MAX / 2);
            message.saturating_add(EFFECT_BYTES * deliver.targets.len() as u32)
        }
        _ => EFFECT_BYTES,
    }
}
