//! The commands of administrators, as a person or a program runs them.

use std::{
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::broker::{Broker, binary};

/// Nothing that is waited for here takes nearly as long.
const LIMIT: Duration = Duration::from_secs(20);

/// Where the admin API is.
#[derive(Debug, Clone)]
pub struct Admin(pub String);

impl Admin {
    /// Of a standalone broker.
    ///
    /// # Panics
    /// When it does not say where it is.
    pub fn of(broker: &Broker) -> Admin {
        let asked = Instant::now();
        loop {
            let log = broker.log();
            let found = log.iter().find_map(|line| {
                let (_, rest) = line.split_once("admin API on ")?;
                rest.split(' ').next()
            });
            if let Some(address) = found {
                return Admin(address.to_owned());
            }
            // It says so after its ports, which is what was waited for.
            assert!(asked.elapsed() < LIMIT, "it says where its admin API is");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs `catena` to its end.
    ///
    /// # Panics
    /// When there is none.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .args(arguments)
            .env("CATENA_ADMIN", &self.0)
            .output()
            .expect("it can be run")
    }

    /// What it writes.
    ///
    /// # Errors
    /// What it says, when it fails.
    pub fn try_say(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.run(arguments);
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// What it writes.
    ///
    /// # Panics
    /// When it fails.
    pub fn say(&self, arguments: &[&str]) -> String {
        let said = self.try_say(arguments);
        said.unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// What it complains of.
    ///
    /// # Panics
    /// When it does not fail.
    pub fn fail(&self, arguments: &[&str]) -> String {
        let said = self.try_say(arguments);
        said.expect_err("this must not work")
    }

    /// What it writes as one JSON value.
    ///
    /// # Panics
    /// When it fails, or writes something else.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.say(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// What it writes as one JSON value in each line.
    ///
    /// # Panics
    /// When it fails, or writes something else.
    pub fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.say(&[arguments, &["-o", "json"]].concat());
        let value = |line: &str| serde_json::from_str(line).expect("JSON");
        text.lines().map(value).collect()
    }

    /// The client ids of a list of sessions, in order.
    ///
    /// # Panics
    /// When it cannot be had.
    pub fn ids(&self, arguments: &[&str]) -> Vec<String> {
        let sessions = self.lines(&[&["sessions", "list"], arguments].concat());
        let id = |session: &Value| {
            session["client_id"]
                .as_str()
                .expect("a client id")
                .to_owned()
        };
        let mut ids: Vec<String> = sessions.iter().map(id).collect();
        ids.sort();
        ids
    }
}
