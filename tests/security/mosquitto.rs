//! mosquitto's clients, as processes.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use crate::world::{CHANGE, World};

/// `mosquitto_pub` or `mosquitto_sub` at a port without TLS, to its end.
pub fn run(world: &World, program: &str, port: usize, arguments: &[&str]) -> Output {
    let port = world.ports[port].port().to_string();
    Command::new(program)
        .args(["-h", "127.0.0.1", "-p", &port])
        .args(arguments)
        .current_dir(world.directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}"))
}

/// `mosquitto_sub` that goes on until it is dropped.
pub struct Sub {
    process: Child,
    lines: mpsc::Receiver<String>,
    connections: Arc<AtomicUsize>,
}

impl Sub {
    /// Starts it, and waits until it has subscribed.
    pub fn start(world: &World, port: usize, arguments: &[&str]) -> Sub {
        let port = world.ports[port].port().to_string();
        // It would keep back what it writes into a pipe.
        let mut process = Command::new("stdbuf")
            .args(["-oL", "mosquitto_sub", "-d", "-h", "localhost", "-p", &port])
            .args(arguments)
            .current_dir(world.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("stdbuf and mosquitto_sub are installed");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let (tell, lines) = mpsc::channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if line.contains("sending CONNECT") {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                let _ = tell.send(line);
            }
        });
        let sub = Sub {
            process,
            lines,
            connections,
        };
        sub.expect("Subscribed");
        sub
    }

    /// Waits for a line with this text.
    pub fn expect(&self, text: &str) {
        let mut passed = Vec::new();
        loop {
            match self.lines.recv_timeout(CHANGE) {
                Ok(line) if line.contains(text) => return,
                Ok(line) => passed.push(line),
                Err(_) => panic!("no {text:?} but {passed:?}"),
            }
        }
    }

    /// How often it has connected: its log says so.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Sub {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
