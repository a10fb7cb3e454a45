//! WebSocket frames from a client, taken apart where they lie.
//!
//! MQTT is a stream of bytes to which frames and messages mean nothing `[MQTT-6.0.0-2]`. So nothing is gathered: payload
//! is unmasked and moved together in the buffer that it was read into, and an idle connection holds no more than
//! the beginning of a header. The format itself is tungstenite's.

use std::io::Cursor;

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{CloseCode, Control, Data, OpCode},
};

use crate::limits::FRAME_BYTES;

/// The longest header.
const HEADER_BYTES: usize = 14;
/// The longest payload of a control frame. RFC 6455 5.5
const CONTROL_BYTES: u64 = 125;

/// What a client may not send; the connection ends, with this code in the Close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Violation {
    pub what: &'static str,
    pub code: CloseCode,
}

/// A control frame that wants an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// With what the Pong has to bring back.
    Ping(Vec<u8>),
    /// Nothing that follows is read.
    Close,
}

/// Takes frames apart.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The beginning of a header.
    header: [u8; HEADER_BYTES],
    header_bytes: u8,
    /// What of the present frame is still to come.
    left: u64,
    mask: [u8; 4],
    /// Set within a control frame.
    control: Option<Box<ControlFrame>>,
    /// A message has begun that is not yet whole.
    is_in_message: bool,
}

#[derive(Debug)]
struct ControlFrame {
    kind: Control,
    payload: Vec<u8>,
}

impl Frames {
    /// Takes `bytes` apart: payload is moved to their front, and its length returned. Requests are handed to `answer`.
    pub fn take(
        &mut self,
        bytes: &mut [u8],
        mut answer: impl FnMut(Request),
    ) -> Result<usize, Violation> {
        let (mut read, mut kept) = (0, 0);
        loop {
            if self.left == 0 {
                if let Some(control) = self.control.take() {
                    match control.kind {
                        Control::Ping => answer(Request::Ping(control.payload)),
                        Control::Close => {
                            answer(Request::Close);
                            return Ok(kept);
                        }
                        // A Pong that nobody asked for is a sign of life.
                        _ => {}
                    }
                }
                if read == bytes.len() {
                    return Ok(kept);
                }
                read += self.begin(&bytes[read..])?;
                continue;
            }
            if read == bytes.len() {
                return Ok(kept);
            }
            let count = usize::try_from(self.left).unwrap_or(usize::MAX);
            let count = count.min(bytes.len() - read);
            let piece = &mut bytes[read..read + count];
            unmask(piece, self.mask);
            self.mask.rotate_left(count % 4);
            match &mut self.control {
                Some(control) => control.payload.extend_from_slice(piece),
                None => {
                    if kept != read {
                        bytes.copy_within(read..read + count, kept);
                    }
                    kept += count;
                }
            }
            read += count;
            self.left -= count as u64;
        }
    }

    /// Takes from the front of `bytes` what belongs to a header, and begins its frame once it is whole.
    fn begin(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let had = usize::from(self.header_bytes);
        let more = bytes.len().min(HEADER_BYTES - had);
        self.header[had..had + more].copy_from_slice(&bytes[..more]);
        let mut cursor = Cursor::new(&self.header[..had + more]);
        let parsed = FrameHeader::parse(&mut cursor);
        let taken = cursor.position() as usize;
        match parsed {
            Ok(None) => {
                self.header_bytes = (had + more) as u8;
                Ok(more)
            }
            Ok(Some((header, length))) => {
                self.header_bytes = 0;
                self.enter(&header, length)?;
                // A header that began before is longer than what there was of it.
                Ok(taken - had)
            }
            Err(_) => Err(violation("a frame of a kind that nobody knows")),
        }
    }

    fn enter(&mut self, header: &FrameHeader, length: u64) -> Result<(), Violation> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(violation("a frame with bits of an extension"));
        }
        // RFC 6455 5.1
        self.mask = header.mask.ok_or(violation("a frame without a mask"))?;
        match header.opcode {
            OpCode::Control(kind) => {
                if !header.is_final || length > CONTROL_BYTES {
                    return Err(violation("a control frame in pieces, or too long"));
                }
                let payload = Vec::new();
                self.control = Some(Box::new(ControlFrame { kind, payload }));
            }
            OpCode::Data(kind) => {
                match kind {
                    Data::Binary if !self.is_in_message => {}
                    Data::Continue if self.is_in_message => {}
                    // v5 and v3.1.1 [MQTT-6.0.0-1]
                    Data::Text => {
                        return Err(Violation {
                            what: "a text frame: MQTT is binary",
                            code: CloseCode::Unsupported,
                        });
                    }
                    _ => return Err(violation("a message within another, or the rest of none")),
                }
                if length > FRAME_BYTES {
                    return Err(Violation {
                        what: "a frame larger than any packet",
                        code: CloseCode::Size,
                    });
                }
                self.is_in_message = !header.is_final;
            }
        }
        self.left = length;
        Ok(())
    }
}

fn violation(what: &'static str) -> Violation {
    Violation {
        what,
        code: CloseCode::Protocol,
    }
}

