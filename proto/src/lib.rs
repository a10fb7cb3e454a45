//! What Catena's processes say to each other, and to administrators, as protobuf over gRPC.
//!
//! The `.proto` files beside this crate are the agreement; here is what is generated from them, and nothing else.

/// Between gateways, backends and the control plane. It may change with each feature level.
pub mod internal {
    pub mod v1 {
        #![allow(clippy::all, missing_docs)]
        tonic::include_proto!("catena.internal.v1");
    }
}

/// What administrators and their programs use. It only grows.
pub mod admin {
    pub mod v1 {
        #![allow(clippy::all, missing_docs)]
        tonic::include_proto!("catena.admin.v1");
    }
}

/// All files as a `FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
