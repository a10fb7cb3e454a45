//! From the socket to packets.
//!
//! All connections of a worker read into one chunk, and packets are slices of it: an idle connection holds no buffer,
//! and a payload is never copied. What is left of a packet is copied out, so that a few bytes never hold a chunk. A
//! large packet has a buffer of its own, which grows by what has arrived, never by what was announced.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use catena_mqtt::{
    DecodeError, Packet, Version,
    decode::{Limits, decode, frame_length},
};
use tokio::io::AsyncReadExt;

use crate::{
    limits::{LARGE_PACKET_BYTES, READ_CHUNK_BYTES, READ_ROOM_BYTES},
    stream::Stream,
};

/// What one connection has read and not yet handed on.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// Whole packets, and perhaps the beginning of one.
    unread: Bytes,
    /// The beginning of a packet, when `unread` is empty.
    partial: BytesMut,
    /// Bytes of the packet in `partial`, where it is large.
    large: Option<usize>,
}

/// What a read brought.
#[derive(Debug)]
pub(super) enum Read {
    Bytes(usize),
    End,
}

impl Inbound {
    /// Takes the next whole packet; `None` if it is not all there.
    pub fn next(
        &mut self,
        version: Option<Version>,
        limits: &Limits,
    ) -> Result<Option<Packet>, DecodeError> {
        if self.unread.is_empty() {
            return Ok(None);
        }
        let packet = decode(&mut self.unread, version, limits)?;
        if packet.is_none() {
            self.partial = BytesMut::from(&self.unread[..]);
            self.unread = Bytes::new();
            self.large =
                frame_length(&self.partial, limits)?.filter(|length| *length >= LARGE_PACKET_BYTES);
        }
        Ok(packet)
    }

    /// Whether the rest of a large packet is awaited.
    pub fn is_large(&self) -> bool {
        self.large.is_some()
    }

    /// Bytes of memory that are this connection's alone, or nearly.
    pub fn held(&self) -> usize {
        self.partial.capacity() + self.unread.len()
    }

    /// Nothing is taken for a while: a few bytes do not hold the chunk that they stand in.
    pub fn shrink(&mut self) {
        if (1..LARGE_PACKET_BYTES).contains(&self.unread.len()) && !self.unread.is_unique() {
            self.unread = Bytes::copy_from_slice(&self.unread);
        }
    }

    /// Throws everything away.
    pub fn forget(&mut self) {
        *self = Inbound::default();
    }

    /// Reads once; all of `unread` was handed on before.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        chunk: &RefCell<BytesMut>,
    ) -> Poll<io::Result<Read>> {
        debug_assert!(self.unread.is_empty());
        match self.large {
            Some(length) => self.poll_read_large(cx, stream, length),
            None => self.poll_read_chunk(cx, stream, &mut chunk.borrow_mut()),
        }
    }

    fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        chunk: &mut BytesMut,
    ) -> Poll<io::Result<Read>> {
        if !self.partial.is_empty() {
            // Only then is the copying worth it.
            ready!(stream.poll_read_ready(cx))?;
        }
        if chunk.capacity() < self.partial.len() + READ_ROOM_BYTES {
            chunk.reserve(READ_CHUNK_BYTES);
        }
        chunk.extend_from_slice(&self.partial);
        let outcome = pin!(stream.read_buf(chunk)).poll(cx);
        match outcome {
            Poll::Ready(Ok(count)) if count > 0 => {
                self.partial = BytesMut::new();
                self.unread = chunk.split().freeze();
                Poll::Ready(Ok(Read::Bytes(count)))
            }
            Poll::Ready(Ok(_)) => {
                chunk.clear();
                Poll::Ready(Ok(Read::End))
            }
            Poll::Ready(Err(error)) => {
                chunk.clear();
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                chunk.clear();
                Poll::Pending
            }
        }
    }

    fn poll_read_large(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        length: usize,
    ) -> Poll<io::Result<Read>> {
        if self.partial.capacity() == self.partial.len() {
            let missing = length - self.partial.len();
            self.partial
                .reserve(missing.min(self.partial.len().max(READ_CHUNK_BYTES)));
        }
        let count = ready!(pin!(stream.read_buf(&mut self.partial)).poll(cx))?;
        if count == 0 {
            return Poll::Ready(Ok(Read::End));
        }
        if self.partial.len() >= length {
            self.large = None;
            self.unread = std::mem::take(&mut self.partial).freeze();
        }
        Poll::Ready(Ok(Read::Bytes(count)))
    }
}

