//! One socket of the load: packets in from a shared buffer, packets out in one write per wake-up.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, bail};
use catena_mqtt::decode;
use mio::{Interest, Registry, Token, net::TcpStream};

use super::{handshake::Opened, socket::Socket, wire::LIMITS};

/// The buffer that all connections read into, in bytes.
pub const SCRATCH_LEN: usize = 64 << 10;

/// A connection after its handshake.
#[derive(Debug)]
pub struct Connection {
    stream: Socket<TcpStream>,
    /// The front of a packet whose end has not come yet.
    partial: Vec<u8>,
    out: Vec<u8>,
    /// The bytes of `out` that have left.
    written: usize,
    /// The socket takes no more for now; an event will say when it does.
    blocked: bool,
}

impl Connection {
    /// Takes over a connection and watches it under `token`.
    ///
    /// # Errors
    ///
    /// When the socket cannot be watched.
    pub fn new(opened: Opened, registry: &Registry, token: Token) -> anyhow::Result<Connection> {
        let mut stream = opened.stream.watched()?;
        registry.register(
            stream.inner(),
            token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let partial = opened.rest;
        Ok(Connection {
            stream,
            partial,
            out: Vec::new(),
            written: 0,
            blocked: false,
        })
    }

    /// Where to put what is to be sent.
    #[inline]
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The socket takes bytes again.
    pub fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Sends as much as the socket takes.
    ///
    /// # Errors
    ///
    /// When the connection is lost.
    #[inline]
    pub fn flush(&mut self) -> anyhow::Result<()> {
        while !self.blocked && self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the connection was lost"),
            }
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        if !self.blocked {
            match self.stream.flush() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
                flushed => flushed.context("the connection was lost")?,
            }
        }
        Ok(())
    }

    /// Reads once into `scratch` and hands each whole packet to `take`, with the place for
    /// answers. Returns whether there may be more.
    ///
    /// # Errors
    ///
    /// When the connection ends, and what `take` says.
    #[inline]
    pub fn read(
        &mut self,
        scratch: &mut Vec<u8>,
        take: impl FnMut(&[u8], &mut Vec<u8>) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let kept = self.partial.len();
        if kept * 2 > scratch.len() {
            scratch.resize(kept * 4, 0);
        }
        scratch[..kept].copy_from_slice(&self.partial);
        let length = match self.stream.read(&mut scratch[kept..]) {
            Ok(0) => bail!("the broker closed the connection"),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error).context("the connection was lost"),
        };
        let end = kept + length;
        let taken = each_packet(&scratch[..end], &mut self.out, take)?;
        self.partial.clear();
        self.partial.extend_from_slice(&scratch[taken..end]);
        // A short read has emptied the socket: an event will say when there is more. What TLS has decrypted already, none will.
        Ok(end == scratch.len() || self.stream.reads_ahead())
    }
}

/// Hands out the whole packets of `bytes`; returns the bytes that they take.
#[inline]
fn each_packet(
    bytes: &[u8],
    out: &mut Vec<u8>,
    mut take: impl FnMut(&[u8], &mut Vec<u8>) -> anyhow::Result<()>,
) -> anyhow::Result<usize> {
    let mut taken = 0;
    while let Some(length) = decode::frame_length(&bytes[taken..], &LIMITS)? {
        let Some(frame) = bytes.get(taken..taken + length) else {
            break;
        };
        take(frame, out)?;
        taken += length;
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_cut_at_their_ends() {
        let bytes = [0x40, 2, 0, 1, 0xD0, 0, 0x40, 2, 0];
        let mut seen = Vec::new();
        let taken = each_packet(&bytes, &mut Vec::new(), |frame, _| {
            seen.push(frame.to_vec());
            Ok(())
        });
        assert_eq!(taken.unwrap(), 6);
        assert_eq!(seen, [vec![0x40, 2, 0, 1], vec![0xD0, 0]]);
    }
}
