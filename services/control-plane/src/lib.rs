//! The control plane: keeps resources and topology, and reconfigures chains.
//!
//! What is decided is in the [`store`], durable before anyone is told `[C-60]`. A replica is started in a process of its own by
//! `catena control-plane`, and within one by `catena standalone`:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use catena_control_plane::{ControlPlane, Options, access::Access, store::Embedded};
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(Embedded::open("control-plane.redb".as_ref()).await?);
//! let options = Options {
//!     cluster: "catena".to_owned(),
//!     listen: "127.0.0.1:0".parse()?,
//!     admin: Access::local("127.0.0.1:0".parse()?),
//!     advertise: None,
//!     broker: Default::default(),
//!     place: catena_resources::Place::Elsewhere,
//!     traffic: catena_control_plane::Traffic::in_process(),
//! };
//! let control_plane = ControlPlane::start(store, options).await?;
//! println!("listening on {}", control_plane.endpoint());
//! control_plane.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Any number of replicas share one etcd. Each follows the store (`follow`) into a view of it (`view`) that it serves to
//! gateways and backends (`server`); one of them leads (`leader`): it hears the heartbeats, and writes one step of
//! the chain manager after another (`write`). Which keys there are says `keys`.

pub mod access;
pub mod backup;
mod control_plane;
mod follow;
mod keys;
mod leader;
mod passports;
mod record;
mod registry;
mod resources;
mod routes;
mod serve;
mod server;
pub mod store;
mod traffic;
mod view;
mod words;
mod write;

pub use control_plane::{ControlPlane, Options, StartError};
pub use registry::Refused;
pub use resources::{Catalogue, Change, Changed, Happened};
pub use traffic::Traffic;
