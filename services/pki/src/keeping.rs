//! Where a process has its identity from, and keeps it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::{
    automatic::{Automatic, Held},
    follow::{Following, Task, follow_files},
    identity::Identity,
    internal::Internal,
    trust::Trust,
    write,
};

/// How often the file of CAs is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Chain and key.
const BOTH: &str = "member.pem";
/// The key that the first certificate is asked for with.
const KEY: &str = "first.key";
const KEY_BEGINS: &str = "-----BEGIN PRIVATE KEY-----";
const TRUST: &str = "ca.crt";

/// What keeps an identity fresh; dropped, it stays as it is.
#[derive(Debug)]
pub struct Keeping {
    _kept: Kept,
    _tasks: Vec<Task>,
}

#[derive(Debug)]
enum Kept {
    Files { _following: Following },
    Automatic { _automatic: Arc<Automatic> },
}

impl Keeping {
    /// Renewed by `automatic`, with tasks that go on for as long as this lives.
    pub fn automatic(
        automatic: Arc<Automatic>,
        tasks: impl IntoIterator<Item = tokio::task::JoinHandle<()>>,
    ) -> Keeping {
        Keeping {
            _kept: Kept::Automatic {
                _automatic: automatic,
            },
            _tasks: tasks.into_iter().map(Task).collect(),
        }
    }
}

/// An identity from files that somebody else renews: a chain, its key, and the CAs to trust, all PEM. They are read again
/// when they change. Must be called inside a tokio runtime.
///
/// # Errors
/// Which file cannot be used, and why.
pub fn member_files(
    chain: PathBuf,
    key: PathBuf,
    trust: PathBuf,
) -> Result<(Internal, Keeping), String> {
    let at = |path: &Path, problem: String| format!("{}: {problem}", path.display());
    let following = follow_files("internal traffic", chain.clone(), key);
    let served = following.served();
    let Some(shown) = served.current() else {
        let problem = following.state().borrow().problem.clone();
        return Err(at(&chain, problem.unwrap_or_default()));
    };
    let me = Identity::of(&shown.chain()[0]).map_err(|error| at(&chain, error.to_string()))?;
    let read = |path: &Path| {
        let content = write::read(path).map_err(|error| error.to_string())?;
        String::from_utf8(content).map_err(|_| "it must be PEM".to_owned())
    };
    let pem = read(&trust).map_err(|problem| at(&trust, problem))?;
    let trusted = Trust::new(&pem).map_err(|error| at(&trust, error.to_string()))?;
    let internal = Internal::new(me, served, trusted.clone()).map_err(|error| error.to_string())?;
    let following_trust = tokio::spawn(async move {
        let mut told = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let set = read(&trust)
                .and_then(|pem| trusted.set(&pem).map_err(|problem| problem.to_string()));
            match set {
                Ok(true) => info!(file = %trust.display(), "other CAs are trusted now"),
                Ok(false) => told = None,
                Err(problem) if told.as_ref() != Some(&problem) => {
                    warn!(file = %trust.display(), problem, "the CAs cannot be read: those before stay");
                    told = Some(problem);
                }
                Err(_) => {}
            }
        }
    });
    let keeping = Keeping {
        _kept: Kept::Files {
            _following: following,
        },
        _tasks: vec![Task(following_trust)],
    };
    Ok((internal, keeping))
}

/// A member's certificate, key and trusted CAs in a directory that is its own.
#[derive(Debug, Clone)]
pub struct Stored {
    directory: PathBuf,
}

impl Stored {
    /// In `data_dir/internal`, which is made when something is put there.
    pub fn new(data_dir: &Path) -> Stored {
        Stored {
            directory: data_dir.join("internal"),
        }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is kept, and whom to trust; `None` when nothing is.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&self) -> io::Result<Option<(Held, String)>> {
        let (Some(both), Some(trust)) = (self.text(BOTH)?, self.text(TRUST)?) else {
            return Ok(None);
        };
        let both = Zeroizing::new(both);
        let Some(at) = both.find(KEY_BEGINS) else {
            return Ok(None);
        };
        let held = Held {
            chain: both[..at].to_owned(),
            key: Zeroizing::new(both[at..].to_owned()),
        };
        Ok(Some((held, trust)))
    }

    /// A key whose certificate may never have arrived.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn key(&self) -> io::Result<Option<Zeroizing<String>>> {
        Ok(self.text(KEY)?.map(Zeroizing::new))
    }

    /// Keeps a key before a certificate is asked for: whoever has to ask again asks with the same.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn put_key(&self, key: &str) -> io::Result<()> {
        write::directory(&self.directory)?;
        write::replace(&self.directory.join(KEY), key.as_bytes(), true)
    }

    /// Keeps everything. Chain and key are one file, so that they always fit together.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn put(&self, held: &Held, trust: &str) -> io::Result<()> {
        write::directory(&self.directory)?;
        let both = Zeroizing::new(format!("{}{}", held.chain, *held.key));
        write::replace(&self.directory.join(BOTH), both.as_bytes(), true)?;
        self.put_trust(trust)?;
        if self.key()?.is_some_and(|first| first != held.key) {
            std::fs::remove_file(self.directory.join(KEY))?;
        }
        Ok(())
    }

    /// Keeps whom to trust.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn put_trust(&self, trust: &str) -> io::Result<()> {
        write::replace(&self.directory.join(TRUST), trust.as_bytes(), false)
    }

    fn text(&self, name: &str) -> io::Result<Option<String>> {
        match write::read(&self.directory.join(name)) {
            Ok(bytes) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| io::Error::other(format!("{name} must be PEM"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A key without its certificate is worth nothing, and a token is needed again.
    #[test]
    fn what_is_kept_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let stored = Stored::new(directory.path());
        assert!(stored.read().unwrap().is_none());
        let now = std::time::SystemTime::now();
        let ca = crate::Ca::create("test", now).unwrap();
        let held = || {
            let key = crate::generate(Default::default()).unwrap();
            let request = crate::request(&key).unwrap();
            let subject = crate::Subject::server(["a.example"]);
            let chain = ca.issue(&request, &subject, Duration::from_secs(60), now);
            let chain = chain.unwrap();
            Held { chain, key }
        };
        let (first, second) = (held(), held());
        stored.put_key(&first.key).unwrap();
        assert!(stored.read().unwrap().is_none());
        for held in [&first, &second] {
            stored.put(held, &ca.trust_pem()).unwrap();
            let (read, trust) = stored.read().unwrap().unwrap();
            assert_eq!((&read.chain, &read.key), (&held.chain, &held.key));
            assert_eq!(trust, ca.trust_pem());
        }
        assert_eq!(stored.key().unwrap(), None);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let file = std::fs::metadata(stored.directory().join(BOTH)).unwrap();
            assert_eq!(file.permissions().mode() & 0o777, 0o600);
        }
    }
}
