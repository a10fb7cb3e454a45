//! Our messages as gRPC's: what the core says goes straight into the buffer that is written, and comes straight out of the
//! one that was read.

use std::marker::PhantomData;

use catena_replicated::{Envelope, FromOrigin, ToOrigin};
use catena_slots::ShardId;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::wire::{self, Malformed};

/// By how many bytes the buffer of a stream grows.
const BUFFER_BYTES: usize = 16 * 1024;

/// Messages that wait are written together up to about as many bytes as this.
const TOGETHER_BYTES: usize = 256 * 1024;

/// What can be written.
pub(super) trait Write: Send + Sync + 'static {
    fn write(self, bytes: &mut EncodeBuf<'_>);
}

/// What can be read.
pub(super) trait Read: Sized + Send + Sync + 'static {
    fn read(bytes: &mut DecodeBuf<'_>) -> Result<Self, Malformed>;
}

/// What an origin says, and to which shard.
#[derive(Debug)]
pub(super) struct ToShard(pub(super) ShardId, pub(super) FromOrigin);

impl Write for ToShard {
    fn write(self, bytes: &mut EncodeBuf<'_>) {
        wire::encode_from_origin(self.0, &self.1, bytes);
    }
}

/// What an origin says; an Open with the shard that it means.
pub(super) struct FromWire(pub(super) Option<ShardId>, pub(super) FromOrigin);

impl Read for FromWire {
    fn read(bytes: &mut DecodeBuf<'_>) -> Result<FromWire, Malformed> {
        wire::decode_from_origin(bytes).map(|(shard, message)| FromWire(shard, message))
    }
}

impl Write for ToOrigin {
    fn write(self, bytes: &mut EncodeBuf<'_>) {
        wire::encode_to_origin(&self, bytes);
    }
}

impl Read for ToOrigin {
    fn read(bytes: &mut DecodeBuf<'_>) -> Result<ToOrigin, Malformed> {
        wire::decode_to_origin(bytes)
    }
}

impl Write for Envelope {
    fn write(self, bytes: &mut EncodeBuf<'_>) {
        wire::encode_envelope(self, bytes);
    }
}

impl Read for Envelope {
    fn read(bytes: &mut DecodeBuf<'_>) -> Result<Envelope, Malformed> {
        wire::decode_envelope(bytes)
    }
}

/// The answers of a one-way stream, of which there are none.
pub(super) struct Silence;

impl Write for Silence {
    fn write(self, _: &mut EncodeBuf<'_>) {}
}

impl Read for Silence {
    fn read(_: &mut DecodeBuf<'_>) -> Result<Silence, Malformed> {
        Ok(Silence)
    }
}

/// Writes `W` and reads `R`.
pub(super) struct Messages<W, R>(PhantomData<fn(W) -> R>);

impl<W, R> Messages<W, R> {
    pub(super) const fn new() -> Self {
        Messages(PhantomData)
    }
}

impl<W: Write, R: Read> Codec for Messages<W, R> {
    type Encode = W;
    type Decode = R;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Messages::new()
    }

    fn decoder(&mut self) -> Self {
        Messages::new()
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, TOGETHER_BYTES)
}

impl<W: Write, R: Read> Encoder for Messages<W, R> {
    type Item = W;
    type Error = Status;

    fn encode(&mut self, message: W, bytes: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.write(bytes);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}

impl<W: Write, R: Read> Decoder for Messages<W, R> {
    type Item = R;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        let message = R::read(bytes);
        message
            .map(Some)
            .map_err(|malformed| Status::invalid_argument(malformed.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}
