//! The command line beyond running a broker: `pub`, `sub`, `bench` and `verify`; `apply`, `get` and their like for
//! resources; `status` and `node` for clusters; `backup` and `restore`; `sessions`, `retained` and `explain-access` to look into a broker.
//!
//! Start reading at [`Command`]. What `pub` and `sub` share lies beside them: the connection in
//! [`client`], its options in [`options`], the properties of MQTT 5 in [`property`].

pub mod backup;
pub mod bench;
pub mod ca;
mod client;
mod control_plane;
pub mod disk_keys;
mod explain_access;
pub mod health;
mod json;
mod login;
pub mod mistaken;
mod moment;
pub mod node;
mod options;
pub mod passwd;
pub mod probe;
mod property;
pub mod pub_;
pub mod resources;
pub mod restore;
pub mod retained;
pub mod sessions;
mod stamp;
pub mod status;
pub mod sub;
mod table;
mod tls;
pub mod trace;
mod value;
pub mod verify;
mod way;
mod words;

use std::process::ExitCode;

/// The commands of clients and administrators, for the binary to list beside its own.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Pub(pub_::Arguments),
    Sub(sub::Arguments),
    Bench(bench::Arguments),
    Verify(verify::Arguments),
    Apply(resources::apply::Arguments),
    Get(resources::get::Arguments),
    Describe(resources::describe::Arguments),
    Edit(resources::edit::Arguments),
    Delete(resources::delete::Arguments),
    Diff(resources::diff::Arguments),
    Explain(resources::explain::Arguments),
    Status(status::Arguments),
    Node(node::Arguments),
    GatewayDrain(node::GatewayDrain),
    Sessions(sessions::Arguments),
    Retained(retained::Arguments),
    Backup(backup::Arguments),
    Restore(restore::Arguments),
    ExplainAccess(explain_access::Arguments),
    Trace(trace::Arguments),
    Adopt(node::Adopt),
    Health(health::Arguments),
    Probe(probe::Arguments),
    Passwd(passwd::Arguments),
    DiskKeys(disk_keys::Arguments),
    Ca(ca::Arguments),
}

impl Command {
    /// Runs the command to its end.
    ///
    /// Commands bring the runtime that they need: do not call this from within one.
    ///
    /// # Errors
    ///
    /// What to tell the user before exiting with 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Pub(arguments) => pub_::run(arguments),
            Command::Sub(arguments) => sub::run(arguments),
            Command::Bench(arguments) => bench::run(arguments),
            Command::Verify(arguments) => verify::run(arguments),
            Command::Apply(arguments) => resources::apply::run(arguments),
            Command::Get(arguments) => resources::get::run(arguments),
            Command::Describe(arguments) => resources::describe::run(arguments),
            Command::Edit(arguments) => resources::edit::run(arguments),
            Command::Delete(arguments) => resources::delete::run(arguments),
            Command::Diff(arguments) => resources::diff::run(arguments),
            Command::Explain(arguments) => resources::explain::run(&arguments),
            Command::Status(arguments) => status::run(arguments),
            Command::Node(arguments) => node::run(arguments),
            Command::GatewayDrain(arguments) => node::drain_gateway(arguments),
            Command::Sessions(arguments) => sessions::run(arguments),
            Command::Retained(arguments) => retained::run(arguments),
            Command::Backup(arguments) => backup::run(arguments),
            Command::Restore(arguments) => restore::run(arguments),
            Command::ExplainAccess(arguments) => explain_access::run(arguments),
            Command::Trace(arguments) => trace::run(arguments),
            Command::Adopt(arguments) => node::adopt(arguments),
            Command::Health(arguments) => health::run(arguments),
            Command::Probe(arguments) => probe::run(arguments),
            Command::Passwd(arguments) => passwd::run(arguments),
            Command::DiskKeys(arguments) => disk_keys::run(&arguments),
            Command::Ca(arguments) => ca::run(arguments),
        }
    }
}