/// RFC 6455 5.3, eight bytes at a time.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// The header of one whole binary frame of ours, and its length.
pub(crate) fn binary(payload: usize) -> ([u8; 10], usize) {
    let header = FrameHeader {
        opcode: OpCode::Data(Data::Binary),
        ..FrameHeader::default()
    };
    let mut bytes = [0; 10];
    let mut rest = &mut bytes[..];
    // Ten bytes are room for every header without a mask.
    let _ = header.format(payload as u64, &mut rest);
    (bytes, header.len(payload as u64))
}

/// A whole control frame of ours.
pub(crate) fn control(kind: Control, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        opcode: OpCode::Control(kind),
        ..FrameHeader::default()
    };
    let mut bytes = Vec::with_capacity(2 + payload.len());
    // Writing to memory does not fail.
    let _ = header.format(payload.len() as u64, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: OpCode, is_final: bool, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let header = FrameHeader {
            is_final,
            opcode,
            mask: Some(mask),
            ..FrameHeader::default()
        };
        let mut bytes = Vec::new();
        header.format(payload.len() as u64, &mut bytes).unwrap();
        let masked = payload.iter().zip(mask.iter().cycle());
        bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// A message in as many frames, with a Ping in front of each but the first.
    fn message(pieces: &[Vec<u8>], mask: [u8; 4]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let kind = if index == 0 {
                Data::Binary
            } else {
                bytes.extend(frame(OpCode::Control(Control::Ping), true, b"hey", mask));
                Data::Continue
            };
            let is_last = index + 1 == pieces.len();
            bytes.extend(frame(OpCode::Data(kind), is_last, piece, mask));
        }
        bytes
    }

    fn refusal(bytes: &[u8]) -> CloseCode {
        let mut bytes = bytes.to_vec();
        let outcome = Frames::default().take(&mut bytes, |_| {});
        outcome.unwrap_err().code
    }

    proptest! {
        // What a client sends must come out the same however it was framed, and however TCP cut it.
        #[test]
        fn payload_survives_frames_and_cuts(
            messages in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4), 0..5),
            cuts in prop::collection::vec(1_usize..200, 1..20),
            mask in any::<[u8; 4]>(),
        ) {
            let sent: Vec<u8> = messages.iter().flatten().flatten().copied().collect();
            let framed: Vec<u8> = messages.iter().flat_map(|m| message(m, mask)).collect();
            let (mut frames, mut got, mut pings) = (Frames::default(), Vec::new(), 0);
            let (mut rest, mut cuts) = (&framed[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                let mut piece = piece.to_vec();
                let kept = frames.take(&mut piece, |request| {
                    assert_eq!(request, Request::Ping(b"hey".to_vec()));
                    pings += 1;
                });
                got.extend_from_slice(&piece[..kept.unwrap()]);
                rest = behind;
            }
            prop_assert_eq!(got, sent);
            prop_assert_eq!(pings, messages.iter().map(|m| m.len() - 1).sum::<usize>());
        }

        // Bytes from the network never break the process.
        #[test]
        fn arbitrary_bytes_do_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let length = bytes.len();
            if let Ok(kept) = Frames::default().take(&mut bytes, |_| {}) {
                prop_assert!(kept <= length);
            }
        }
    }

    // v5 and v3.1.1 [MQTT-6.0.0-1]: who sends text, or what is not WebSocket, is closed.
    #[test]
    fn what_a_client_may_not_send_is_refused() {
        let binary = OpCode::Data(Data::Binary);
        let text = frame(OpCode::Data(Data::Text), true, b"hello", [1, 2, 3, 4]);
        assert_eq!(refusal(&text), CloseCode::Unsupported);
        let rest = frame(OpCode::Data(Data::Continue), true, b"x", [0; 4]);
        assert_eq!(refusal(&rest), CloseCode::Protocol);
        let mut nested = frame(binary, false, b"x", [0; 4]);
        nested.extend(frame(binary, true, b"x", [0; 4]));
        assert_eq!(refusal(&nested), CloseCode::Protocol);
        let long = frame(OpCode::Control(Control::Ping), true, &[0; 126], [0; 4]);
        assert_eq!(refusal(&long), CloseCode::Protocol);
        assert_eq!(refusal(&[0x82, 1, 0]), CloseCode::Protocol, "no mask");
        assert_eq!(refusal(&[0x83, 0x80, 0, 0, 0, 0]), CloseCode::Protocol);
        assert_eq!(refusal(&[0xC2, 0x80, 0, 0, 0, 0]), CloseCode::Protocol);
        let mut huge = vec![0x82, 0xFF];
        huge.extend((FRAME_BYTES + 1).to_be_bytes());
        huge.extend([0; 4]);
        assert_eq!(refusal(&huge), CloseCode::Size);
    }

    #[test]
    fn nothing_is_read_behind_a_close() {
        let mut bytes = frame(OpCode::Data(Data::Binary), true, b"ab", [7; 4]);
        bytes.extend(frame(
            OpCode::Control(Control::Close),
            true,
            &[3, 232],
            [7; 4],
        ));
        bytes.extend(frame(OpCode::Data(Data::Binary), true, b"cd", [7; 4]));
        let mut requests = Vec::new();
        let kept = Frames::default().take(&mut bytes, |request| requests.push(request));
        assert_eq!((kept, &requests[..]), (Ok(2), &[Request::Close][..]));
        assert_eq!(&bytes[..2], b"ab");
    }
}
