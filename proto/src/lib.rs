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

/// The version of what processes say to each other. It rises with a change that the version before does not understand, at most by one
/// from release to release.
pub const PROTOCOL: u32 = 1;

/// Whether processes of this version work with one of version `other`: of the same, the one before and the one behind, so that a cluster
/// is upgraded process by process in any order. Who does not say his version has 0.
pub const fn understands(other: u32) -> bool {
    other.abs_diff(PROTOCOL) <= 1
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
