//! The client of the control plane, for gateways and backends: they register, heartbeat, report, accuse and watch.
//!
//! ```no_run
//! # use catena_membership::{ControlPlane, NodeRegistration, Said};
//! # async fn backend() -> Result<(), Box<dyn std::error::Error>> {
//! let control_plane = ControlPlane::new(vec!["http://control-plane:9701".to_owned()])?;
//! let cluster = control_plane.watch();
//! let incarnation = control_plane
//!     .register_node(NodeRegistration {
//!         name: "backend-0".to_owned(),
//!         zone: None,
//!         addresses: vec!["backend-0:9702".to_owned()],
//!         process: catena_membership::process_token(),
//!         kept: Vec::new(),
//!     })
//!     .await;
//! let voice = control_plane.node_voice("backend-0".to_owned(), incarnation, Said::default);
//! # drop((cluster, voice));
//! # Ok(())
//! # }
//! ```
//!
//! With the control plane away everything that was told stays as it is: [`ControlPlane::watch`] keeps the last
//! [`Cluster`], and all that is asked for is asked again, with backoff and jitter, of any replica. No type of gRPC is in
//! this interface.

mod cluster;
mod control_plane;
mod endpoints;
mod joining;
pub mod passports;
mod registration;
mod signers;
mod speaking;
mod voice;
mod watching;
pub mod wire;

pub use cluster::Cluster;
pub use control_plane::ControlPlane;
pub use endpoints::InvalidEndpoint;
pub use joining::{JoinError, Member, member};
pub use registration::{GatewayRegistration, NodeRegistration, process_token};
pub use signers::ServerSigner;
pub use voice::{GatewayVoice, NodeVoice, PortStatus, Said, SelfChecked};

pub use catena_topology::GatewayIncarnation;
