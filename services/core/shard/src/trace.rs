//! The context of a trace, as it travels with a message: behind its properties, where no client sees it.
//!
//! A message that is traced carries a suffix of [`SUFFIX`] bytes behind its encoded properties; one that is not carries
//! nothing, and is told apart by looking at one place. The first byte of the suffix is the identifier of no property, so that
//! whoever reads properties ends there. It comes and goes in the gateway: subscribers get the properties as the publisher
//! sent them `[F-44]` `[MQTT-3.3.2-17]`. A publisher cannot forge it: what he sends that ends alike gets a suffix of its own.

use bytes::{BufMut, Bytes, BytesMut};

use crate::message::Message;

/// What the suffix begins with.
const MARK: [u8; 8] = [0, b'c', b't', b'r', b'a', b'c', b'e', 1];

/// Bytes of the suffix: the mark, the trace, the span, a flag.
pub const SUFFIX: usize = MARK.len() + 16 + 8 + 1;

/// Who is traced, and by which span of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Of W3C Trace Context; never 0.
    pub trace: u128,
    /// The span that others are below; never 0.
    pub span: u64,
}

/// What stands behind the properties of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub context: Context,
    /// Spans are made of it.
    pub is_sampled: bool,
}

/// The flag of a context of which spans are made.
const SAMPLED: u8 = 1;
/// The flag of one that only names the message, for its passport.
const NAMED: u8 = 2;

/// The properties of a message with `context` behind them; `None` where they only look as if they were traced.
pub fn mark(properties: &Bytes, context: Option<Context>) -> Bytes {
    let flag = if context.is_some() { SAMPLED } else { 0 };
    put(properties, context, flag)
}

/// The same for a message of which no spans are made, and whose passport is wanted.
pub fn name(properties: &Bytes, context: Context) -> Bytes {
    put(properties, Some(context), NAMED)
}

fn put(properties: &Bytes, context: Option<Context>, flag: u8) -> Bytes {
    let mut marked = BytesMut::with_capacity(properties.len() + SUFFIX);
    marked.put_slice(properties);
    marked.put_slice(&MARK);
    let given = context.unwrap_or(Context { trace: 0, span: 0 });
    marked.put_u128(given.trace);
    marked.put_u64(given.span);
    marked.put_u8(flag);
    marked.freeze()
}

/// Whether the properties end with a suffix, whoever made it.
#[inline]
pub fn is_marked(properties: &[u8]) -> bool {
    let from = properties.len().wrapping_sub(SUFFIX);
    properties
        .get(from..)
        .is_some_and(|suffix| suffix.starts_with(&MARK))
}

/// The properties as the publisher sent them.
#[inline]
pub fn without(properties: &[u8]) -> &[u8] {
    match is_marked(properties) {
        true => &properties[..properties.len() - SUFFIX],
        false => properties,
    }
}

/// What stands behind properties.
#[inline]
pub fn read(properties: &[u8]) -> Option<Mark> {
    if !is_marked(properties) {
        return None;
    }
    let suffix = &properties[properties.len() - SUFFIX + MARK.len()..];
    let (trace, rest) = suffix.split_first_chunk::<16>()?;
    let (span, flag) = rest.split_first_chunk::<8>()?;
    let context = Context {
        trace: u128::from_be_bytes(*trace),
        span: u64::from_be_bytes(*span),
    };
    match flag {
        [SAMPLED] => Some(Mark {
            context,
            is_sampled: true,
        }),
        [NAMED] => Some(Mark {
            context,
            is_sampled: false,
        }),
        _ => None,
    }
}

/// The context behind properties, where spans are made of it.
#[inline]
pub fn of(properties: &[u8]) -> Option<Context> {
    let mark = read(properties)?;
    mark.is_sampled.then_some(mark.context)
}

impl Message {
    /// The trace that the message is of.
    #[inline]
    pub fn trace(&self) -> Option<Context> {
        of(&self.properties)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // A subscriber would get bytes that are no property, or lose some that are.
        #[test]
        fn what_is_marked_is_unmarked(
            properties in prop::collection::vec(any::<u8>(), 0..80),
            ends_alike in any::<bool>(),
            traced in any::<Option<(u128, u64)>>(),
        ) {
            let context = traced.map(|(trace, span)| Context { trace, span });
            let mut properties = Bytes::from(properties);
            if ends_alike {
                properties = mark(&properties, Some(Context { trace: 1, span: 2 }));
            }
            let marked = mark(&properties, context);
            prop_assert_eq!(without(&marked), &properties[..]);
            prop_assert_eq!(of(&marked), context);
        }

        #[test]
        fn what_is_short_or_of_clients_has_no_context(properties in prop::collection::vec(1_u8.., 0..80)) {
            prop_assert_eq!(of(&properties), None);
            prop_assert_eq!(without(&properties), &properties[..]);
        }
    }
}
