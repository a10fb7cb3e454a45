//! What was decided for one connection.

use hashbrown::HashMap;

/// Topics and filters that are remembered for one connection. When there are as many, all are forgotten: a client that
/// goes round more of them than this is decided anew each time.
pub const REMEMBERED_MAX: usize = 64;

/// Bytes of a topic or filter that is remembered.
pub const REMEMBERED_BYTES_MAX: usize = 256;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Publish,
    Subscribe,
}

/// Decisions by what they were about.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    publish: HashMap<Box<str>, bool>,
    subscribe: HashMap<Box<str>, bool>,
}

impl Cache {
    /// What was decided about `text`; if that is not known, decides and remembers it.
    pub fn recall(
        cache: &mut Option<Cache>,
        kind: Kind,
        text: &str,
        decide: impl FnOnce() -> bool,
    ) -> bool {
        let Some(cache) = cache else {
            return decide();
        };
        let known = match kind {
            Kind::Publish => &mut cache.publish,
            Kind::Subscribe => &mut cache.subscribe,
        };
        if let Some(decision) = known.get(text) {
            return *decision;
        }
        let decision = decide();
        if text.len() <= REMEMBERED_BYTES_MAX {
            if known.len() >= REMEMBERED_MAX {
                known.clear();
            }
            known.insert(text.into(), decision);
        }
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A client that publishes to a million topics would take memory for each of them.
    #[test]
    fn what_is_remembered_is_bounded() {
        let mut cache = Some(Cache::default());
        for index in 0..10 * REMEMBERED_MAX {
            let topic = format!("{index}");
            assert!(Cache::recall(&mut cache, Kind::Publish, &topic, || true));
        }
        let long = "t".repeat(REMEMBERED_BYTES_MAX + 1);
        assert!(Cache::recall(&mut cache, Kind::Publish, &long, || true));
        // Not remembered: it is decided anew.
        assert!(!Cache::recall(&mut cache, Kind::Publish, &long, || false));
        let known = cache.unwrap().publish;
        assert!(known.len() <= REMEMBERED_MAX && known.contains_key("639"));
    }

    // What may be published could be subscribed to.
    #[test]
    fn kinds_are_apart() {
        let mut cache = Some(Cache::default());
        assert!(Cache::recall(&mut cache, Kind::Publish, "a", || true));
        assert!(!Cache::recall(&mut cache, Kind::Subscribe, "a", || false));
        assert!(Cache::recall(&mut cache, Kind::Publish, "a", || false));
    }
}
