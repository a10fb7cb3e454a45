//! `catena health`: whether a process lives, or is ready; for probes of containers, which have no other program.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Ask a process whether it lives, or whether it is ready
///
/// Ends with 0 for yes and with 1 for no; then it says what is missing. Ready is a gateway that is registered and has its
/// ports, a backend that has all replicas that its chains name, or gets them, and a control plane that reaches its store.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// Ask whether it is ready, not only whether it lives
    #[arg(long)]
    ready: bool,

    /// Where the process serves its metrics
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "CATENA_HEALTH_ADDRESS",
        default_value = "127.0.0.1:9600"
    )]
    address: SocketAddr,

    /// How long it may take to answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "2")]
    timeout: u64,
}

/// Asks.
///
/// # Errors
/// Nobody answers there, or not in time.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let path = if arguments.ready {
        "/readyz"
    } else {
        "/healthz"
    };
    let within = Duration::from_secs(arguments.timeout.max(1));
    let answer = runtime.block_on(async {
        let asked = tokio::time::timeout(within, ask(arguments.address, path)).await;
        asked.unwrap_or_else(|_| anyhow::bail!("no answer within {} s", within.as_secs()))
    });
    let (status, said) = answer.map_err(|error| {
        let address = arguments.address;
        error.context(format!(
            "nobody says at {address} how it is: is it the process's --metrics-address?"
        ))
    })?;
    print!("{said}");
    Ok(if status == StatusCode::OK {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn ask(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let socket = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let body = body
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!(error))?;
    let said = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Ok((status, said))
}
