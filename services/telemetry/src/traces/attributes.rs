//! What is said of a step, kept in the form in which it is sent.
//!
//! A broker that traces one message of a hundred makes tens of thousands of spans a second. A text and a list for each
//! word, made here and given back on another thread, cost more than all else about them: so words are written once, where the
//! span is made, into one piece of memory, which whoever makes spans uses again.

use prost::encoding::{WireType, encoded_len_varint};

use super::wire::{field_len, key as field, put, put_head, put_varint};

/// Letters of a text in a span.
const TEXT_MAX: usize = 256;

// Numbers of fields, of OTLP's `trace/v1/trace.proto` and `common/v1/common.proto`.
const SPAN_ATTRIBUTES: u8 = 9;
const KEY: u8 = 1;
const VALUE: u8 = 2;
const STRING_VALUE: u8 = 1;
const INT_VALUE: u8 = 3;

/// Keys and values of a span, as the `attributes` of OTLP's `Span`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// Forgets what was said, and keeps the memory.
    pub fn clear(&mut self) -> &mut Attributes {
        self.0.clear();
        self
    }

    /// Says a text; of a long one only what it begins with.
    pub fn text(&mut self, key: &'static str, text: &str) -> &mut Attributes {
        // Most are short, and are not looked at letter by letter.
        let end = match text.len() <= TEXT_MAX {
            true => text.len(),
            false => text
                .char_indices()
                .nth(TEXT_MAX)
                .map_or(text.len(), |(at, _)| at),
        };
        let text = &text.as_bytes()[..end];
        self.begin(key, field_len(text.len()));
        put(STRING_VALUE, text, &mut self.0);
        self
    }

    /// Says a number; one beyond what OTLP can say is the largest that it can.
    pub fn number(&mut self, key: &'static str, number: u64) -> &mut Attributes {
        let number = number.min(i64::MAX as u64);
        self.begin(key, 1 + encoded_len_varint(number));
        self.0.push(field(INT_VALUE, WireType::Varint));
        put_varint(number, &mut self.0);
        self
    }

    /// What was said, encoded.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.0
    }

    /// A pair up to its value, which is to have `value` bytes.
    fn begin(&mut self, key: &'static str, value: usize) {
        let pair = field_len(key.len()) + field_len(value);
        self.0.reserve(field_len(pair));
        put_head(SPAN_ATTRIBUTES, pair, &mut self.0);
        put(KEY, key.as_bytes(), &mut self.0);
        put_head(VALUE, value, &mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{common::v1::any_value::Value, trace::v1::Span};
    use prost::Message;

    use super::*;

    // A collector would refuse all spans of a request for one that it cannot read.
    #[test]
    fn what_was_said_is_what_a_collector_reads() {
        let long = "é".repeat(TEXT_MAX + 1);
        let mut said = Attributes::default();
        said.text("a", "").text("b", "word").text("c", &long);
        said.number("d", 0).number("e", 300).number("f", u64::MAX);
        let span = Span::decode(said.encoded()).unwrap();
        let of = |text: &str| Some(Value::StringValue(text.to_owned()));
        let read: Vec<_> = span
            .attributes
            .into_iter()
            .map(|pair| (pair.key, pair.value.unwrap().value))
            .collect();
        let said = [
            ("a", of("")),
            ("b", of("word")),
            ("c", of(&"é".repeat(TEXT_MAX))),
            ("d", Some(Value::IntValue(0))),
            ("e", Some(Value::IntValue(300))),
            ("f", Some(Value::IntValue(i64::MAX))),
        ];
        assert_eq!(read, said.map(|(key, value)| (key.to_owned(), value)));
    }
}
