//! `catena ca`: the CA of a cluster, and tokens to join it.

use std::{
    fs::{OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use catena_pki::{Ca, CaError, Role, Token, hex};
use catena_resources::go_duration::GoDuration;
use clap::{Args, Subcommand};

/// The longest that a token may be good for.
const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The cluster's own CA: it signs the certificates that services show each other, and those of listeners
///
/// It lies in the directory of secrets that all replicas of the control plane have, as the secret
/// catena-ca. Whoever can read it can be anybody in the cluster.
///
///   catena ca create --secrets-dir /etc/catena/secrets
///   catena ca token --secrets-dir /etc/catena/secrets --role backend
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,

    /// The directory of secrets, which the control plane has too
    #[arg(
        long,
        value_name = "DIR",
        env = "CATENA_SECRETS_DIR",
        global = true,
        default_value = "/etc/catena/secrets"
    )]
    secrets_dir: PathBuf,

    /// The cluster's name, as the control plane has it
    #[arg(
        long,
        value_name = "NAME",
        env = "CATENA_CLUSTER",
        global = true,
        default_value = "catena"
    )]
    cluster: String,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a CA, where there is none
    Create {
        /// Leave one that is there as it is, and end with success
        #[arg(long)]
        if_missing: bool,
    },
    /// Show the CAs that are trusted, the one that signs first
    Show {
        /// Print their certificates, for the files that clients trust
        #[arg(long)]
        pem: bool,
    },
    /// Print a token that lets one process join: it gets its first certificate for it
    Token {
        /// gateway or backend
        #[arg(long, value_name = "ROLE")]
        role: Role,
        /// The only process that may use it [default: any name]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// How long it is good for, as 30m or 24h
        #[arg(long, value_name = "TIME", default_value = "24h")]
        ttl: GoDuration,
        /// Write it to this file, which the owner alone may read, instead of printing it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Replace the CA while the cluster runs
    ///
    /// A new CA signs from now on, and the old one is still trusted; processes get new certificates within seconds.
    /// Then end the trust in the old one with --finish.
    Rotate {
        /// Trust the present CA alone: certificates of those before it are refused from now on
        #[arg(long)]
        finish: bool,
    },
}

/// Writes what nobody else is to read; also where the file is there already.
fn keep(file: &Path, secret: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut opened = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?;
    opened.set_permissions(Permissions::from_mode(0o600))?;
    opened.write_all(secret.as_bytes())
}

/// Runs `catena ca`.
///
/// # Errors
/// What is wrong with the CA, and what to do.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments {
        action,
        secrets_dir,
        cluster,
    } = arguments;
    let now = SystemTime::now();
    match action {
        Action::Create { if_missing } => {
            match Ca::open(&secrets_dir) {
                Err(CaError::Missing(_)) => {}
                Ok(ca) if if_missing => {
                    show(&ca);
                    return Ok(ExitCode::SUCCESS);
                }
                Ok(_) => return Err(CaError::Exists(secrets_dir.display().to_string()).into()),
                Err(error) => return Err(error).context("what is there cannot be used"),
            }
            let ca = Ca::create(&cluster, now)?;
            ca.save(&secrets_dir)?;
            println!(
                "made a CA for the cluster {cluster} in {}",
                secrets_dir.display()
            );
            show(&ca);
        }
        Action::Show { pem: true } => print!("{}", Ca::open(&secrets_dir)?.trust_pem()),
        Action::Show { pem: false } => show(&Ca::open(&secrets_dir)?),
        Action::Token {
            role,
            name,
            ttl,
            out,
        } => {
            if role == Role::ControlPlane {
                bail!(
                    "a replica of the control plane needs no token: it has the CA itself, with --secrets-dir"
                );
            }
            if ttl.0.is_zero() || ttl.0 > TTL_MAX {
                bail!("--ttl is {ttl}: it must be more than 0s, and 720h at most");
            }
            let ca = Ca::open(&secrets_dir)?;
            let token = Token::create(&ca, &cluster, role, name, ttl.0, now)?;
            match out {
                Some(file) => keep(&file, &format!("{token}\n"))
                    .with_context(|| format!("--out {}", file.display()))?,
                None => println!("{token}"),
            }
        }
        Action::Rotate { finish } => {
            let ca = Ca::open(&secrets_dir)?;
            if finish {
                ca.alone()?.save(&secrets_dir)?;
                println!("only the present CA is trusted from now on");
            } else {
                ca.successor(&cluster, now)?.save(&secrets_dir)?;
                println!(
                    "a new CA signs from now on. Once all processes have new certificates, in less than a minute, end the \
                     trust in the old one: catena ca rotate --finish\nTokens that were not used yet are of no use any more."
                );
            }
            show(&Ca::open(&secrets_dir)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(ca: &Ca) {
    for (index, (fingerprint, until)) in ca.trusted().into_iter().enumerate() {
        let what = if index == 0 { "signs  " } else { "trusted" };
        println!("{what}  sha256 {}  until {until}", hex(&fingerprint));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    // Whoever can read a token can be the process that it is for, also where a file that all may read is there already.
    #[test]
    fn a_token_is_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        keep(&file, "a long one").unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        keep(&file, "short").unwrap();
        assert_eq!(
            (mode(), fs::read_to_string(&file).unwrap()),
            (0o600, "short".to_owned())
        );
        assert!(keep(&directory.path().join("no/token"), "x").is_err());
    }
}