#[cfg(test)]
mod tests {
    use catena_mqtt::decode::Role;
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const LIMITS: Limits = Limits {
        maximum_packet_size: 1 << 20,
        role: Role::Server,
    };

    async fn pair() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(
            TcpStream::connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        (client.unwrap(), Stream::Tcp(server.unwrap().0))
    }

    /// A PUBLISH of QoS 0 to `t`.
    fn publish(payload: &[u8]) -> Vec<u8> {
        let mut length = payload.len() + 3;
        let mut packet = vec![0x30];
        while length >= 128 {
            packet.push((length % 128) as u8 | 0x80);
            length /= 128;
        }
        packet.push(length as u8);
        packet.extend([0, 1, b't']);
        packet.extend(payload);
        packet
    }

    async fn read_all(
        inbound: &mut Inbound,
        stream: &mut Stream,
        chunk: &RefCell<BytesMut>,
    ) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            while let Some(packet) = inbound.next(Some(Version::V4), &LIMITS).unwrap() {
                packets.push(packet);
            }
            match std::future::poll_fn(|cx| inbound.poll_read(cx, stream, chunk))
                .await
                .unwrap()
            {
                Read::Bytes(_) => {}
                Read::End => return packets,
            }
        }
    }

    // Packets of all sizes, cut anywhere, come out whole and in order.
    #[tokio::test(flavor = "current_thread")]
    async fn packets_survive_being_cut() {
        let sizes = [0, 1, 5, 4_000, 70_000, 3, 33_000, 300_000, 12, 64_000];
        let payloads: Vec<Vec<u8>> = sizes
            .iter()
            .map(|size| (0..*size).map(|i| i as u8).collect())
            .collect();
        let bytes: Vec<u8> = payloads
            .iter()
            .flat_map(|payload| publish(payload))
            .collect();
        for piece in [7, 1_000, 40_000, bytes.len()] {
            let (mut client, mut server) = pair().await;
            let (chunk, mut inbound) = (RefCell::default(), Inbound::default());
            let write = async {
                for piece in bytes.chunks(piece) {
                    client.write_all(piece).await.unwrap();
                }
                drop(client);
            };
            let (packets, ()) = tokio::join!(read_all(&mut inbound, &mut server, &chunk), write);
            let got: Vec<Vec<u8>> = packets
                .into_iter()
                .map(|packet| match packet {
                    Packet::Publish(publish) => publish.payload.to_vec(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert!(got == payloads, "in pieces of {piece}");
        }
    }

    // A client that announces a large packet and sends little of it must not cost what it announced.
    #[tokio::test(flavor = "current_thread")]
    async fn a_large_packet_takes_the_room_of_what_has_arrived() {
        let (mut client, mut server) = pair().await;
        let (chunk, mut inbound) = (RefCell::default(), Inbound::default());
        client
            .write_all(&publish(&[0; 1_000_000])[..100])
            .await
            .unwrap();
        std::future::poll_fn(|cx| inbound.poll_read(cx, &mut server, &chunk))
            .await
            .unwrap();
        assert_eq!(inbound.next(Some(Version::V4), &LIMITS), Ok(None));
        client.write_all(&[0; 100]).await.unwrap();
        std::future::poll_fn(|cx| inbound.poll_read(cx, &mut server, &chunk))
            .await
            .unwrap();
        assert!(inbound.large.is_some() && inbound.partial.capacity() <= 2 * READ_CHUNK_BYTES);
    }
}
