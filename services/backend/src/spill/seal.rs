//! Parts are encrypted with a key that only this process ever has: whoever takes the disk finds nothing, and what the disk changed
//! is not taken for what was written. AES-256-GCM by aws-lc, which is here already for TLS and for what is persisted.

use std::io;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};

/// Bytes that a part is longer by in its file.
#[cfg(test)]
pub(super) const TAG_BYTES: usize = 16;

/// The key of this process. Nonces are drawn: the bound of 2^32 of them is a petabyte of parts.
#[derive(Debug)]
pub(super) struct Seal(RandomizedNonceKey);

impl Seal {
    /// A new key.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> io::Result<Seal> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(none_given)?;
        RandomizedNonceKey::new(&AES_256_GCM, &bytes)
            .map(Seal)
            .map_err(none_given)
    }

    /// What is written for `bytes`, and what it takes to read it.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn seal(&self, bytes: &[u8]) -> io::Result<(Vec<u8>, Nonce)> {
        let mut sealed = Vec::with_capacity(bytes.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(bytes);
        let nonce = self.0.seal_in_place_append_tag(Aad::empty(), &mut sealed);
        Ok((sealed, nonce.map_err(none_given)?))
    }

    /// What was written, if `sealed` is what came of it.
    pub fn open(&self, mut sealed: Vec<u8>, nonce: &[u8; 12]) -> Option<Vec<u8>> {
        let nonce = Nonce::from(nonce);
        let opened = self.0.open_in_place(nonce, Aad::empty(), &mut sealed);
        let len = opened.ok()?.len();
        sealed.truncate(len);
        Some(sealed)
    }
}

fn none_given(_: aws_lc_rs::error::Unspecified) -> io::Error {
    io::Error::other("the system gives no random numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    // A stolen disk would tell what clients were sent; a bad one would change it.
    #[test]
    fn nobody_reads_it_and_nobody_changes_it() {
        let seal = Seal::new().unwrap();
        let part = b"temperature of the furnace: 1,204".repeat(100);
        let (sealed, nonce) = seal.seal(&part).unwrap();
        let nonce = nonce.as_ref();
        assert_eq!(sealed.len(), part.len() + TAG_BYTES);
        assert!(!sealed.windows(7).any(|window| window == b"furnace"));
        assert_eq!(seal.open(sealed.clone(), nonce), Some(part.clone()));
        for at in [0, 1_000, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(seal.open(changed, nonce), None);
        }
        let (again, _) = seal.seal(&part).unwrap();
        assert_ne!(again, sealed, "a nonce is used once");
        assert_eq!(Seal::new().unwrap().open(sealed, nonce), None);
    }
}
