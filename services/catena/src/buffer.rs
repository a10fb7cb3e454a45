//! Where parts of long queues go that leave memory.

use std::path::{Path, PathBuf};

use anyhow::Context;
use catena_backend::Spill;

/// The directory that a standalone broker takes if it is told none.
pub fn beside(data_dir: Option<&Path>) -> PathBuf {
    match data_dir {
        Some(directory) => directory.join("buffer"),
        // One for each process: nobody else may have it.
        None => std::env::temp_dir().join(format!("catena-buffer-{}", std::process::id())),
    }
}

/// Takes the directory, if it is there; it is made with the first part.
///
/// # Errors
/// It cannot be emptied, or another process has it.
pub fn open(directory: &Path) -> anyhow::Result<Spill> {
    Spill::new(directory).with_context(|| {
        format!(
            "cannot use {} for long queues: name another by --buffer-dir",
            directory.display()
        )
    })
}
