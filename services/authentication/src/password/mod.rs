//! Passwords: their hashes are in a secret, a username a key.
//!
//! An unknown username costs as much as a wrong password, so that nobody learns from the time which usernames there are: as much
//! as the most expensive hash of the secret. Usernames whose hashes cost less are told by that.

pub mod hash;
mod hashing;
mod remembered;
mod throttle;

use std::{
    hash::RandomState,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use aws_lc_rs::rand;
use bytestring::ByteString;
use catena_mqtt::ReasonCode;
use catena_resources::authentication::PasswordSettings;
use catena_secrets::{Secret, Secrets};
use tokio::sync::Semaphore;

use crate::{
    credentials::Credentials,
    password::{
        hash::PASSWORD_BYTES_MAX,
        hashing::{Hashing, NotChecked},
        remembered::Remembered,
        throttle::Throttle,
    },
    renewed::{Made, Renewed},
    verdict::{Accepted, Opinion},
};

/// What unknown usernames are checked against where the secret has no hash to take the cost from: no password fits.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The most clients that wait for their turn because there were too many wrong passwords: each takes one of the places of
/// those whose authentication is under way.
const SLOWED_MAX: usize = 256;

/// Random bytes for a new hash.
pub fn salt() -> [u8; 16] {
    let mut salt = [0; 16];
    random(&mut salt);
    salt
}

/// It fails only where the system has no randomness to give; nothing secure can run there.
fn random(bytes: &mut [u8]) {
    rand::fill(bytes).expect("the system has randomness");
}

/// What all password methods of the process share.
pub(crate) struct Passwords {
    hashing: Hashing,
    throttle: Mutex<Throttle>,
    /// Places for those who are slowed down.
    slowed: Semaphore,
    remembered: Mutex<Remembered>,
}

impl Passwords {
    pub fn new() -> Passwords {
        let mut key = [0; 32];
        random(&mut key);
        Passwords {
            hashing: Hashing::new(),
            throttle: Mutex::new(Throttle::new(RandomState::new())),
            slowed: Semaphore::new(SLOWED_MAX),
            remembered: Mutex::new(Remembered::new(&key)),
        }
    }
}

/// The client is to come again later.
struct NoTurn;

impl Passwords {
    /// Waits until the password of `user` may be checked: at once, unless there were too many wrong ones.
    async fn turn(&self, user: &str, peer: Option<IpAddr>) -> Result<(), NoTurn> {
        let attempt = lock(&self.throttle).attempt(user, peer, Instant::now());
        let wait = attempt.ok_or(NoTurn)?;
        if !wait.is_zero() {
            let _slowed = self.slowed.try_acquire().map_err(|_| NoTurn)?;
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passwords")
    }
}

/// The method of one resource.
#[derive(Debug)]
pub(crate) struct Password {
    settings: PasswordSettings,
    /// The hash of the secret that costs most.
    decoy: Renewed<String>,
}

impl Password {
    pub fn new(resource: &str, settings: PasswordSettings, secrets: &Secrets) -> Password {
        let what = format!("the passwords of {resource}");
        Password {
            decoy: Renewed::new(what, secrets),
            settings,
        }
    }

    pub async fn ask(
        &self,
        credentials: &Credentials,
        secrets: &Secrets,
        shared: &Passwords,
    ) -> Opinion {
        let (Some(username), Some(password)) = (&credentials.username, &credentials.password)
        else {
            return Opinion::NotRelevant;
        };
        if password.len() > PASSWORD_BYTES_MAX {
            return bad("the password is too long");
        }
        let decoy = self.decoy(secrets);
        let known = self.hash(username, secrets);
        // A username of one secret is another user than the same of another.
        let user = format!("{}/{username}", self.settings.secret_ref);
        let tag = known
            .as_ref()
            .ok()
            .map(|hash| lock(&shared.remembered).tag(&user, password, hash));
        if tag.is_some_and(|tag| lock(&shared.remembered).knows(&user, &tag, Instant::now())) {
            return self.accepted(credentials);
        }

        if let Err(NoTurn) = shared.turn(&user, credentials.peer).await {
            return Opinion::busy(
                "too many wrong passwords for this username or from this address",
            );
        }
        let hash = known.clone().unwrap_or(decoy);
        let password = password.clone();
        let right = match shared
            .hashing
            .run(move || hash::verify(&password, &hash))
            .await
        {
            Ok(checked) => checked.unwrap_or(false),
            Err(NotChecked::Busy) => return Opinion::busy("too many passwords wait to be checked"),
            Err(NotChecked::Ended) => {
                return Opinion::unavailable("the check of the password was broken off");
            }
        };
        match (known, right, tag) {
            (Ok(_), true, Some(tag)) => {
                lock(&shared.throttle).succeeded(&user, credentials.peer);
                lock(&shared.remembered).remember(&user, tag, Instant::now());
                self.accepted(credentials)
            }
            (known, ..) => {
                lock(&shared.throttle).failed(&user, credentials.peer, Instant::now());
                bad(known.err().unwrap_or_else(|| "wrong password".to_owned()))
            }
        }
    }

    /// Whether a user still has a password; where none of the secret can be read nobody has lost theirs.
    pub fn still(&self, username: Option<&ByteString>, secrets: &Secrets) -> Result<(), String> {
        let Some(username) = username else {
            return Ok(());
        };
        match secrets.get(&self.settings.secret_ref, username) {
            None if !secrets.all(&self.settings.secret_ref).is_empty() => {
                Err("the username is not known any more".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Why passwords cannot be checked.
    pub fn problem(&self, secrets: &Secrets) -> Option<String> {
        self.decoy(secrets);
        self.decoy.problem()
    }

    fn accepted(&self, credentials: &Credentials) -> Opinion {
        let username = credentials.username.clone();
        let attributes = username
            .as_ref()
            .and_then(|username| self.settings.attributes.get(&**username));
        Opinion::Accepted(Accepted {
            attributes: attributes.cloned().unwrap_or_default(),
            username,
            expires: None,
        })
    }

    /// The hash of a user, or why there is none that could be used.
    fn hash(&self, username: &str, secrets: &Secrets) -> Result<String, String> {
        let secret = secrets.get(&self.settings.secret_ref, username);
        let hash = usable(&secret.ok_or("unknown username")?);
        hash.map_err(|why| format!("the hash of this username cannot be used: {why}"))
    }

    /// The hash of the secret that costs most.
    fn decoy(&self, secrets: &Secrets) -> String {
        let decoy = self.decoy.get(|_| {
            let hashes = secrets.all(&self.settings.secret_ref);
            if hashes.is_empty() {
                return Err(format!(
                    "there is no secret {:?}, or it is empty",
                    self.settings.secret_ref
                ));
            }
            let usable = hashes.values().filter_map(|secret| usable(secret).ok());
            let dearest = usable.max_by_key(|hash| hash::cost(hash));
            Ok(Made::whole(dearest.unwrap_or_else(|| DECOY.to_owned())))
        });
        decoy.map_or_else(|_| DECOY.to_owned(), |decoy| decoy.as_ref().clone())
    }
}

fn usable(secret: &Secret) -> Result<String, String> {
    let hash = secret.as_text().ok_or("it is not text")?;
    hash::check(hash).map_err(|why| why.to_string())?;
    Ok(hash.to_owned())
}

/// 0x86, and code 4 for 3.1.1.
fn bad(why: impl Into<String>) -> Opinion {
    Opinion::denied_with(ReasonCode::BadUserNameOrPassword, why)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc};

    use super::*;

    // An unknown username that is refused sooner than a known one tells which usernames there are.
    #[test]
    fn an_unknown_username_costs_what_the_dearest_costs() {
        let directory = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(Some(directory.path().to_owned()));
        let dear = DECOY.replace("m=19456,t=2", "m=65536,t=3");
        let bcrypt = bcrypt::hash_with_salt("x", 4, [7; 16]).unwrap().to_string();
        for (user, hash) in [("a", DECOY), ("b", &dear), ("c", &bcrypt), ("d", "none")] {
            secrets.put("users", user, hash.as_bytes()).unwrap();
        }
        let settings = PasswordSettings {
            secret_ref: "users".to_owned(),
            attributes: std::collections::BTreeMap::new(),
        };
        let method = Password::new("test", settings, &secrets);
        assert_eq!(method.decoy(&secrets), dear);
        secrets.remove("users", "b").unwrap();
        assert_eq!(method.decoy(&secrets), DECOY);
    }

    // Guessers who wait for their turns would take the places of everybody who connects, and those are told to come again.
    #[tokio::test]
    async fn so_many_wait_for_their_turn_and_no_more() {
        let shared = Arc::new(Passwords::new());
        let mut waiting = Vec::new();
        for address in 0..SLOWED_MAX as u32 + 50 {
            let peer = Some(Ipv4Addr::from_bits(address).into());
            for _ in 0..9 {
                lock(&shared.throttle).failed("user", peer, Instant::now());
            }
            let shared = shared.clone();
            waiting.push(tokio::spawn(async move {
                shared.turn("user", peer).await.is_ok()
            }));
        }
        // There is one thread: each of them begins to wait, or is refused.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let refused = waiting.iter().filter(|task| task.is_finished()).count();
        assert_eq!(waiting.len() - refused, SLOWED_MAX);
        for task in waiting.iter().filter(|task| !task.is_finished()) {
            task.abort();
        }
        for task in waiting {
            assert!(!task.await.unwrap_or_default());
        }
        assert_eq!(
            shared.slowed.available_permits(),
            SLOWED_MAX,
            "and the places are given back"
        );
    }
}
