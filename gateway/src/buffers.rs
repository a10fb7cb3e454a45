//! Write buffers: an idle connection holds none.

use bytes::BytesMut;
use catena_connection::Output;

use crate::limits::{SPARE_BUFFER_BYTES, SPARE_BUFFERS};

/// Buffers that connections of one worker hand to each other.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    spare: Vec<BytesMut>,
}

impl Buffers {
    /// Gives `output` a buffer if it has none.
    pub fn lend(&mut self, output: &mut Output) {
        let buffer = output.buffer();
        if buffer.capacity() == 0
            && let Some(spare) = self.spare.pop()
        {
            *buffer = spare;
        }
    }

    /// Takes the buffer of `output`, from which everything was written, back.
    pub fn take_back(&mut self, output: &mut Output) {
        let buffer = std::mem::take(output.buffer());
        debug_assert!(buffer.is_empty());
        if (1..=SPARE_BUFFER_BYTES).contains(&buffer.capacity()) && self.spare.len() < SPARE_BUFFERS
        {
            self.spare.push(buffer);
        }
    }
}
