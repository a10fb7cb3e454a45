//! Changes of resources: all are read, the change is decided by that, and written in one transaction that compares it.
//!
//! References hold among all resources: two changes that are each valid may not be so together. So every change writes
//! `resources/changed` and compares it, and is decided anew when another came first. Start at [`Catalogue::change`].

mod decide;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use catena_resources::{Broker, Kind, Place, Resource, ResourceId, Resources, Spec, Stored};

use crate::{
    keys::{self, About},
    record::json,
    registry::{ATTEMPTS_MAX, Refused, compare, pause, put, read},
    store::{Entry, Listing, Outcome, Prefix, Revision, Store, Transaction, Write},
};

/// Resources of one change: with what they share they fit one transaction.
pub const CHANGED_MAX: usize = 100;
/// Resources of a cluster.
pub const RESOURCES_MAX: usize = 1_000;
/// All resources of a cluster, in bytes: what is told of them fits one message.
pub const RESOURCES_BYTES_MAX: usize = 4 << 20;
/// The resources of one change, in bytes: they fit a transaction of etcd.
pub const CHANGED_BYTES_MAX: usize = 1 << 20;

/// Reads and changes resources.
#[derive(Debug, Clone)]
pub struct Catalogue {
    pub store: Arc<dyn Store>,
    pub place: Place,
}

/// What is to happen, all of it or nothing.
#[derive(Debug, Clone, Default)]
pub struct Change {
    pub put: Vec<Resource>,
    /// A Broker that is put says nothing of the number of shards.
    pub leaves_out_workers: bool,
    pub delete: BTreeSet<ResourceId>,
    /// What must be at a version; at 0: not there.
    pub expected: BTreeMap<ResourceId, u64>,
    /// Those to delete that are not there are left out.
    pub ignore_missing: bool,
    /// Nothing happens when there is a resource of this kind.
    pub unless_any: Option<Kind>,
    /// Everything but the writing.
    pub dry_run: bool,
}

/// What came of one resource of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub id: ResourceId,
    pub before: Option<Stored>,
    /// At version 0 when it was not written.
    pub after: Option<Stored>,
}

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    Created,
    Configured,
    Unchanged,
    Deleted,
}

impl Changed {
    pub fn happened(&self) -> Happened {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) if before == after => Happened::Unchanged,
            (Some(_), Some(_)) => Happened::Configured,
            (None, Some(_)) => Happened::Created,
            (_, None) => Happened::Deleted,
        }
    }
}

/// All resources, as they were read.
#[derive(Debug)]
pub struct Known {
    pub revision: Revision,
    pub resources: Resources,
    /// Their values in all.
    bytes: usize,
    entries: BTreeMap<ResourceId, Entry>,
    changed: Option<Entry>,
    /// Once there is one, the number of shards is fixed.
    layout: Option<Entry>,
}

impl Catalogue {
    /// All resources as they are now.
    ///
    /// # Errors
    /// What the store says, and a resource there that cannot be read.
    pub async fn known(&self) -> Result<Known, Refused> {
        let layout = self.store.get(&keys::layout()).await?;
        let listing = self.store.list(&Prefix::below(&keys::resources())).await?;
        Known::new(listing, layout)
    }

    /// Changes resources; answers what came of each: first of those that were put, in their order.
    ///
    /// # Errors
    /// [`Refused::Invalid`] with all that is wrong, [`Refused::InUse`], [`Refused::Outdated`], [`Refused::NoResource`],
    /// [`Refused::TooMany`], [`Refused::Contended`], and what the store says.
    pub async fn change(&self, change: &Change) -> Result<Vec<Changed>, Refused> {
        for attempt in 0..ATTEMPTS_MAX {
            pause(attempt).await;
            let known = self.known().await?;
            let mut changed = known.decide(change, self.place)?;
            let writes = writes(&changed)?;
            if change.dry_run || writes.is_empty() {
                return Ok(changed);
            }
            match self.store.commit(known.transaction(writes)).await? {
                Outcome::Committed(revision) => {
                    for written in changed
                        .iter_mut()
                        .filter(|changed| changed.happened() != Happened::Unchanged)
                    {
                        if let Some(after) = &mut written.after {
                            after.version = revision.0;
                        }
                    }
                    return Ok(changed);
                }
                Outcome::Conflict => {}
            }
        }
        Err(Refused::Contended)
    }

