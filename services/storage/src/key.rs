//! Keys: 32 bytes each, from a secret or from a file in the data directory.

use std::{fmt, io, path::Path};

use aws_lc_rs::hkdf;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::disk::Disk;

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// A key that is made here is in the file of this name.
const FILE: &str = "key";

/// Names a key without telling it: derived from it, and written into each file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 16]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What files are encrypted with. Never printed.
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    secret: Zeroizing<[u8; KEY_BYTES]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// Bytes that are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key is 32 bytes, as they are, in base64 or in hexadecimal: `openssl rand -base64 32` makes one"
)]
pub struct InvalidKey;

impl Key {
    fn new(secret: Zeroizing<[u8; KEY_BYTES]>) -> Key {
        let mut id = [0; KEY_BYTES];
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"catena storage")
            .extract(secret.as_ref())
            .expand(&[b"key id"], hkdf::HKDF_SHA256)
            .and_then(|made| made.fill(&mut id))
            .expect("32 bytes are of what SHA-256 gives");
        let mut first = [0; 16];
        first.copy_from_slice(&id[..16]);
        Key {
            id: KeyId(first),
            secret,
        }
    }

    /// What encryption that is turned off uses: everybody knows it.
    pub fn public() -> Key {
        Key {
            id: KeyId([0; 16]),
            secret: Zeroizing::new([0; KEY_BYTES]),
        }
    }

    /// A key as a secret has it.
    ///
    /// # Errors
    /// [`InvalidKey`]
    pub fn read(bytes: &[u8]) -> Result<Key, InvalidKey> {
        if let Ok(secret) = <[u8; KEY_BYTES]>::try_from(bytes) {
            return Ok(Key::new(Zeroizing::new(secret)));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| InvalidKey)?.trim();
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        if text.len() == 2 * KEY_BYTES && text.is_ascii() {
            for (byte, digits) in secret.iter_mut().zip(text.as_bytes().chunks(2)) {
                let digits = std::str::from_utf8(digits).map_err(|_| InvalidKey)?;
                *byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidKey)?;
            }
            return Ok(Key::new(secret));
        }
        let decoded = Zeroizing::new(STANDARD.decode(text).map_err(|_| InvalidKey)?);
        if decoded.len() != KEY_BYTES {
            return Err(InvalidKey);
        }
        secret.copy_from_slice(&decoded);
        Ok(Key::new(secret))
    }

    /// The key in `directory/key`, if it is there.
    ///
    /// # Errors
    /// What the disk says; `InvalidData` when the file holds no key.
    pub fn existing(disk: &dyn Disk, directory: &Path) -> io::Result<Option<Key>> {
        let file = match disk.open(&directory.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Zeroizing::new([0; 128]);
        let length = file.read_at(text.as_mut(), 0)?;
        let key = Key::read(&text[..length]);
        key.map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// The key in `directory/key`, which is made (mode 0600) when it is not there.
    ///
    /// # Errors
    /// As [`Key::existing`].
    pub fn generated(disk: &dyn Disk, directory: &Path) -> io::Result<Key> {
        if let Some(key) = Key::existing(disk, directory)? {
            return Ok(key);
        }
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        disk.fill_random(secret.as_mut())?;
        let text = Zeroizing::new(STANDARD.encode(secret.as_ref()));
        let made = directory.join("key.new");
        if let Err(error) = disk.remove(&made)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let file = disk.create(&made)?;
        file.write_at(text.as_bytes(), 0)?;
        file.sync()?;
        disk.rename(&made, &directory.join(FILE))?;
        disk.sync_directory(directory)?;
        Ok(Key::new(secret))
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    pub(crate) fn secret(&self) -> &[u8; KEY_BYTES] {
        &self.secret
    }
}

/// The key for what is written from now on, and those for what was written before.
#[derive(Debug, Clone)]
pub struct Keys {
    pub current: Key,
    pub older: Vec<Key>,
}

impl Keys {
    /// Encryption is turned off, and nothing was written before that was not.
    pub fn public() -> Keys {
        Keys {
            current: Key::public(),
            older: Vec::new(),
        }
    }

    /// The key of that name. What was written without encryption is always readable.
    pub(crate) fn find(&self, id: KeyId) -> Option<Key> {
        let mut all = std::iter::once(&self.current).chain(&self.older);
        let found = all.find(|key| key.id == id).cloned();
        found.or_else(|| (id == Key::public().id).then(Key::public))
    }
}
