//! What each payload says of itself: which run, which publisher, which message, and when it left.

/// The bytes of a stamp, and so the smallest payload.
pub const LEN: usize = 24;

/// The front of a payload.
///
/// ```text
/// 0      4           8          16        24
/// | run  | publisher | sequence | sent_ns | padding ...
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Tells this run's messages from those of another on the same topics.
    pub run: u32,
    /// Which publisher.
    pub publisher: u32,
    /// The publisher's messages are 0, 1, 2 ...
    pub sequence: u64,
    /// When it left, in nanoseconds since the start of the generator.
    pub sent_ns: u64,
}

impl Stamp {
    /// Writes the stamp over the front of `payload`.
    ///
    /// # Panics
    ///
    /// When `payload` is shorter than [`LEN`].
    #[inline]
    pub fn write(&self, payload: &mut [u8]) {
        payload[0..4].copy_from_slice(&self.run.to_le_bytes());
        payload[4..8].copy_from_slice(&self.publisher.to_le_bytes());
        payload[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        payload[16..24].copy_from_slice(&self.sent_ns.to_le_bytes());
    }

    /// The stamp of a payload; `None` if it is too short to have one.
    #[inline]
    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let (run, rest) = payload.split_first_chunk()?;
        let (publisher, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (sent_ns, _) = rest.split_first_chunk()?;
        Some(Stamp {
            run: u32::from_le_bytes(*run),
            publisher: u32::from_le_bytes(*publisher),
            sequence: u64::from_le_bytes(*sequence),
            sent_ns: u64::from_le_bytes(*sent_ns),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A stamp that came back different would be counted as a loss and a duplicate.
    #[test]
    fn a_stamp_comes_back() {
        let stamp = Stamp {
            run: 7,
            publisher: 3,
            sequence: u64::MAX - 1,
            sent_ns: 12_345_678_901,
        };
        let mut payload = [0; LEN + 10];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(Stamp::read(&payload[..LEN - 1]), None);
    }
}
