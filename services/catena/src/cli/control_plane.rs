//! A connection to the admin API, for the commands of administrators.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use catena_proto::admin::v1::{cluster_client::ClusterClient, resources_client::ResourcesClient};
use clap::Args;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

/// How long a replica may take to accept a connection, and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer: all resources of a cluster.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Where the admin API is, and who we are there.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Where the admin API is, and who we are there")]
pub struct Place {
    /// Where the admin API is: of several replicas the first that answers is asked
    // With an id of its own: a global option that has the id of one of the broker's takes its place there.
    #[arg(
        id = "admin_url",
        long = "admin",
        value_name = "URL",
        env = "CATENA_ADMIN",
        global = true,
        value_delimiter = ',',
        default_value = "http://127.0.0.1:9700"
    )]
    pub admin: Vec<String>,

    /// PEM file of who signed its certificate; without it those are trusted that this machine trusts
    #[arg(long, value_name = "FILE", env = "CATENA_ADMIN_CA", global = true)]
    pub admin_ca: Option<PathBuf>,

    /// PEM file of our certificate
    #[arg(long, value_name = "FILE", env = "CATENA_ADMIN_CERT", global = true)]
    pub admin_cert: Option<PathBuf>,

    /// PEM file of its key
    #[arg(long, value_name = "FILE", env = "CATENA_ADMIN_KEY", global = true)]
    pub admin_key: Option<PathBuf>,

    /// File with our token
    #[arg(
        long,
        value_name = "FILE",
        env = "CATENA_ADMIN_TOKEN_FILE",
        global = true
    )]
    pub admin_token_file: Option<PathBuf>,
}

/// A connection on which each request says who we are.
pub type Connection = InterceptedService<Channel, Token>;

/// Our token, if we have one.
#[derive(Debug, Clone)]
pub struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl Place {
    /// The cluster, through the first replica that accepts a connection.
    ///
    /// # Errors
    /// When an address is none, and when no replica can be reached.
    pub async fn connect(&self) -> anyhow::Result<ClusterClient<Connection>> {
        Ok(ClusterClient::new(self.connection().await?))
    }

    /// The resources, through the first replica that accepts a connection.
    ///
    /// # Errors
    /// As [`connect`](Place::connect).
    pub async fn resources(&self) -> anyhow::Result<ResourcesClient<Connection>> {
        let client = ResourcesClient::new(self.connection().await?);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// A connection to the first replica that accepts one.
    ///
    /// # Errors
    /// When an address is none, and when no replica can be reached.
    pub async fn connection(&self) -> anyhow::Result<Connection> {
        let token = Token(self.token()?);
        let mut problems = Vec::new();
        for text in &self.admin {
            let endpoint = self.endpoint(text)?;
            let connected = endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await;
            match connected {
                Ok(channel) => return Ok(InterceptedService::new(channel, token)),
                Err(error) => problems.push(format!("{text}: {}", root(&error))),
            }
        }
        bail!(
            "the control plane cannot be reached ({})\n\
             is it running? say where its admin API is with --admin URL or CATENA_ADMIN",
            problems.join("; "),
        )
    }

    fn endpoint(&self, text: &str) -> anyhow::Result<Endpoint> {
        let is_tls = self.admin_ca.is_some() || self.admin_cert.is_some();
        let scheme = if is_tls { "https" } else { "http" };
        let uri = if text.contains("://") {
            text.to_owned()
        } else {
            format!("{scheme}://{text}")
        };
        let is_tls = uri.starts_with("https://");
        let Ok(endpoint) = Endpoint::from_shared(uri) else {
            bail!("{text:?} is no address of an admin API: write it as http://127.0.0.1:9700");
        };
        if !is_tls {
            return Ok(endpoint);
        }
        let mut tls = ClientTlsConfig::new();
        tls = match &self.admin_ca {
            Some(file) => tls.ca_certificate(Certificate::from_pem(bytes(file)?)),
            None => tls.with_native_roots(),
        };
        tls = match (&self.admin_cert, &self.admin_key) {
            (Some(certificate), Some(key)) => {
                tls.identity(Identity::from_pem(bytes(certificate)?, bytes(key)?))
            }
            (None, None) => tls,
            _ => bail!("--admin-cert and --admin-key go together: a certificate needs its key"),
        };
        endpoint
            .tls_config(tls)
            .with_context(|| format!("TLS with {text}"))
    }

    fn token(&self) -> anyhow::Result<Option<MetadataValue<Ascii>>> {
        let Some(file) = &self.admin_token_file else {
            return Ok(None);
        };
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let token = format!("Bearer {}", text.trim()).parse();
        let mut token: MetadataValue<Ascii> =
            token.with_context(|| format!("{}: holds no token", file.display()))?;
        token.set_sensitive(true);
        Ok(Some(token))
    }
}

fn bytes(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| file.display().to_string())
}

/// The answer to a request, or what is wrong in words.
///
/// # Errors
/// What the control plane says, or that it says nothing.
pub async fn answer<T>(
    asked: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> anyhow::Result<T> {
    match request(asked).await? {
        Ok(answer) => Ok(answer),
        Err(status) => bail!("{}", words(&status)),
    }
}

/// The answer to a request, or the refusal as it came.
///
/// # Errors
/// That the control plane says nothing.
pub async fn request<T>(
    asked: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> anyhow::Result<Result<T, Status>> {
    match tokio::time::timeout(REQUEST_TIMEOUT, asked).await {
        Ok(answer) => Ok(answer.map(tonic::Response::into_inner)),
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
        Code::Unauthenticated => format!("not let in: {}", status.message()),
        Code::PermissionDenied | Code::Aborted | Code::ResourceExhausted => {
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
