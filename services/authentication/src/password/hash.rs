//! Hashes of passwords, in PHC format, and bcrypt's older one. Pure, and slow on purpose.

use argon2::{Algorithm, Argon2, Params, Version};
use password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use pbkdf2::Pbkdf2;
use scrypt::Scrypt;

/// What argon2id costs for new hashes: 19 MiB and two passes, of one thread. OWASP's first choice; some 20 ms of a core.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A hash that needs more memory than this to check is refused: several are checked at a time.
const HASH_BYTES_MAX: u64 = 256 << 20;

/// The longest hash, in characters.
const HASH_LENGTH_MAX: usize = 1_024;

/// The longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 4_096;

/// Why a hash cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("it is no hash in PHC format; `catena passwd` makes them")]
    Format,
    #[error("argon2id, scrypt, pbkdf2-sha256, pbkdf2-sha512 and bcrypt hashes are taken")]
    Algorithm,
    #[error("checking it would take more than {} MiB", HASH_BYTES_MAX >> 20)]
    TooExpensive,
    #[error("its parameters are out of range")]
    Parameters,
}

/// Whether `password` is the one that `hash` was made of. Takes the time that the hash says, some 20 ms and more.
///
/// # Errors
/// When the hash cannot be used, whatever the password.
pub fn verify(password: &[u8], hash: &str) -> Result<bool, Unusable> {
    let verified = match usable(hash)? {
        Usable::Argon2(hash) => Argon2::default().verify_password(password, &hash),
        Usable::Scrypt(hash) => Scrypt::new().verify_password(password, &hash),
        Usable::Pbkdf2(hash) => Pbkdf2::SHA256.verify_password(password, &hash),
        Usable::Bcrypt(hash) => {
            return bcrypt::verify(password, hash).map_err(|_| Unusable::Parameters);
        }
    };
    match verified {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(Unusable::Parameters),
    }
}

/// Whether a hash can be used, without the cost of using it.
///
/// # Errors
/// Why it cannot.
pub fn check(hash: &str) -> Result<(), Unusable> {
    usable(hash).map(|_| ())
}

/// What checking a hash costs, very roughly in nanoseconds: to compare hashes of different kinds. 0 for one that cannot be used.
pub fn cost(hash: &str) -> u64 {
    match usable(hash) {
        Ok(Usable::Argon2(hash)) => Params::try_from(&hash).map_or(0, |params| {
            let kib = u64::from(params.m_cost()) * u64::from(params.t_cost());
            kib.saturating_mul(500)
        }),
        Ok(Usable::Scrypt(hash)) => scrypt::Params::try_from(&hash).map_or(0, |params| {
            let blocks = 1_u64.checked_shl(params.log_n().into()).unwrap_or(u64::MAX);
            let each = u64::from(params.r()) * u64::from(params.p());
            blocks.saturating_mul(each).saturating_mul(300)
        }),
        Ok(Usable::Pbkdf2(hash)) => {
            let params = pbkdf2::Params::try_from(&hash);
            params.map_or(0, |params| u64::from(params.rounds()) * 400)
        }
        Ok(Usable::Bcrypt(hash)) => hash
            .parse()
            .map_or(0, |parts: bcrypt::HashParts| 50_000 << parts.get_cost()),
        Err(_) => 0,
    }
}

/// A new hash of `password`: argon2id in PHC format. Takes some 20 ms. `salt` is 16 random bytes.
///
/// # Errors
/// When the password is longer than [`PASSWORD_BYTES_MAX`].
pub fn make(password: &[u8], salt: &[u8; 16]) -> Result<String, Unusable> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Unusable::Parameters);
    }
    let hash = argon2()?.hash_password_with_salt(password, salt);
    Ok(hash.map_err(|_| Unusable::Parameters)?.to_string())
}

fn argon2() -> Result<Argon2<'static>, Unusable> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| Unusable::Parameters)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

enum Usable<'a> {
    Argon2(PasswordHash),
    Scrypt(PasswordHash),
    Pbkdf2(PasswordHash),
    Bcrypt(&'a str),
}

fn usable(hash: &str) -> Result<Usable<'_>, Unusable> {
    if hash.len() > HASH_LENGTH_MAX {
        return Err(Unusable::Format);
    }
    if ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|prefix| hash.starts_with(prefix))
    {
        let parts: bcrypt::HashParts = hash.parse().map_err(|_| Unusable::Format)?;
        let affordable = (4..=BCRYPT_COST_MAX).contains(&parts.get_cost());
        return if affordable {
            Ok(Usable::Bcrypt(hash))
        } else {
            Err(Unusable::TooExpensive)
        };
    }
    let parsed = PasswordHash::new(hash).map_err(|_| Unusable::Format)?;
    if parsed.salt.is_none() || parsed.hash.is_none() {
        return Err(Unusable::Format);
    }
    match parsed.algorithm.as_str() {
        "argon2id" => {
            let params = Params::try_from(&parsed).map_err(|_| Unusable::Parameters)?;
            affordable(u64::from(params.m_cost()) * 1024)?;
            Ok(Usable::Argon2(parsed))
        }
        "scrypt" => {
            let params = scrypt::Params::try_from(&parsed).map_err(|_| Unusable::Parameters)?;
            let blocks = 1_u64.checked_shl(params.log_n().into()).unwrap_or(u64::MAX);
            affordable(blocks.saturating_mul(128 * u64::from(params.r())))?;
            Ok(Usable::Scrypt(parsed))
        }
        "pbkdf2-sha256" | "pbkdf2-sha512" => {
            let params = pbkdf2::Params::try_from(&parsed).map_err(|_| Unusable::Parameters)?;
            if params.rounds() > PBKDF2_ROUNDS_MAX {
                return Err(Unusable::TooExpensive);
            }
            Ok(Usable::Pbkdf2(parsed))
        }
        _ => Err(Unusable::Algorithm),
    }
}

