//! Turns the `.proto` files into Rust. `protox` parses them, so that no `protoc` has to be installed.

use std::{env, fs, path::PathBuf};

const FILES: &[&str] = &[
    "catena/internal/v1/link.proto",
    "catena/internal/v1/chain.proto",
    "catena/internal/v1/certificates.proto",
    "catena/internal/v1/membership.proto",
    "catena/internal/v1/saved.proto",
    "catena/internal/v1/inspection.proto",
    "catena/internal/v1/passports.proto",
    "catena/admin/v1/backups.proto",
    "catena/admin/v1/cluster.proto",
    "catena/admin/v1/resources.proto",
    "catena/admin/v1/sessions.proto",
    "catena/admin/v1/retained.proto",
    "catena/admin/v1/authorization.proto",
    "catena/admin/v1/traces.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=catena");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // For gRPC reflection.
    fs::write(
        out.join("descriptors.bin"),
        prost::Message::encode_to_vec(&descriptors),
    )?;
    tonic_prost_build::configure()
        // Slices of what was received, never copies.
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
