//! Patterns of client ids, as people write them.

use bytestring::ByteString;

/// The longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 512;

/// A pattern has more than [`PATTERN_BYTES_MAX`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pattern of client ids has at most {PATTERN_BYTES_MAX} bytes")]
pub struct PatternTooLong;

/// `*` stands for any characters or none, `?` for one character, and all others for themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(ByteString);

impl Pattern {
    /// Takes the text of a pattern.
    ///
    /// # Errors
    /// [`PatternTooLong`].
    pub fn parse(text: ByteString) -> Result<Pattern, PatternTooLong> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternTooLong);
        }
        Ok(Pattern(text))
    }

    /// As it was written.
    pub fn text(&self) -> &ByteString {
        &self.0
    }

    /// How many steps a comparison with `text` may take, in units of a short one.
    pub(super) fn steps(&self, text: &str) -> u32 {
        let compared = text.len().saturating_mul(self.0.len().max(1));
        1 + u32::try_from(compared / 4_096).unwrap_or(u32::MAX - 1)
    }

    /// Whether all of `text` fits. Only the last `*` is ever tried again: at most as many steps as the lengths multiplied.
    pub fn matches(&self, text: &str) -> bool {
        let (mut wanted, mut rest) = (self.0.chars(), text.chars());
        // Behind the last `*`, and what it has not swallowed yet.
        let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
        loop {
            let before = (wanted.clone(), rest.clone());
            match (wanted.next(), rest.next()) {
                (Some('*'), _) => {
                    retry = Some((wanted.clone(), before.1.clone()));
                    rest = before.1;
                    continue;
                }
                (Some('?'), Some(_)) => continue,
                (Some(wanted), Some(found)) if wanted == found => continue,
                (None, None) => return true,
                _ => {}
            }
            let Some((behind, mut left)) = retry.take() else {
                return false;
            };
            if left.next().is_none() {
                return false;
            }
            (wanted, rest) = (behind.clone(), left.clone());
            retry = Some((behind, left));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text.to_owned().into()).unwrap()
    }

    /// The definition, as slow as it is plain.
    fn plainly(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', behind)), _) => {
                (0..=text.len()).any(|taken| plainly(behind, &text[taken..]))
            }
            (Some(('?', behind)), Some((_, rest))) => plainly(behind, rest),
            (Some((wanted, behind)), Some((found, rest))) => {
                wanted == found && plainly(behind, rest)
            }
            _ => false,
        }
    }

    // A list that leaves out what its filter names, or shows what it does not, misleads who disconnects by it.
    #[test]
    fn what_people_write_means_what_they_expect() {
        for (written, id, fits) in [
            ("*", "", true),
            ("sensor-*", "sensor-1", true),
            ("sensor-*", "Sensor-1", false),
            ("sensor-?", "sensor-12", false),
            ("*-1", "a-1-1", true),
            ("", "a", false),
            ("a", "a", true),
            ("ä?", "äö", true),
        ] {
            assert_eq!(pattern(written).matches(id), fits, "{written} {id}");
        }
        let long = "x".repeat(PATTERN_BYTES_MAX + 1);
        assert_eq!(Pattern::parse(long.into()), Err(PatternTooLong));
    }

    proptest! {
        #[test]
        fn a_pattern_matches_by_its_definition(written in "[ab*?]{0,8}", id in "[abc]{0,8}") {
            let (wanted, found): (Vec<_>, Vec<_>) = (written.chars().collect(), id.chars().collect());
            prop_assert_eq!(pattern(&written).matches(&id), plainly(&wanted, &found));
        }
    }
}
