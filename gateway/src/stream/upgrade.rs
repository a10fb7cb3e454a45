//! The HTTP request by which a client asks for a WebSocket, and the answer.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tungstenite::handshake::{
    machine::TryParse,
    server::{Request, Response, create_response, write_response},
};

use crate::{
    limits::UPGRADE_BYTES,
    stream::{origins::Origins, web_socket::WebSocket},
};

/// Where MQTT is found.
const PATHS: [&str; 2] = ["/mqtt", "/"];
/// MQTT's subprotocols, those that we rather speak first. The second is that of version 3.1.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];
/// Bytes that are read at a time.
const READ_BYTES: usize = 1024;

/// A request that is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("a request of more than {UPGRADE_BYTES} bytes")]
    TooLong,
    #[error("no request for a WebSocket: {0}")]
    Malformed(String),
    #[error("nothing is served at this path")]
    Path,
    #[error("the subprotocol mqtt is not among those that are offered")]
    Subprotocol,
    #[error(
        "pages of this origin may not connect here: allowedOrigins of the port names those that may"
    )]
    Origin,
    #[error("the socket ended within the request: {0}")]
    Broken(#[from] io::Error),
}

impl Error {
    /// The answer, if it is of use to anybody.
    fn status(&self) -> Option<&'static str> {
        match self {
            Error::TooLong => Some("431 Request Header Fields Too Large"),
            Error::Malformed(_) | Error::Subprotocol => Some("400 Bad Request"),
            Error::Path => Some("404 Not Found"),
            Error::Origin => Some("403 Forbidden"),
            Error::Broken(_) => None,
        }
    }
}

/// Reads the request and answers it.
pub(crate) async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    origins: &Origins,
) -> Result<WebSocket<S>, Error> {
    match answer(&mut stream, origins).await {
        Ok((response, early)) => {
            stream.write_all(&response).await?;
            stream.flush().await?;
            Ok(WebSocket::new(stream, early))
        }
        Err(error) => {
            if let Some(status) = error.status() {
                let reason = format!("{error}\r\n");
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
                     Connection: close\r\n\r\n{reason}",
                    reason.len()
                );
                // Whoever is gone needs no answer.
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
            Err(error)
        }
    }
}

/// The answer to the request, and what came behind it.
async fn answer<S: AsyncRead + Unpin>(
    stream: &mut S,
    origins: &Origins,
) -> Result<(Vec<u8>, Bytes), Error> {
    let mut head = BytesMut::new();
    let (length, request) = loop {
        if head.len() >= UPGRADE_BYTES {
            return Err(Error::TooLong);
        }
        head.reserve(READ_BYTES);
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let parsed = Request::try_parse(&head);
        if let Some(parsed) = parsed.map_err(malformed)? {
            break parsed;
        }
    };
    if !PATHS.contains(&request.uri().path()) {
        return Err(Error::Path);
    }
    if !origins.allow(request.headers()) {
        return Err(Error::Origin);
    }
    let mut response = create_response(&request).map_err(malformed)?;
    // v5 [MQTT-6.0.0-3], [MQTT-6.0.0-4], v3.1.1 [MQTT-6.0.0-3], [MQTT-6.0.0-4]
    let subprotocol = subprotocol(&request).ok_or(Error::Subprotocol)?;
    name(&mut response, subprotocol);
    let mut bytes = Vec::new();
    write_response(&mut bytes, &response).map_err(malformed)?;
    // Copied out, so that a few bytes do not hold the whole.
    let early = Bytes::copy_from_slice(&head[length..]);
    Ok((bytes, early))
}

/// The one of ours that the client offers.
fn subprotocol(request: &Request) -> Option<&'static str> {
    let offers = request.headers().get_all("Sec-WebSocket-Protocol");
    let offered: Vec<&str> = offers
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    SUBPROTOCOLS
        .into_iter()
        .find(|ours| offered.iter().any(|offer| offer == ours))
}

fn name(response: &mut Response, subprotocol: &'static str) {
    let value = tungstenite::http::HeaderValue::from_static(subprotocol);
    response
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", value);
}

fn malformed(error: tungstenite::Error) -> Error {
    Error::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn request(path: &str, protocols: &str, more: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocols}{more}\r\n"
        )
    }

    /// The status and the subprotocol of the answer.
    async fn ask(bytes: &[u8], piece: usize) -> (String, Option<String>) {
        ask_port(&Origins::Any, bytes, piece).await
    }

    async fn ask_port(origins: &Origins, bytes: &[u8], piece: usize) -> (String, Option<String>) {
        let (mut client, server) = duplex(64 * 1024);
        let write = async {
            for piece in bytes.chunks(piece) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut answer = vec![0; 4096];
            let count = client.read(&mut answer).await.unwrap();
            String::from_utf8(answer[..count].to_vec()).unwrap()
        };
        let (answer, _) = tokio::join!(write, upgrade(server, origins));
        let mut lines = answer.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let protocol = lines.find_map(|line| {
            let line = line.to_ascii_lowercase();
            Some(line.strip_prefix("sec-websocket-protocol: ")?.to_owned())
        });
        (status, protocol)
    }

    // A browser refuses a connection whose subprotocol is not answered with one that it offered.
    #[tokio::test(flavor = "current_thread")]
    async fn a_client_gets_the_subprotocol_that_it_offers() {
        let cases = [
            ("/mqtt", "Sec-WebSocket-Protocol: mqtt\r\n", "mqtt"),
            ("/", "Sec-WebSocket-Protocol: mqttv3.1\r\n", "mqttv3.1"),
            (
                "/mqtt?a=b",
                "Sec-WebSocket-Protocol: x, mqttv3.1 ,mqtt\r\n",
                "mqtt",
            ),
            (
                "/mqtt",
                "Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol: mqtt\r\n",
                "mqtt",
            ),
        ];
        for (path, protocols, expected) in cases {
            for piece in [1, 50, 10_000] {
                let answer = ask(request(path, protocols, "").as_bytes(), piece).await;
                assert_eq!(answer, ("101".to_owned(), Some(expected.to_owned())));
            }
        }
    }

    // Whatever is not a WebSocket of MQTT must get an answer that says so, and nothing more.
    #[tokio::test(flavor = "current_thread")]
    async fn other_requests_are_refused() {
        let mqtt = "Sec-WebSocket-Protocol: mqtt\r\n";
        let status = async |text: &str| ask(text.as_bytes(), 10_000).await.0;
        assert_eq!(status(&request("/other", mqtt, "")).await, "404");
        assert_eq!(status(&request("/mqtt", "", "")).await, "400");
        let soap = "Sec-WebSocket-Protocol: soap\r\n";
        assert_eq!(status(&request("/mqtt", soap, "")).await, "400");
        assert_eq!(status("GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n").await, "400");
        let posted = request("/mqtt", mqtt, "").replacen("GET", "POST", 1);
        assert_eq!(status(&posted).await, "400");
        let page = format!("{mqtt}Origin: https://elsewhere.example\r\n");
        let asked = request("/mqtt", &page, "");
        let (forbidden, _) = ask_port(&Origins::SameHost, asked.as_bytes(), 10_000).await;
        assert_eq!((&*status(&asked).await, &*forbidden), ("101", "403"));
        assert_eq!(status("\x10\x0c\0\x04MQTT\x05\x02\0\0\0\0\0").await, "400");
        let long = format!("X: {}\r\n", "x".repeat(UPGRADE_BYTES));
        assert_eq!(status(&request("/mqtt", mqtt, &long)).await, "431");
    }
}
