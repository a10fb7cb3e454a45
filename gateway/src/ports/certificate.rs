//! The certificate of a port: from a secret, or from the cluster's own CA.

use std::{sync::Arc, time::SystemTime};

use catena_pki::{Following, Pair, Served, State, follow};
use catena_secrets::Secrets;

/// A certificate that is kept fresh, and perhaps the one that is to take its place.
#[derive(Debug)]
pub(crate) struct Certificate {
    shown: Source,
    /// Another secret is named now, and what is in it cannot be used yet.
    next: Option<Source>,
}

#[derive(Debug)]
struct Source {
    secret: String,
    following: Following,
}

impl Certificate {
    /// Begins with the secret of that name.
    pub fn of_secret(secret: &str, secrets: &Secrets) -> Certificate {
        Certificate {
            shown: Source::new(secret, secrets),
            next: None,
        }
    }

    /// Takes the secret of that name, once what is in it can be used. `true`: it is another that is shown now.
    pub fn look(&mut self, secret: &str, secrets: &Secrets) -> bool {
        let named = self.next.as_ref().unwrap_or(&self.shown);
        if named.secret != secret {
            let is_shown = self.shown.secret == secret;
            self.next = (!is_shown).then(|| Source::new(secret, secrets));
        }
        match self.next.take_if(|next| next.is_good()) {
            Some(next) => {
                self.shown = next;
                true
            }
            None => false,
        }
    }

    /// What is shown to new connections; `None` until there was a good one.
    pub fn served(&self) -> Option<Arc<Served>> {
        self.shown.is_good().then(|| self.shown.following.served())
    }

    /// Until when what is shown is good.
    pub fn until(&self) -> Option<SystemTime> {
        self.shown.state().until
    }

    pub fn problem(&self) -> Option<String> {
        let source = self.next.as_ref().unwrap_or(&self.shown);
        let problem = source.state().problem?;
        Some(format!("secret {}: {problem}", source.secret))
    }
}

impl Source {
    fn new(secret: &str, secrets: &Secrets) -> Source {
        let (name, secrets) = (secret.to_owned(), secrets.clone());
        let following = follow(format!("secret {secret}"), move || read(&name, &secrets));
        Source {
            secret: secret.to_owned(),
            following,
        }
    }

    fn state(&self) -> State {
        self.following.state().borrow().clone()
    }

    fn is_good(&self) -> bool {
        self.state().until.is_some()
    }
}

fn read(name: &str, secrets: &Secrets) -> Result<Pair, String> {
    let get = |key: &str| {
        let value = secrets.get(name, key);
        value.ok_or_else(|| {
            format!("it has no {key}: put it there (--secrets-dir DIR, DIR/{name}/{key})")
        })
    };
    Ok(Pair {
        chain: get("tls.crt")?.as_bytes().to_vec(),
        key: get("tls.key")?.as_bytes().to_vec().into(),
    })
}
