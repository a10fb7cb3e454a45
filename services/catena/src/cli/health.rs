//! `catena health`: whether a process lives, is ready, or may end; for probes of containers, which have no other program.

use std::{
    net::SocketAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long after a no it is asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// Ask a process whether it lives, whether it is ready, or whether it may end
///
/// Ends with 0 for yes and with 1 for no; then it says what is missing. Ready is a gateway that is registered and has its
/// ports, a backend that has all replicas that its chains name, or gets them, and a control plane that reaches its store.
///
/// A backend may end when each chain of which it is a member has all of its replicas and none that still catches up, so that those who stay
/// have everything. In Kubernetes a backend's preStop waits for that:
///
///   catena health --may-leave --wait 15
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
#[group(skip)]
pub struct Arguments {
    /// Ask whether it is ready, not only whether it lives
    #[arg(long)]
    ready: bool,

    /// Ask whether it may end without its chains being short of replicas
    #[arg(long, conflicts_with = "ready")]
    may_leave: bool,

    /// Ask again until the answer is yes, for so many seconds at most
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    wait: u64,

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
    let path = match (arguments.ready, arguments.may_leave) {
        (true, _) => "/readyz",
        (_, true) => "/leavez",
        _ => "/healthz",
    };
    let within = Duration::from_secs(arguments.timeout.max(1));
    let answer = runtime.block_on(async {
        let deadline = Instant::now() + Duration::from_secs(arguments.wait);
        loop {
            let asked = tokio::time::timeout(within, ask(arguments.address, path)).await;
            let late = |_| anyhow::bail!("no answer within {} s", within.as_secs());
            let answer = asked.unwrap_or_else(late);
            let is_yes = matches!(&answer, Ok((StatusCode::OK, _)));
            if is_yes || Instant::now() >= deadline {
                return answer;
            }
            tokio::time::sleep(AGAIN).await;
        }
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
