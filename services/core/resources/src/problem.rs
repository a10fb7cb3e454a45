//! What is wrong with resources.

use std::fmt;

use crate::resource::ResourceId;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which manifest: `BrokerListener/default`, or `document 2` where that cannot be told. Empty where there is only one.
    pub resource: String,
    /// Where it is, as `spec.ports[2].tls.mode`. Empty for the whole.
    pub path: String,
    /// What is there, and what may be.
    pub reason: String,
}

/// All that is wrong; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in [&self.resource, &self.path] {
            if !place.is_empty() {
                write!(f, "{place}: ")?;
            }
        }
        f.write_str(&self.reason)
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// Gathers problems.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    /// Notes what is wrong with a field of a resource.
    pub fn add(&mut self, id: &ResourceId, path: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Problem {
            resource: id.to_string(),
            path: path.into(),
            reason: reason.into(),
        });
    }

    /// Notes a value outside `from..=to`.
    pub fn range<T: PartialOrd + fmt::Display>(&mut self, path: &str, value: T, from: T, to: T) {
        if value < from || value > to {
            let reason = format!("{value}: must be from {from} to {to}");
            self.0.push(Problem {
                resource: String::new(),
                path: path.to_owned(),
                reason,
            });
        }
    }

    /// The verdict.
    pub fn end(self) -> Result<(), Invalid> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Invalid(self.0))
        }
    }
}
