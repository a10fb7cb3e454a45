//! As much of HTTP as asks a process how it is.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// The status and body of what a process answers for `path`; or why there is none.
///
/// # Errors
/// As the system says it, and answers that are none.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    let ask = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect_timeout(&address, ANSWER)?;
        socket.set_read_timeout(Some(ANSWER))?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| format!("{address}{path}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.ok_or("no status")?, body.to_owned()))
}

/// The sum of a metric's series whose labels have all of `with` in them, as `category="x"`; `None` if there is none.
///
/// # Panics
/// When there are no metrics at `address`.
pub fn metric(address: SocketAddr, name: &str, with: &[&str]) -> Option<f64> {
    try_metric(address, name, with).expect("metrics are served")
}

/// The same, of a process that may be away just now.
///
/// # Errors
/// There are no metrics at `address`.
pub fn try_metric(address: SocketAddr, name: &str, with: &[&str]) -> Result<Option<f64>, String> {
    let (status, text) = get(address, "/metrics")?;
    assert_eq!(status, 200);
    let series = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        let is_whole_name = labels.is_empty() || labels.starts_with('{');
        let has_all = with.iter().all(|label| labels.contains(label));
        (is_whole_name && has_all).then(|| value.parse::<f64>().ok())?
    });
    let series: Vec<f64> = series.collect();
    Ok((!series.is_empty()).then(|| series.iter().sum()))
}
