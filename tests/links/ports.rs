//! Ports as resources ask for them, while clients are connected: what did not change is not touched.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use catena_mqtt::{ReasonCode, Version};
use catena_resources::{
    BrokerListener, Resource, Resources, Spec,
    listener::{Port, Protocol, ProxyProtocol},
};
use catena_tests::client::{Client, Options};

use crate::cluster::{Cluster, Plan};

/// Within this time a change is to be seen; the machine that runs tests may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

fn cluster() -> Cluster {
    Cluster::of(Plan {
        shards: 1,
        workers: 2,
        breaking: None,
    })
}

/// A port that nobody had a moment ago.
fn free() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

fn port(number: u16) -> Port {
    let text = format!(r#"{{"port": {number}, "address": "127.0.0.1"}}"#);
    serde_json::from_str(&text).expect("a port")
}

fn apply(cluster: &Cluster, version: u64, ports: &[Port]) {
    let mut resources = Resources::default();
    if !ports.is_empty() {
        let text = r#"{"ports": []}"#;
        let mut listener: BrokerListener = serde_json::from_str(text).expect("a listener");
        listener.ports = ports.to_vec();
        let spec = Spec::BrokerListener(Box::new(listener));
        resources.put(version, Arc::new(Resource::new("default", spec)));
    }
    cluster.tell(|told| told.resources = Arc::new(resources));
}

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Waits until somebody listens there, or nobody.
fn wait(port: u16, is_open: bool) {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(at(port)).is_ok() != is_open {
        assert!(Instant::now() < until, "port {port} open: not {is_open}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn open(port: u16, name: &str) -> Client {
    Options::new(Version::V5, name).open_at(at(port))
}

// A change of one port must not cost clients of another their connection.
#[test]
fn ports_come_change_and_go_and_leave_others_alone() {
    let cluster = cluster();
    let (first, second) = (free(), free());
    apply(&cluster, 1, &[port(first)]);
    wait(first, true);
    let mut stays: Vec<Client> = (0..20)
        .map(|number| open(first, &format!("stays-{number}")))
        .collect();

    apply(&cluster, 2, &[port(first), port(second)]);
    wait(second, true);
    let mut goes = open(second, "goes");

    // What a port speaks cannot change under its clients.
    let mut changed = port(second);
    changed.proxy_protocol = ProxyProtocol::Required;
    apply(&cluster, 3, &[port(first), changed.clone()]);
    assert_eq!(goes.expect_close(), Some(ReasonCode::AdministrativeAction));
    wait(second, true);

    // What is asked of new connections alone leaves the others alone.
    let mut limited = port(first);
    limited.max_connections = Some(20);
    apply(&cluster, 4, &[limited.clone(), changed]);
    let until = Instant::now() + PATIENCE;
    while is_served(first) {
        assert!(Instant::now() < until, "the limit is not kept");
    }

    apply(&cluster, 5, &[limited]);
    wait(second, false);
    for client in &mut stays {
        client.ping();
    }
    apply(&cluster, 6, &[]);
    wait(first, false);
    for client in &mut stays {
        assert_eq!(
            client.expect_close(),
            Some(ReasonCode::AdministrativeAction)
        );
    }
}

/// Whether one more client gets an answer to CONNECT.
fn is_served(port: u16) -> bool {
    let Ok(mut socket) = TcpStream::connect(at(port)) else {
        return false;
    };
    let _ = socket.write_all(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 0]);
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a time-out");
    matches!(socket.read(&mut [0; 1]), Ok(1))
}

// A port that another program has would otherwise stay closed until somebody applies something.
#[test]
fn a_port_that_is_taken_opens_when_it_is_free() {
    let cluster = cluster();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let number = taken.local_addr().expect("it is bound").port();
    let other = free();
    apply(&cluster, 1, &[port(number), port(other)]);
    wait(other, true);
    let status = cluster.port(number).expect("it is told");
    assert!(!status.is_open);
    let problem = status.problem.expect("a reason");
    assert!(problem.contains("cannot listen on"), "{problem}");
    drop(taken);
    let until = Instant::now() + PATIENCE;
    while !is_served(number) {
        assert!(Instant::now() < until, "it does not open");
        thread::sleep(Duration::from_millis(10));
    }
}

// A load balancer that is told to say who connects, and bytes that are nothing, must not open a way around it.
#[test]
fn a_header_is_required_where_it_is_said() {
    let cluster = cluster();
    let number = free();
    let mut required = port(number);
    required.proxy_protocol = ProxyProtocol::Required;
    apply(&cluster, 1, &[required]);
    wait(number, true);
    assert!(!is_served(number), "a client without a header is served");
    let mut socket = TcpStream::connect(at(number)).expect("it is open");
    socket
        .write_all(b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 1883\r\n")
        .expect("it takes the header");
    socket
        .write_all(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 0])
        .expect("it takes CONNECT");
    let mut answer = [0; 1];
    socket.read_exact(&mut answer).expect("CONNACK");
    assert_eq!(answer, [0x20]);
}

// [MQTT-6.0.0-3] and the path of MQTT over WebSockets; what speaks something else is not left waiting.
#[test]
fn web_sockets_carry_mqtt() {
    let cluster = cluster();
    let number = free();
    let mut web = port(number);
    web.protocol = Protocol::WebSockets;
    apply(&cluster, 1, &[web]);
    wait(number, true);
    let mut socket = TcpStream::connect(at(number)).expect("it is open");
    let request = "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    socket.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{answer:?}");
    // CONNECT in two frames with a mask of zeros.
    let connect = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 0];
    for piece in [&connect[..4], &connect[4..]] {
        let mut frame = vec![0x82, 0x80 | piece.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(piece);
        socket.write_all(&frame).expect("a frame");
    }
    let mut head = [0; 3];
    socket.read_exact(&mut head).expect("a frame of CONNACK");
    assert_eq!((head[0], head[2]), (0x82, 0x20));
    let mut other = TcpStream::connect(at(number)).expect("it is open");
    other.write_all(&connect).expect("no request");
    let mut answer = String::new();
    other
        .read_to_string(&mut answer)
        .expect("an answer, and the end");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}
