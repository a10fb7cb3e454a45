//! A digest of an effect: equal on two replicas exactly when the effect is `[C-52]`.

use catena_shard::Effect;
use postcard::ser_flavors::Flavor;
use xxhash_rust::xxh3::Xxh3Default;

/// What the digest of all effects that cannot be encoded would be; there are none.
const NOTHING: u64 = 0;

/// The digest of `effect`, without a copy of it.
pub fn of(effect: &Effect) -> u64 {
    postcard::serialize_with_flavor(effect, Hashed(Xxh3Default::new())).unwrap_or(NOTHING)
}

/// Hashes what it is given.
struct Hashed(Xxh3Default);

impl Flavor for Hashed {
    type Output = u64;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.update(&[byte]);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.update(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<u64> {
        Ok(self.0.digest())
    }
}

#[cfg(test)]
mod tests {
    use catena_mqtt::ReasonCode;
    use catena_shard::{ConnId, effect::Kick};

    use super::*;

    // Were every effect alike, a replica that has diverged would never be found.
    #[test]
    fn different_effects_have_different_digests() {
        let kick = |conn| {
            Effect::Kick(Kick {
                conn: ConnId(conn),
                epoch: 1,
                reason: ReasonCode::SessionTakenOver,
            })
        };
        assert_eq!(of(&kick(1)), of(&kick(1)));
        assert_ne!(of(&kick(1)), of(&kick(2)));
    }
}
