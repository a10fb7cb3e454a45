//! Each file has a key of its own, from the node's key and a random salt in the file's header.
//!
//! So the number of a frame in its file can be its nonce: no file is written by two lives of a process, and no number is
//! given twice in one. The header goes into the derivation, so that a header that was changed opens nothing.

use std::{io, path::Path};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf,
};
use catena_chain::{Epoch, Position};
use catena_slots::ShardId;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    disk::{Disk, File},
    error::{Reason, Unusable},
    key::{Key, KeyId, Keys},
};

/// Bytes of the tag behind what is sealed.
pub(crate) const TAG_BYTES: usize = 16;
/// Bytes of a file's header.
pub(crate) const HEADER_BYTES: usize = 104;

const MAGIC: &[u8; 8] = b"catena-d";
/// Of the format of logs and snapshots.
const VERSION: u16 = 1;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Log = 1,
    Snapshot = 2,
}

/// What stands at the beginning of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: Kind,
    pub shard: ShardId,
    /// Of the file, in its state.
    pub number: u64,
    /// Of a segment: what its first entry follows. Of a snapshot: what it is the state at.
    pub base: Position,
    pub key: KeyId,
    pub salt: [u8; 32],
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = self.kind as u8;
        bytes[12..14].copy_from_slice(&self.shard.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base.index.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.base.epoch.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.base.digest.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.key.0);
        bytes[64..96].copy_from_slice(&self.salt);
        let check = xxh3_64(&bytes[..96]);
        bytes[96..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES], kind: Kind) -> Result<Header, Reason> {
        let damaged = |what| Reason::Damaged { offset: 0, what };
        if xxh3_64(&bytes[..96]) != number(&bytes[96..]) || &bytes[..8] != MAGIC {
            return Err(damaged("the header is broken"));
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(Reason::Newer(version));
        }
        if bytes[10] != kind as u8 {
            return Err(damaged("it is another kind of file"));
        }
        let (mut key, mut salt) = ([0; 16], [0; 32]);
        key.copy_from_slice(&bytes[48..64]);
        salt.copy_from_slice(&bytes[64..96]);
        Ok(Header {
            kind,
            shard: ShardId(u16::from_le_bytes([bytes[12], bytes[13]])),
            number: number(&bytes[16..24]),
            base: Position {
                index: number(&bytes[24..32]),
                epoch: Epoch(number(&bytes[32..40])),
                digest: number(&bytes[40..48]),
            },
            key: KeyId(key),
            salt,
        })
    }
}

/// The key that a log or a snapshot needs, as its header says.
pub(crate) fn key_of(disk: &dyn Disk, path: &Path) -> io::Result<KeyId> {
    let file = disk.open(path)?;
    let mut bytes = [0; HEADER_BYTES];
    file.read_at(&mut bytes, 0)?;
    let kind = if bytes[10] == Kind::Log as u8 {
        Kind::Log
    } else {
        Kind::Snapshot
    };
    let header = Header::decode(&bytes, kind);
    let broken = |reason: Reason| {
        let problem = format!("{}: {reason}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, problem)
    };
    header.map(|header| header.key).map_err(broken)
}

/// The number in the first eight bytes.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(number)
}

/// Seals and opens what is in one file.
#[derive(Debug)]
pub(crate) struct Sealer {
    key: LessSafeKey,
    /// Makes checks of this file unlike those of any other.
    pub seed: u64,
}

/// What was sealed is not what is there.
#[derive(Debug)]
pub(crate) struct Broken;

impl Sealer {
    fn new(key: &Key, header: &Header) -> Sealer {
        let mut derived = [0; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, &header.salt)
            .extract(key.secret())
            .expand(&[&header.encode()], hkdf::HKDF_SHA256)
            .and_then(|made| made.fill(&mut derived))
            .expect("32 bytes are of what SHA-256 gives");
        let key = UnboundKey::new(&AES_256_GCM, &derived).expect("the key has 32 bytes");
        zeroize::Zeroize::zeroize(&mut derived);
        Sealer {
            key: LessSafeKey::new(key),
            seed: number(&header.salt),
        }
    }

    /// Encrypts `bytes` in place, as number `sequence` of its file, and returns the tag.
    pub(crate) fn seal(&self, sequence: u64, head: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(sequence), Aad::from(head), bytes)
            .expect("nothing is sealed that is as long as AES-GCM's bound");
        let mut made = [0; TAG_BYTES];
        made.copy_from_slice(tag.as_ref());
        made
    }

    /// Decrypts in place what ends with its tag.
    pub(crate) fn open<'a>(
        &self,
        sequence: u64,
        head: &[u8],
        bytes: &'a mut [u8],
    ) -> Result<&'a mut [u8], Broken> {
        self.key
            .open_in_place(nonce(sequence), Aad::from(head), bytes)
            .map_err(|_| Broken)
    }
}

fn nonce(sequence: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&sequence.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// A header for a new file, and what seals it.
pub(crate) fn begin(
    disk: &dyn Disk,
    key: &Key,
    kind: Kind,
    shard: ShardId,
    number: u64,
    base: Position,
) -> io::Result<(Header, Sealer)> {
    let mut salt = [0; 32];
    disk.fill_random(&mut salt)?;
    let header = Header {
        kind,
        shard,
        number,
        base,
        key: key.id(),
        salt,
    };
    Ok((header, Sealer::new(key, &header)))
}

/// Reads the header of a file that is there.
pub(crate) fn resume(
    file: &dyn File,
    path: &Path,
    keys: &Keys,
    kind: Kind,
) -> Result<(Header, Sealer), Unusable> {
    let mut bytes = [0; HEADER_BYTES];
    let length = file
        .read_at(&mut bytes, 0)
        .map_err(|error| Reason::from(error).at(path))?;
    if length < HEADER_BYTES {
        let what = "the header is cut";
        return Err(Reason::Damaged { offset: 0, what }.at(path));
    }
    let header = Header::decode(&bytes, kind).map_err(|reason| reason.at(path))?;
    let key = keys
        .find(header.key)
        .ok_or_else(|| Reason::UnknownKey(header.key).at(path))?;
    Ok((header, Sealer::new(&key, &header)))
}
