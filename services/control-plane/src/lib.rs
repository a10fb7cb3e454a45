//! The control plane: keeps resources and topology, and reconfigures chains.
//!
//! Today it holds the [`store`] alone: what is decided, durable before anyone is told `[C-60]`.

pub mod store;
