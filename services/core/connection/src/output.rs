//! Bytes for the client: small packets gathered in one buffer, large payloads passed on as they are.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Payloads of this size and more are not copied into the buffer.
pub const PASS_ON_BYTES: usize = 4 * 1024;

/// Above this, QoS 0 deliveries are dropped and counted, and others wait in the connection `[F-59]`.
pub const HIGH_WATER_BYTES: usize = 1024 * 1024;

/// Below this, a connection that was above [`HIGH_WATER_BYTES`] goes on.
pub const LOW_WATER_BYTES: usize = 256 * 1024;

/// What is to be written, in order.
#[derive(Debug, Default)]
pub struct Output {
    whole: VecDeque<Bytes>,
    whole_bytes: usize,
    buffer: BytesMut,
    close: bool,
}

impl Output {
    /// The buffer to encode packets into.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Adds the payload of the packet whose header was just encoded.
    pub fn payload(&mut self, payload: &Bytes) {
        if payload.len() < PASS_ON_BYTES {
            self.buffer.extend_from_slice(payload);
            return;
        }
        self.seal();
        self.whole_bytes += payload.len();
        self.whole.push_back(payload.clone());
    }

    /// Closes the socket once everything is written.
    pub fn close(&mut self) {
        self.close = true;
    }

    /// Whether the socket is to be closed once everything is written.
    pub fn is_closing(&self) -> bool {
        self.close
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.whole_bytes + self.buffer.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything: the socket is gone.
    pub fn clear(&mut self) {
        *self = Output {
            close: self.close,
            ..Output::default()
        };
    }

    /// The pieces that wait, oldest first, for a vectored write.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let buffer = (!self.buffer.is_empty()).then_some(&self.buffer[..]);
        self.whole.iter().map(|piece| &piece[..]).chain(buffer)
    }

    /// Forgets `written` bytes at the front.
    pub fn advance(&mut self, mut written: usize) {
        while let Some(piece) = self.whole.front_mut() {
            if written < piece.len() {
                bytes::Buf::advance(piece, written);
                self.whole_bytes -= written;
                return;
            }
            written -= piece.len();
            self.whole_bytes -= piece.len();
            self.whole.pop_front();
        }
        if written >= self.buffer.len() {
            self.buffer.clear();
        } else {
            bytes::Buf::advance(&mut self.buffer, written);
        }
    }

    fn seal(&mut self) {
        if !self.buffer.is_empty() {
            let sealed = self.buffer.split().freeze();
            self.whole_bytes += sealed.len();
            self.whole.push_back(sealed);
        }
    }
}
