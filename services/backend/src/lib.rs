//! Runs replicas of shards and carries their connections: the replica decides, its host only carries.
//!
//! A [`Backend`] is all shards of a process, and the way in to them: it implements [`catena_transport::Accept`], for servers
//! and for [`catena_transport::Local`]. [`Shards`] are those of one thread, a future for any single-threaded runtime:
//!
//! ```no_run
//! # use std::{num::NonZeroUsize, sync::Arc};
//! # use catena_backend::{Backend, Options, Pulse, Spill, ToKeep, Voice};
//! # use catena_chain::Incarnation;
//! # use catena_membership::Cluster;
//! # use catena_transport::Local;
//! # fn start(me: Incarnation, voice: Arc<dyn Voice>) {
//! let (cluster, told) = tokio::sync::watch::channel(Arc::new(Cluster::default()));
//! let (heard, is_heard) = tokio::sync::watch::channel(true);
//! let (keep, to_keep) = tokio::sync::watch::channel(ToKeep::default());
//! let (backend, threads) = Backend::new(Options {
//!     me,
//!     threads: NonZeroUsize::MIN,
//!     cluster: told,
//!     heard: is_heard,
//!     voice,
//!     spill: Spill::new("/var/lib/catena/buffer".as_ref()).unwrap(),
//!     pulse: Pulse::default(),
//!     to_keep,
//! });
//! let local = Local::default();
//! local.add(me, backend);
//! for (index, shards) in threads.into_iter().enumerate() {
//!     let local = local.clone();
//!     catena_runtime::threads::start(&format!("shards-{index}"), move || {
//!         // Or `spawn_local` it beside whatever else runs on the thread.
//!         shards.run(local.clone(), local)
//!     });
//! }
//! # drop((cluster, heard, keep));
//! # }
//! ```
//!
//! Everything else follows from the [`catena_membership::Cluster`] that is told: a shard begins when a configuration names
//! `me`, gets its settings and gateways, founds itself or joins. The failure time-out is the one that was told when it began.
//! Start reading at `host.rs`.

mod backend;
mod chronicle;
mod host;
pub mod limits;
mod neighbour;
mod origin;
mod passports;
mod peer;
mod pulse;
mod ready;
pub mod spill;
pub mod storage;
mod stream;
mod tracer;
mod voice;

pub use backend::{Backend, Options, Shards};
pub use pulse::{Counts, Held, Measured, OnDisk, Pulse};
pub use spill::Spill;
pub use storage::{Storage, StorageError, StorageOptions, ToKeep};
pub use voice::Voice;
