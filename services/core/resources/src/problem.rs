//! What is wrong with a resource.

use std::fmt;

/// One field that is out of its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it is, as `cardinality.backendChain.partitions`.
    pub path: String,
    /// What is there, and what may be.
    pub reason: String,
}

/// All that is wrong with a resource; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
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
    /// Notes a value outside `from..=to`.
    pub fn range<T: PartialOrd + fmt::Display>(&mut self, path: &str, value: T, from: T, to: T) {
        if value < from || value > to {
            let reason = format!("{value}: must be from {from} to {to}");
            self.0.push(Problem {
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