/// Some ten seconds of a core.
const BCRYPT_COST_MAX: u32 = 16;
const PBKDF2_ROUNDS_MAX: u32 = 10_000_000;

fn affordable(bytes: u64) -> Result<(), Unusable> {
    if bytes > HASH_BYTES_MAX {
        Err(Unusable::TooExpensive)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash that another tool made, and that nobody can log in with after moving here.
    #[test]
    fn hashes_of_all_kinds_are_checked() {
        let hashes = [
            // passlib's own examples.
            (
                "password",
                "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
            ),
            (
                "passwordPASSWORDpassword",
                "$pbkdf2-sha256$i=4096,l=40$c2FsdFNBTFRzYWx0U0FMVHNhbHRTQUxUc2FsdFNBTFRzYWx0$NIyJ28vTKy8y2BS4EW6EzysXNH68GAAYHE4qH7jdU+HGNVGMfaxH6Q",
            ),
            (
                "hunter2",
                "$argon2id$v=19$m=65536,t=1,p=1$c29tZXNhbHQ$xTGhi2dMOzGP0v5ruH1MmkpBjR1LYLQGUDzBNqQBXlE",
            ),
        ];
        for (password, hash) in &hashes[..2] {
            assert_eq!(verify(password.as_bytes(), hash), Ok(true), "{hash}");
            assert_eq!(verify(b"Password", hash), Ok(false), "{hash}");
        }
        assert_eq!(verify(b"wrong", hashes[2].1), Ok(false));
        let bcrypt = bcrypt::hash_with_salt("hunter2", 4, [7; 16]).unwrap();
        for version in [
            bcrypt::Version::TwoA,
            bcrypt::Version::TwoB,
            bcrypt::Version::TwoY,
        ] {
            let hash = bcrypt.format_for_version(version);
            assert_eq!(verify(b"hunter2", &hash), Ok(true), "{hash}");
            assert_eq!(verify(b"hunter3", &hash), Ok(false), "{hash}");
        }
        let sha512 = Pbkdf2::SHA512;
        let params = pbkdf2::Params::new(1_000).unwrap();
        let hash: PasswordHash = password_hash::CustomizedPasswordHasher::hash_password_customized(
            &sha512,
            b"hunter2",
            &[7; 16],
            Some("pbkdf2-sha512"),
            None,
            params,
        )
        .unwrap();
        assert!(hash.to_string().starts_with("$pbkdf2-sha512$i=1000"));
        assert_eq!(verify(b"hunter2", &hash.to_string()), Ok(true));
        assert_eq!(verify(b"hunter3", &hash.to_string()), Ok(false));
    }

    /// A hash of `catena passwd` that the broker does not take, or a weak one.
    #[test]
    fn what_is_made_is_argon2id_and_can_be_checked() {
        let hash = make(b"hunter2", &[7; 16]).unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert_eq!(check(&hash), Ok(()));
        assert_eq!(verify(b"hunter2", &hash), Ok(true));
        assert_eq!(verify(b"hunter3", &hash), Ok(false));
        assert_eq!(verify(b"", &hash), Ok(false));
        assert_ne!(hash, make(b"hunter2", &[8; 16]).unwrap());
        assert!(make(&[b'x'; PASSWORD_BYTES_MAX + 1], &[7; 16]).is_err());
    }

    /// A password in clear text in the secret, which would be taken; or a hash whose check takes all memory.
    #[test]
    fn what_is_no_hash_is_said() {
        for (hash, why) in [
            ("", Unusable::Format),
            ("hunter2", Unusable::Format),
            ("$argon2id$v=19$m=65536,t=1,p=1", Unusable::Format),
            ("$2b$12$short", Unusable::Format),
            (
                "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$xTGhi2dMOzGP0v5ruH1MmkpBjR1LYLQGUDzBNqQBXlE",
                Unusable::TooExpensive,
            ),
            (
                "$scrypt$ln=24,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
                Unusable::TooExpensive,
            ),
            (
                "$md5$i=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
                Unusable::Algorithm,
            ),
        ] {
            assert_eq!(check(hash), Err(why.clone()), "{hash}");
            assert_eq!(verify(b"hunter2", hash), Err(why), "{hash}");
        }
    }
}
