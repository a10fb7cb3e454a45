//! Tokens of administrators, by their hashes.

use std::fmt::Write;

use aws_lc_rs::{constant_time, digest};

use super::Role;

/// Tokens in one file.
const TOKENS_MAX: usize = 1_000;
const HASH_BYTES: usize = 32;

/// Who may come in by a token. The tokens themselves are not known here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tokens(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    role: Role,
    hash: [u8; HASH_BYTES],
    name: String,
}

impl Tokens {
    /// Reads lines `ROLE: HASH NAME`: the role is `admin` or `viewer`, the hash SHA-256 of the token in hexadecimal
    /// digits. The name, for the audit's log, may be left out. Empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The line that is none, without what it holds.
    pub fn parse(text: &str) -> Result<Tokens, String> {
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = Entry::parse(line).ok_or_else(|| {
                format!(
                    "line {}: must be ROLE: HASH NAME, with admin or viewer for the role, and the 64 hexadecimal digits of the \
                     token's SHA-256",
                    index + 1
                )
            })?;
            entries.push(entry);
        }
        if entries.is_empty() {
            return Err("has no token: nobody could come in".to_owned());
        }
        if entries.len() > TOKENS_MAX {
            return Err(format!("has more than {TOKENS_MAX} tokens"));
        }
        Ok(Tokens(entries))
    }

    /// The name and the role of who has this token. Takes as long for all tokens.
    pub fn find(&self, token: &str) -> Option<(String, Role)> {
        let asked = digest::digest(&digest::SHA256, token.as_bytes());
        let mut found = None;
        for entry in &self.0 {
            if constant_time::verify_slices_are_equal(asked.as_ref(), &entry.hash).is_ok() {
                found = Some(entry);
            }
        }
        found.map(|entry| (entry.name.clone(), entry.role))
    }
}

impl Entry {
    fn parse(line: &str) -> Option<Entry> {
        let (role, rest) = line.split_once(':')?;
        let mut words = rest.split_whitespace();
        let hash = words.next()?;
        let hash = hash.strip_prefix("sha256:").unwrap_or(hash);
        let name = words.next().map(str::to_owned);
        if words.next().is_some() {
            return None;
        }
        let hash = bytes(hash)?;
        Some(Entry {
            role: Role::parse(role.trim())?,
            name: name.unwrap_or_else(|| nameless(&hash)),
            hash,
        })
    }
}

/// The beginning of the hash tells tokens apart, and helps nobody to guess one.
fn nameless(hash: &[u8; HASH_BYTES]) -> String {
    let mut name = "token-".to_owned();
    for byte in &hash[..4] {
        // Writing to a String does not fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

fn bytes(digits: &str) -> Option<[u8; HASH_BYTES]> {
    if digits.len() != 2 * HASH_BYTES || !digits.is_ascii() {
        return None;
    }
    let mut bytes = [0; HASH_BYTES];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // SHA-256 of "secret".
    const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    // A token that is found under another role would let viewers change things.
    #[test]
    fn a_token_has_the_role_of_its_line() {
        let text = format!(
            "# of the team\nviewer: {}\n\nadmin: sha256:{HASH} alice\n",
            "0".repeat(64)
        );
        let tokens = Tokens::parse(&text).unwrap();
        assert_eq!(
            tokens.find("secret"),
            Some(("alice".to_owned(), Role::Admin))
        );
        assert_eq!(tokens.find("Secret"), None);
        assert_eq!(tokens.find(""), None);
        let unnamed = Tokens::parse(&format!("viewer: {HASH}")).unwrap();
        assert_eq!(
            unnamed.find("secret"),
            Some(("token-2bb80d53".to_owned(), Role::Viewer))
        );
    }

    // What cannot be read must not be taken for less protection, and a secret in the wrong place not be logged.
    #[test]
    fn wrong_lines_are_named_by_their_number_alone() {
        for wrong in ["admin: hunter2", "root: 00", "hunter2", "admin hunter2", ""] {
            let problem = Tokens::parse(wrong).unwrap_err();
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        let second = format!("admin: {HASH}\nadmin: {HASH} a b");
        assert!(Tokens::parse(&second).unwrap_err().starts_with("line 2"));
    }
}