    /// Puts a resource unless there is one of its kind; answers whether it did.
    ///
    /// # Errors
    /// As [`change`](Catalogue::change).
    pub async fn found(&self, first: Resource) -> Result<bool, Refused> {
        let change = Change {
            unless_any: Some(first.kind()),
            put: vec![first],
            ..Change::default()
        };
        Ok(!self.change(&change).await?.is_empty())
    }

    /// Changes the Broker's spec; answers whether that changed anything. There must be one.
    ///
    /// # Errors
    /// As [`change`](Catalogue::change).
    pub async fn change_broker(&self, change: impl Fn(&mut Broker)) -> Result<bool, Refused> {
        loop {
            let known = self.known().await?.resources;
            let id = broker_id();
            let Some(stored) = known.get(&id) else {
                return Err(Refused::NoResource(id));
            };
            let mut resource = Resource::clone(&stored.resource);
            if let Spec::Broker(broker) = &mut resource.spec {
                change(broker);
            }
            if resource == *stored.resource {
                return Ok(false);
            }
            let change = Change {
                put: vec![resource],
                expected: [(id, stored.version)].into(),
                ..Change::default()
            };
            match self.change(&change).await {
                Ok(_) => return Ok(true),
                Err(Refused::Outdated(_)) => {}
                Err(refused) => return Err(refused),
            }
        }
    }
}

fn broker_id() -> ResourceId {
    ResourceId {
        kind: Kind::Broker,
        name: catena_resources::BROKER_NAME.to_owned(),
    }
}

impl Known {
    fn new(listing: Listing, layout: Option<Entry>) -> Result<Known, Refused> {
        let mut known = Known {
            revision: listing.revision,
            resources: Resources::default(),
            bytes: 0,
            entries: BTreeMap::new(),
            changed: None,
            layout,
        };
        for entry in listing.entries {
            if entry.key == keys::resources_changed() {
                known.changed = Some(entry);
            } else if let About::Resource(id) = keys::about(&entry.key) {
                let resource: Option<Resource> = read(Some(&entry))?;
                if let Some(resource) = resource.filter(|resource| resource.id() == id) {
                    known.resources.put(entry.revision.0, Arc::new(resource));
                }
                known.bytes += entry.value.len();
                known.entries.insert(id, entry);
            }
        }
        Ok(known)
    }

    fn transaction(&self, mut writes: Vec<Write>) -> Transaction {
        let changed = keys::resources_changed();
        let layout = keys::layout();
        let mut compares = vec![
            compare(&changed, self.changed.as_ref()),
            compare(&layout, self.layout.as_ref()),
        ];
        for write in &writes {
            let entry = self
                .entries
                .values()
                .find(|entry| entry.key == *write.key());
            compares.push(compare(write.key(), entry));
        }
        // The number says nothing: that it is written does.
        writes.push(put(&changed, json(&self.revision.0)));
        Transaction {
            compare: compares,
            writes,
        }
    }
}

fn writes(changed: &[Changed]) -> Result<Vec<Write>, Refused> {
    let written = changed
        .iter()
        .filter(|changed| changed.happened() != Happened::Unchanged);
    let mut bytes = 0;
    let mut writes = Vec::new();
    for changed in written {
        let key = keys::resource(&changed.id).map_err(Refused::Name)?;
        writes.push(match &changed.after {
            Some(after) => {
                let value = json(&*after.resource);
                bytes += value.len();
                put(&key, value)
            }
            None => Write::Delete(key),
        });
    }
    if bytes > CHANGED_BYTES_MAX {
        let said = format!(
            "these resources have {bytes} bytes: at most {CHANGED_BYTES_MAX} may change at once"
        );
        return Err(Refused::TooMany(said));
    }
    Ok(writes)
}
