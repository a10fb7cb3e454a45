//! A network between two processes that can fall silent or break.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Up,
    /// Nothing goes through, and nobody is told.
    Silent,
    Broken,
}

pub struct Proxy {
    pub address: String,
    pub state: watch::Sender<State>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    pub async fn to(address: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (state, seen) = watch::channel(State::Up);
        let connections = Arc::new(AtomicUsize::new(0));
        let proxy = Proxy {
            address: listener.local_addr().unwrap().to_string(),
            state,
            connections: connections.clone(),
        };
        let address = address.to_owned();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Relaxed);
                let server = TcpStream::connect(&address).await.unwrap();
                tokio::spawn(carry(client, server, seen.clone()));
            }
        });
        proxy
    }

    /// How many connections it has carried.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, mut state: watch::Receiver<State>) {
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        _ = state.wait_for(|state| *state != State::Up) => {}
    }
    // The sockets stay open until then.
    let _ = state.wait_for(|state| *state == State::Broken).await;
}
