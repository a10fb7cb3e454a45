//! `catena passwd`: the passwords that a broker takes, as hashes in a directory of secrets.

use std::{
    fmt,
    io::{self, BufRead, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, bail, ensure};
use catena_authentication::hash::{self, PASSWORD_BYTES_MAX};
use catena_secrets::Secrets;
use clap::Args;
use rustix::termios::{self, LocalModes, OptionalActions, Termios};

/// Make, change, check or delete a password that clients log in with
///
/// The password is asked for, without showing it. What is kept is its hash, in the file DIR/NAME/USER, which the owner alone may read: argon2id
/// with 19 MiB of memory, 2 passes and 1 lane, and 16 random bytes of salt, in PHC format. A broker with --secrets-dir DIR and a
/// BrokerAuthentication with `method: Password` and `secretRef: NAME` takes it within seconds, without a restart.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The directory of secrets; made where it is not there
    #[arg(long, value_name = "DIR", env = "CATENA_SECRETS_DIR")]
    secrets_dir: PathBuf,

    /// The secret, which `passwordSettings.secretRef` names
    #[arg(long, value_name = "NAME")]
    secret: String,

    /// The username
    user: String,

    /// Take the password from the first line of standard input, and ask nothing
    #[arg(long)]
    stdin: bool,

    /// Only check whether a password is the right one; exit code 1 when it is not
    #[arg(long, conflicts_with = "delete")]
    verify: bool,

    /// Delete the user's password: nobody logs in with that username any more
    #[arg(long, conflicts_with = "stdin")]
    delete: bool,
}

/// A password on its way to its hash; it is not to be printed.
struct Password(Vec<u8>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// Does what is asked of one user's password.
///
/// # Errors
/// When there is no password to be had, or the files cannot be read or written.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { secret, user, .. } = &arguments;
    let secrets = Secrets::open(Some(arguments.secrets_dir.clone()));
    let known = secrets.get(secret, user);
    if arguments.delete {
        ensure!(
            secrets.remove(secret, user)?,
            "there is no user {user:?} in secret {secret:?}"
        );
        println!("deleted {user}");
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.verify {
        let hash =
            known.with_context(|| format!("there is no user {user:?} in secret {secret:?}"))?;
        let hash = hash.as_text().context("the hash is not text")?;
        hash::check(hash)?;
        let password = ask(&arguments, "Password: ")?;
        if hash::verify(&password.0, hash)? {
            println!("right");
            return Ok(ExitCode::SUCCESS);
        }
        println!("wrong");
        return Ok(ExitCode::FAILURE);
    }
    let password = ask(&arguments, "New password: ")?;
    ensure!(!password.0.is_empty(), "an empty password is none");
    if !arguments.stdin {
        let again = ask(&arguments, "Again: ")?;
        ensure!(
            again.0 == password.0,
            "the passwords differ: nothing is changed"
        );
    }
    let hash = hash::make(&password.0, &catena_authentication::salt())?;
    secrets.put(secret, user, format!("{hash}\n").as_bytes())?;
    println!(
        "{} {user}",
        if known.is_some() { "changed" } else { "made" }
    );
    Ok(ExitCode::SUCCESS)
}

fn ask(arguments: &Arguments, prompt: &str) -> anyhow::Result<Password> {
    let stdin = io::stdin();
    if arguments.stdin {
        return line(stdin.lock());
    }
    if !stdin.is_terminal() {
        bail!("standard input is no terminal to ask on: --stdin takes the password from it");
    }
    eprint!("{prompt}");
    io::stderr().flush()?;
    let silence = Silence::begin()?;
    let password = line(stdin.lock());
    drop(silence);
    password
}

/// One line, without its end.
fn line(mut input: impl BufRead) -> anyhow::Result<Password> {
    let mut line = Vec::new();
    let most = PASSWORD_BYTES_MAX as u64 + 2;
    io::Read::take(&mut input, most).read_until(b'\n', &mut line)?;
    while line.last().is_some_and(|byte| b"\r\n".contains(byte)) {
        line.pop();
    }
    ensure!(
        line.len() <= PASSWORD_BYTES_MAX,
        "a password has at most {PASSWORD_BYTES_MAX} bytes"
    );
    Ok(Password(line))
}

/// The terminal shows nothing of what is typed but the end of the line, until this is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Silence> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        termios::tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Silence(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A password that has the end of its line in it, and that no client can send.
    #[test]
    fn a_password_is_a_line() {
        for (input, password) in [
            ("secret\n", "secret"),
            ("secret", "secret"),
            (" a b \r\nmore\n", " a b "),
            ("\n", ""),
            ("", ""),
        ] {
            assert_eq!(
                line(input.as_bytes()).unwrap().0,
                password.as_bytes(),
                "{input:?}"
            );
        }
        let longest = "x".repeat(PASSWORD_BYTES_MAX);
        assert!(line(longest.as_bytes()).is_ok());
        assert!(line(format!("{longest}x\n").as_bytes()).is_err());
    }
}
