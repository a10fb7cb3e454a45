//! What is wrong with resources.

use std::fmt;

/// Most problems that are told of one text. Nobody reads more, and each costs memory.
pub const PROBLEMS_MAX: usize = 200;

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

/// Gathers the problems of one resource.
#[derive(Debug)]
pub(crate) struct Problems {
    resource: String,
    found: Vec<Problem>,
    /// Fields that were not what they should be, and that something else stands in for.
    replaced: Vec<String>,
}

impl Problems {
    /// None yet.
    pub fn new(resource: impl Into<String>) -> Problems {
        Problems {
            resource: resource.into(),
            found: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// Notes that a field is not what it should be, so that nothing more can be said of what is in it.
    pub fn misfit(&mut self, path: &str, reason: impl Into<String>) {
        if !self.is_full() {
            self.replaced.push(path.to_owned());
            self.push(path, reason.into());
        }
    }

    /// Notes a rule that a field breaks. Nothing is said of what stands in for a misfit.
    pub fn rule(&mut self, path: &str, reason: impl Into<String>) {
        if !self.is_full() && !self.is_replaced(path) {
            self.push(path, reason.into());
        }
    }

    /// Notes what a check of a field says.
    pub fn check(&mut self, path: &str, checked: Result<(), String>) {
        if let Err(reason) = checked {
            self.rule(path, reason);
        }
    }

    /// Whether something stands in for the field, or for what it is in.
    pub fn is_replaced(&self, path: &str) -> bool {
        self.replaced.iter().any(|replaced| {
            let below = path.strip_prefix(replaced.as_str());
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Whether so many were found that no more are noted.
    pub fn is_full(&self) -> bool {
        self.found.len() >= PROBLEMS_MAX
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All that was found.
    pub fn end(self) -> Vec<Problem> {
        self.found
    }

    fn push(&mut self, path: &str, reason: String) {
        self.found.push(Problem {
            resource: self.resource.clone(),
            path: path.to_owned(),
            reason,
        });
    }
}

impl Invalid {
    /// The verdict on what was found.
    ///
    /// # Errors
    /// What was found, if it is anything.
    pub(crate) fn unless_none(found: Vec<Problem>) -> Result<(), Invalid> {
        if found.is_empty() {
            Ok(())
        } else {
            Err(Invalid(found))
        }
    }
}
