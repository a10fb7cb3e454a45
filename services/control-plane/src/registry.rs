//! What any replica writes: registrations, and what an administrator says of nodes and gateways.
//!
//! Each write compares what it was decided by, and is decided anew when that has changed.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use catena_chain::Incarnation;
use catena_resources::{Invalid, ResourceId};
use catena_topology::{GatewayIncarnation, GatewayName, NodeName};

use crate::{
    keys,
    record::{GatewayRecord, Newcomer, NodeRecord, PortRecord, Process, json},
    store::{
        self, Compare, Entry, InvalidKey, Key, LeaseId, Outcome, Prefix, Store, Transaction, Write,
    },
    view::{Registration, View},
};

/// So often a write is decided anew before the caller is told to try later.
pub const ATTEMPTS_MAX: u32 = 64;
/// Nodes that were removed and are remembered: their processes are told, if they still run.
const REMOVED_MAX: usize = 64;
/// A used join token is remembered for so long after its end: clocks may differ.
const TOKEN_MARGIN: Duration = Duration::from_secs(600);
/// Before the next attempt, at most and times their number: many nodes begin at once.
const PAUSE_MS: u64 = 3;

/// Why something is not written.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Name(InvalidKey),
    #[error("this process of {} was declared gone, or a newer one registered: start it again", .0.0)]
    Replaced(NodeName),
    #[error("there is no node {0}")]
    NoNode(String),
    #[error("there is no gateway {0}")]
    NoGateway(String),
    #[error("{0}")]
    Precondition(String),
    /// Manifests.
    #[error(transparent)]
    Invalid(Invalid),
    /// Something refers to what is to be deleted.
    #[error("{0}")]
    InUse(Invalid),
    #[error("{0}: look at it as it is now, and try again")]
    Outdated(String),
    #[error("there is no {0}")]
    NoResource(ResourceId),
    #[error("{0}")]
    TooMany(String),
    #[error("others write the same all the time: try again")]
    Contended,
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("{key} cannot be read: {problem}")]
    Unreadable { key: Key, problem: String },
}

/// What came of a gateway's heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Yes,
    /// It is no longer live, and never will be again `[C-43]`.
    Over,
}

/// Writes to the store for one replica.
#[derive(Debug, Clone)]
pub struct Registry {
    pub store: Arc<dyn Store>,
}

impl Registry {
    /// Registers a node's process, and answers its incarnation: the same for the same process `[C-1]`.
    ///
    /// # Errors
    /// [`Refused::Replaced`] for a process that is over, and what the store says.
    pub async fn register_node(
        &self,
        name: &NodeName,
        newcomer: Newcomer,
    ) -> Result<Incarnation, Refused> {
        let key = keys::node(name).map_err(Refused::Name)?;
        for attempt in 0..ATTEMPTS_MAX {
            pause(attempt).await;
            let entry = self.store.get(&key).await?;
            let known: Option<NodeRecord> = read(entry.as_ref())?;
            let unchanged = compare(&key, entry.as_ref());
            let transaction = match known {
                Some(record) if record.process == newcomer.process => {
                    if record.gone {
                        return Err(Refused::Replaced(name.clone()));
                    }
                    let same =
                        record.addresses == newcomer.addresses && record.zone == newcomer.zone;
                    if same {
                        return Ok(record.incarnation);
                    }
                    let moved = NodeRecord {
                        addresses: newcomer.addresses.clone(),
                        zone: newcomer.zone.clone(),
                        ..record
                    };
                    Transaction {
                        compare: vec![unchanged],
                        writes: vec![put(&key, json(&moved))],
                    }
                }
                Some(record) if record.former.contains(&newcomer.process) => {
                    return Err(Refused::Replaced(name.clone()));
                }
                known => {
                    let counter = keys::incarnations();
                    let count = self.store.get(&counter).await?;
                    let highest: u64 = read(count.as_ref())?.unwrap_or(0);
                    let incarnation = Incarnation(highest + 1);
                    let record = match known {
                        Some(record) => record.replaced(newcomer.clone(), incarnation),
                        None => NodeRecord::new(newcomer.clone(), incarnation),
                    };
                    Transaction {
                        compare: vec![unchanged, compare(&counter, count.as_ref())],
                        writes: vec![
                            put(&key, json(&record)),
                            put(&counter, json(&incarnation.0)),
                        ],
                    }
                }
            };
            // What was written is read again: so a process that asks twice at once gets one answer.
            let _ = self.store.commit(transaction).await?;
        }
        Err(Refused::Contended)
    }

