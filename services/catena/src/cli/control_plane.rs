//! A connection to the control plane, for the commands of administrators.

use std::time::Duration;

use anyhow::bail;
use catena_proto::admin::v1::cluster_client::ClusterClient;
use clap::Args;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

/// How long a replica may take to accept a connection, and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the control plane is.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Where replicas of the control plane are; the first that answers is asked
    #[arg(
        long,
        value_name = "URL",
        env = "CATENA_CONTROL_PLANE",
        global = true,
        value_delimiter = ',',
        default_value = "http://127.0.0.1:9701"
    )]
    pub control_plane: Vec<String>,
}

impl Place {
    /// A connection to the first replica that accepts one.
    ///
    /// # Errors
    /// When an address is none, and when no replica can be reached.
    pub async fn connect(&self) -> anyhow::Result<ClusterClient<Channel>> {
        let mut problems = Vec::new();
        for text in &self.control_plane {
            let uri = if text.contains("://") {
                text.clone()
            } else {
                format!("http://{text}")
            };
            let Ok(endpoint) = Endpoint::from_shared(uri) else {
                bail!(
                    "{text:?} is no address of a control plane: write it as http://127.0.0.1:9701"
                );
            };
            let connected = endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await;
            match connected {
                Ok(channel) => return Ok(ClusterClient::new(channel)),
                Err(error) => problems.push(format!("{text}: {}", root(&error))),
            }
        }
        bail!(
            "the control plane cannot be reached ({})\n\
             is it running? say where it is with --control-plane URL or CATENA_CONTROL_PLANE",
            problems.join("; "),
        )
    }
}

/// The answer to a request, or what is wrong in words.
///
/// # Errors
/// What the control plane says, or that it says nothing.
pub async fn answer<T>(
    request: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> anyhow::Result<T> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => bail!("{}", words(&status)),
        Err(_) => bail!(
            "the control plane did not answer within {} seconds",
            REQUEST_TIMEOUT.as_secs()
        ),
    }
}

/// What a refusal says to people.
pub fn words(status: &Status) -> String {
    match status.code() {
        Code::NotFound | Code::FailedPrecondition | Code::InvalidArgument => {
            status.message().to_owned()
        }
        Code::Unavailable => format!("{}: try again in a moment", status.message()),
        _ => format!("{:?}: {}", status.code(), status.message()),
    }
}

/// The innermost reason: the others say that there is one.
fn root(error: &dyn std::error::Error) -> String {
    let mut reason = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

/// Runs a command of an administrator to its end.
///
/// # Errors
/// What the command says.
pub fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(command)
}
