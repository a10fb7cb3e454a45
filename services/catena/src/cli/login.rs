//! Who a client says that it is, for all commands that connect.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;

/// The longest password of MQTT, in bytes.
const PASSWORD_BYTES_MAX: usize = u16::MAX as usize;

/// User name and password.
#[derive(Debug, Clone, Default, Args)]
pub struct Login {
    /// User name
    #[arg(short, long)]
    pub username: Option<String>,

    /// Password; better given in the environment or in a file, where `ps` does not show it
    #[arg(short = 'P', long, env = "CATENA_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,

    /// A file with the password, or with a token, without the end of its line; goes before the password of the environment
    #[arg(long, value_name = "FILE", env = "CATENA_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,
}

impl Login {
    /// The password, if there is one. Reads the file.
    ///
    /// # Errors
    /// When the file cannot be read, is empty or too long.
    pub fn password(&self) -> anyhow::Result<Option<Bytes>> {
        let Some(path) = &self.password_file else {
            return Ok(self.password.clone().map(Bytes::from));
        };
        let shown = path.display();
        let mut bytes = fs::read(path).with_context(|| format!("--password-file {shown}"))?;
        for end in [b'\n', b'\r'] {
            if bytes.last() == Some(&end) {
                bytes.pop();
            }
        }
        ensure!(!bytes.is_empty(), "--password-file {shown}: it is empty");
        ensure!(
            bytes.len() <= PASSWORD_BYTES_MAX,
            "--password-file {shown}: it has more than {PASSWORD_BYTES_MAX} bytes, as no password of MQTT has"
        );
        Ok(Some(Bytes::from(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A password with the end of its line in it, with which nobody gets in; or one that loses a blank that belongs to it.
    #[test]
    fn a_file_has_the_password_and_perhaps_the_end_of_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let read = |text: &[u8]| {
            fs::write(&path, text).unwrap();
            let login = Login {
                password: Some("of the environment".to_owned()),
                password_file: Some(path.clone()),
                ..Login::default()
            };
            login.password()
        };
        for text in [&b"se cret "[..], b"se cret \n", b"se cret \r\n"] {
            assert_eq!(read(text).unwrap().unwrap(), &b"se cret "[..]);
        }
        assert_eq!(read(b"a\n\n").unwrap().unwrap(), &b"a\n"[..]);
        for none in [&b""[..], b"\n", b"\r\n", &[b'x'; PASSWORD_BYTES_MAX + 1]] {
            let refused = read(none).unwrap_err().to_string();
            assert!(refused.contains("password"), "{refused}");
            assert!(!refused.contains("xxx"), "{refused}");
        }
        fs::remove_file(&path).unwrap();
        let missing = Login {
            password_file: Some(path.clone()),
            ..Login::default()
        };
        assert!(missing.password().is_err());
    }
}
