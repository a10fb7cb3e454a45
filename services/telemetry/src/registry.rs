//! Who is asked when somebody wants to know.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{names, samples::Samples};

/// Something that can say what it measures. It is asked from a thread that carries no messages; what it reads is written by
/// those that do, so it reads atomics, and takes no lock that they take.
pub trait Source: Send + Sync {
    /// Adds what is measured now.
    fn collect(&self, samples: &mut Samples);
}

impl<F: Fn(&mut Samples) + Send + Sync> Source for F {
    fn collect(&self, samples: &mut Samples) {
        self(samples);
    }
}

/// A source, and what it is taken away by.
type Numbered = (u64, Arc<dyn Source>);

/// All sources of the process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry {
    sources: Arc<Mutex<Vec<Numbered>>>,
}

/// A source that counts for as long as this is held.
#[must_use = "dropped, the source is gone"]
pub struct Registered {
    registry: Registry,
    id: u64,
}

impl Registry {
    /// Adds a source for good.
    pub fn add(&self, source: impl Source + 'static) {
        let registered = self.add_for_now(source);
        std::mem::forget(registered);
    }

    /// Adds a source for as long as what is returned is held.
    pub fn add_for_now(&self, source: impl Source + 'static) -> Registered {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let id = sources.last().map_or(1, |(last, _)| last + 1);
        sources.push((id, Arc::new(source)));
        Registered {
            registry: self.clone(),
            id,
        }
    }

    /// Asks all sources.
    pub fn collect(&self) -> Samples {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = sources.clone();
        drop(sources);
        let mut samples = Samples::default();
        for (_, source) in asked {
            source.collect(&mut samples);
        }
        let dropped = samples.dropped();
        samples.add(&names::SERIES_DROPPED, [], dropped);
        samples
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let sources = self.registry.sources.lock();
        let mut sources = sources.unwrap_or_else(PoisonError::into_inner);
        sources.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Value;

    // What a gateway's last life counted would be shown for ever.
    #[test]
    fn a_source_that_is_dropped_is_not_asked_any_more() {
        let registry = Registry::default();
        let count = |registry: &Registry| {
            let samples = registry.collect();
            let mut families = samples.families();
            families
                .find(|family| family.metric == &names::ACCEPTED)
                .and_then(|family| family.series.values().next().cloned())
        };
        let say =
            |number: u64| move |samples: &mut Samples| samples.add(&names::ACCEPTED, [], number);
        let first = registry.add_for_now(say(1));
        registry.add(say(2));
        let third = registry.add_for_now(say(4));
        assert_eq!(count(&registry), Some(Value::Number(7.0)));
        drop(third);
        drop(first);
        assert_eq!(count(&registry), Some(Value::Number(2.0)));
    }
}