    /// Registers a gateway's process for `ttl`, and answers its incarnation: the same for the same process while its
    /// registration is kept alive `[C-43]`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn register_gateway(
        &self,
        name: &str,
        process: Process,
        ttl: Duration,
    ) -> Result<GatewayIncarnation, Refused> {
        check_name(name)?;
        let key = keys::registration(process);
        for attempt in 0..ATTEMPTS_MAX {
            pause(attempt).await;
            if let Some(entry) = self.store.get(&key).await?
                && let Some(record) = read::<GatewayRecord>(Some(&entry))?
            {
                return Ok(Registration::new(record, &entry).incarnation);
            }
            let record = GatewayRecord {
                name: GatewayName(name.to_owned()),
                incarnation: None,
            };
            let compare = vec![Compare::absent(key.clone())];
            let written = self.put_leased(&key, &record, compare, vec![], ttl);
            if let Outcome::Committed(revision) = written.await? {
                return Ok(GatewayIncarnation(revision.0));
            }
        }
        Err(Refused::Contended)
    }

    /// Keeps a gateway's registration alive; makes it again, under the same incarnation, when its lease ran out and it was not
    /// taken out yet `[C-43]`.
    ///
    /// # Errors
    /// What the store says; `view` may be too old to decide by.
    pub async fn keep_gateway(
        &self,
        view: &View,
        name: &str,
        process: Process,
        incarnation: GatewayIncarnation,
        ttl: Duration,
    ) -> Result<Kept, Refused> {
        if let Some(known) = view.registrations.get(&process) {
            if known.incarnation != incarnation {
                return Ok(Kept::Over);
            }
            if let Some(lease) = known.lease {
                match self.store.keep_alive(lease).await {
                    Ok(()) => return Ok(Kept::Yes),
                    // The view will show it in a moment.
                    Err(store::Error::LeaseGone) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        check_name(name)?;
        let told = &view.topology.gateways;
        if !told.live.contains_key(&incarnation) && incarnation.0 <= told.version {
            return Ok(Kept::Over);
        }
        let key = keys::registration(process);
        let record = GatewayRecord {
            name: GatewayName(name.to_owned()),
            incarnation: Some(incarnation),
        };
        // Not when it was taken out in the meantime. And who takes it out without having seen this is to decide anew.
        let compare = vec![
            Compare::absent(key.clone()),
            view.unchanged(keys::gateways()),
        ];
        let seen = put(&keys::kept(), json(&incarnation));
        let written = self.put_leased(&key, &record, compare, vec![seen], ttl);
        match written.await? {
            Outcome::Committed(_) => Ok(Kept::Yes),
            Outcome::Conflict => Err(Refused::Contended),
        }
    }

    /// Keeps how it stands with a gateway's ports, for as long as its registration lasts. Nothing is written when that is known, or
    /// when the registration is not seen yet.
    ///
    /// # Errors
    /// What the store says.
    pub async fn keep_ports(
        &self,
        view: &View,
        process: Process,
        ports: &[PortRecord],
    ) -> Result<(), Refused> {
        let known = view.ports.get(&process).map_or(&[][..], Vec::as_slice);
        let lease = view.registrations.get(&process).and_then(|it| it.lease);
        let (Some(lease), true) = (lease, known != ports) else {
            return Ok(());
        };
        let write = Write::Put {
            key: keys::ports(process),
            value: json(&ports),
            lease: Some(lease),
        };
        let written = Transaction {
            // It may have ended meanwhile.
            compare: vec![view.unchanged(keys::registration(process))],
            writes: vec![write],
        };
        // What has changed is decided by at the next heartbeat.
        let _ = self.store.commit(written).await?;
        Ok(())
    }

    /// Ends a gateway's registration.
    ///
    /// # Errors
    /// What the store says.
    pub async fn end_gateway(&self, process: Process) -> Result<(), Refused> {
        let key = keys::registration(process);
        let entry = self.store.get(&key).await?;
        match entry.and_then(|entry| entry.lease) {
            Some(lease) => Ok(self.store.revoke(lease).await?),
            None => Ok(()),
        }
    }

    async fn put_leased(
        &self,
        key: &Key,
        record: &GatewayRecord,
        compare: Vec<Compare>,
        mut writes: Vec<Write>,
        ttl: Duration,
    ) -> Result<Outcome, store::Error> {
        let lease: LeaseId = self.store.grant(ttl).await?;
        writes.push(Write::Put {
            key: key.clone(),
            value: json(record),
            lease: Some(lease),
        });
        let outcome = self.store.commit(Transaction { compare, writes }).await?;
        if outcome == Outcome::Conflict {
            self.store.revoke(lease).await?;
        }
        Ok(outcome)
    }

    /// Changes a node's record, unless `change` says why not.
    ///
    /// # Errors
    /// [`Refused::NoNode`], what `change` says, and what the store says.
    pub async fn change_node(
        &self,
        name: &str,
        change: impl Fn(&mut NodeRecord) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let key = node_key(name)?;
        for attempt in 0..ATTEMPTS_MAX {
            pause(attempt).await;
            let entry = self.store.get(&key).await?;
            let record: Option<NodeRecord> = read(entry.as_ref())?;
            let Some(record) = record else {
                return Err(Refused::NoNode(name.to_owned()));
            };
            let mut changed = record.clone();
            change(&mut changed)?;
            if changed == record {
                return Ok(());
            }
            let transaction = Transaction {
                compare: vec![compare(&key, entry.as_ref())],
                writes: vec![put(&key, json(&changed))],
            };
            if let Outcome::Committed(_) = self.store.commit(transaction).await? {
                return Ok(());
            }
        }
        Err(Refused::Contended)
    }

    /// Forgets a node that hosts nothing and cannot get anything: it is drained, gone, or a spare. Then no chain that is decided
    /// after its record was read can name it, because that would compare the record.
    ///
    /// # Errors
    /// [`Refused::Precondition`] says what to do first.
    pub async fn remove_node(&self, name: &str) -> Result<(), Refused> {
        let key = node_key(name)?;
        let entry = self.store.get(&key).await?;
        let record: Option<NodeRecord> = read(entry.as_ref())?;
        let Some(record) = record else {
            return Err(Refused::NoNode(name.to_owned()));
        };
        let chains = Key::new("topology/chains").map_err(Refused::Name)?;
        let chains = self.store.list(&Prefix::below(&chains)).await?;
        let mut hosted = 0;
        for entry in &chains.entries {
            let chain: Option<catena_topology::Chain> = read(Some(entry))?;
            let homes = chain.iter().flat_map(|chain| chain.homes.values());
            hosted += homes.filter(|home| home.0 == name).count();
        }
        if hosted > 0 {
            let then = if record.draining {
                "it drains: wait until it hosts none".to_owned()
            } else {
                format!("drain it first, with `catena node drain {name}`")
            };
            let problem = format!("{name} hosts {hosted} replicas: {then}");
            return Err(Refused::Precondition(problem));
        }
        if !record.draining && !record.gone && record.partition.is_some() {
            let problem = format!(
                "{name} may get replicas any moment: drain it first, with `catena node drain {name}`"
            );
            return Err(Refused::Precondition(problem));
        }
        let list = keys::removed();
        let known = self.store.get(&list).await?;
        let mut removed: Vec<Incarnation> = read(known.as_ref())?.unwrap_or_default();
        removed.push(record.incarnation);
        removed.drain(..removed.len().saturating_sub(REMOVED_MAX));
        let removal = Transaction {
            compare: vec![
                compare(&key, entry.as_ref()),
                compare(&list, known.as_ref()),
            ],
            writes: vec![Write::Delete(key), put(&list, json(&removed))],
        };
        match self.store.commit(removal).await? {
            Outcome::Committed(_) => Ok(()),
            Outcome::Conflict => Err(Refused::Contended),
        }
    }

    /// Uses a join token up, for a key: once, unless the same key asks again. It is remembered for `ttl`. `objection` says why
    /// nobody new may use it.
    ///
    /// # Errors
    /// [`Refused::Precondition`] when it was used for another, or with the objection.
    pub async fn use_token(
        &self,
        id: &str,
        name: &str,
        key: &str,
        ttl: Duration,
        objection: Option<String>,
    ) -> Result<(), Refused> {
        let place = keys::join_token(id).map_err(Refused::Name)?;
        let used = (name.to_owned(), key.to_owned());
        for attempt in 0..ATTEMPTS_MAX {
            pause(attempt).await;
            let entry = self.store.get(&place).await?;
            let known: Option<(String, String)> = read(entry.as_ref())?;
            match known {
                Some(known) if known == used => return Ok(()),
                Some((other, _)) => {
                    let problem = format!(
                        "this join token was used by {other} already, and is good for one process: make another with \
                         `catena ca token`"
                    );
                    return Err(Refused::Precondition(problem));
                }
                None => {
                    if let Some(objection) = objection {
                        return Err(Refused::Precondition(objection));
                    }
                }
            }
            let lease = self.store.grant(ttl + TOKEN_MARGIN).await?;
            let write = Transaction {
                compare: vec![Compare::absent(place.clone())],
                writes: vec![Write::Put {
                    key: place.clone(),
                    value: json(&used),
                    lease: Some(lease),
                }],
            };
            if let Outcome::Committed(_) = self.store.commit(write).await? {
                return Ok(());
            }
            self.store.revoke(lease).await?;
        }
        Err(Refused::Contended)
    }

    /// Asks the gateways of this name to drain; answers how many there are.
    ///
    /// # Errors
    /// [`Refused::NoGateway`], and what the store says.
    pub async fn drain_gateway(&self, view: &View, name: &str) -> Result<u32, Refused> {
        let live = view.topology.gateways.live.iter();
        let registered = view
            .registrations
            .values()
            .map(|gateway| (&gateway.incarnation, &gateway.record.name));
        let named = live.chain(registered).filter(|(_, is)| is.0 == name);
        let named: std::collections::BTreeSet<_> = named.map(|(gateway, _)| *gateway).collect();
        if named.is_empty() {
            return Err(Refused::NoGateway(name.to_owned()));
        }
        for gateway in &named {
            let drain = Transaction {
                compare: vec![],
                writes: vec![put(&keys::draining(*gateway), json(&name))],
            };
            // Without comparisons there is no conflict.
            let _ = self.store.commit(drain).await?;
        }
        Ok(named.len() as u32)
    }
}

fn node_key(name: &str) -> Result<Key, Refused> {
    keys::node(&NodeName(name.to_owned())).map_err(Refused::Name)
}

fn check_name(name: &str) -> Result<(), Refused> {
    node_key(name).map(|_| ())
}

/// That the key is as it was read.
pub fn compare(key: &Key, entry: Option<&Entry>) -> Compare {
    entry.map_or_else(|| Compare::absent(key.clone()), Compare::unchanged)
}

/// A write without a lease.
pub fn put(key: &Key, value: Bytes) -> Write {
    Write::Put {
        key: key.clone(),
        value,
        lease: None,
    }
}

pub fn read<T: serde::de::DeserializeOwned>(entry: Option<&Entry>) -> Result<Option<T>, Refused> {
    let Some(entry) = entry else {
        return Ok(None);
    };
    match serde_json::from_slice(&entry.value) {
        Ok(value) => Ok(Some(value)),
        Err(problem) => Err(Refused::Unreadable {
            key: entry.key.clone(),
            problem: problem.to_string(),
        }),
    }
}

pub async fn pause(attempt: u32) {
    if attempt > 0 {
        let most = PAUSE_MS * u64::from(attempt.min(32));
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..=most))).await;
    }
}
