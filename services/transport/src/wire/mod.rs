//! What the core says as protobuf messages, and back. Whatever came from the network is refused with what is wrong about
//! it, and never panics.

mod bytes;
mod chain;
mod configuration;
mod effect;
mod hot;
mod inspection;
mod link;
mod op;
mod saved;

pub use self::bytes::{
    decode_entry, decode_envelope, decode_from_origin, decode_to_origin, encode_entry,
    encode_envelope, encode_from_origin, encode_to_origin,
};
use catena_slots::{SHARDS_MAX, ShardId};

/// The highest number of an op, an effect or an entry: so far below the highest `u64` that counting on never overflows.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// What came is no message of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} is missing or out of range")]
pub struct Malformed {
    /// The field that is missing or out of range.
    pub what: &'static str,
}

/// Bytes that are no message at all.
const NO_PROTOBUF: Malformed = Malformed { what: "protobuf" };

/// A type of the core and its protobuf message.
pub trait Wire: Sized {
    /// The generated type.
    type Proto;

    /// As it is sent.
    fn to_proto(&self) -> Self::Proto;

    /// From what was received.
    ///
    /// # Errors
    /// [`Malformed`] for what [`Wire::to_proto`] would never make.
    fn from_proto(proto: Self::Proto) -> Result<Self, Malformed>;
}

/// A part that has to be there.
fn required<T: Wire>(what: &'static str, part: Option<T::Proto>) -> Result<T, Malformed> {
    T::from_proto(part.ok_or(Malformed { what })?)
}

/// All of a list, as they are sent.
pub(crate) fn each<T: Wire>(list: &[T]) -> Vec<T::Proto> {
    list.iter().map(T::to_proto).collect()
}

/// All of a list that was received.
pub(crate) fn all<T: Wire, C: FromIterator<T>>(list: Vec<T::Proto>) -> Result<C, Malformed> {
    list.into_iter().map(T::from_proto).collect()
}

fn narrow<Narrow: TryFrom<Wide>, Wide>(
    what: &'static str,
    wide: Wide,
) -> Result<Narrow, Malformed> {
    Narrow::try_from(wide).map_err(|_| Malformed { what })
}

fn number(what: &'static str, number: u64) -> Result<u64, Malformed> {
    if number > NUMBER_MAX {
        return Err(Malformed { what });
    }
    Ok(number)
}

pub(crate) fn shard(shard: u32) -> Result<ShardId, Malformed> {
    let what = "shard";
    let shard: u16 = narrow(what, shard)?;
    if usize::from(shard) >= SHARDS_MAX {
        return Err(Malformed { what });
    }
    Ok(ShardId(shard))
}

/// The 128 bits of a key, as two halves of 64.
fn halves(key: u128) -> (u64, u64) {
    ((key >> 64) as u64, key as u64)
}

fn whole(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}
