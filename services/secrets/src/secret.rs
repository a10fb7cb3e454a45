//! A value that must not be seen.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

/// A value that must not be seen: it prints nothing, and its memory is overwritten when its last clone is dropped.
///
/// Cheap to clone. What copies it (`to_vec`, a parsed key) is on its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Takes over `value`.
    pub fn new(value: Vec<u8>) -> Secret {
        Secret(Arc::new(Zeroizing::new(value)))
    }

    /// The value as it is in the file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, without white space at its ends: editors and `echo` add line ends that nobody means. `None` where it is
    /// not UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok().map(str::trim)
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
