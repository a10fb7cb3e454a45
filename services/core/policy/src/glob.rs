//! Patterns of client ids and of keys of the state store.

use crate::template::{Lacking, Part, Values, Variables};

/// A pattern, piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    /// Of the client; means itself, whatever is in it.
    Value(u16),
    /// `*`: any characters, or none.
    Any,
    /// `?`: one character.
    One,
    /// `[...]`: one of these characters, or with `!` or `^` in front one of the others.
    Class {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// A pattern of client ids: only `*` means more than itself. `None` if it is not valid: it matches nothing.
    pub fn parse_client_id(pattern: &str, variables: &mut Variables) -> Option<Glob> {
        Glob::parse(pattern, variables, |text, pieces| {
            for (index, literal) in text.split('*').enumerate() {
                if index > 0 {
                    pieces.push(Piece::Any);
                }
                push_literal(pieces, literal);
            }
            Some(())
        })
    }

    /// A pattern of keys: `*`, `?` and `[...]`. `None` if it is not valid: it matches nothing.
    pub fn parse_key(pattern: &str, variables: &mut Variables) -> Option<Glob> {
        Glob::parse(pattern, variables, |text, pieces| {
            let mut rest = text;
            while let Some(at) = rest.find(['*', '?', '[']) {
                push_literal(pieces, &rest[..at]);
                let special = &rest[at..];
                rest = &special[1..];
                pieces.push(match special.as_bytes()[0] {
                    b'*' => Piece::Any,
                    b'?' => Piece::One,
                    _ => {
                        let (class, behind) = parse_class(rest)?;
                        rest = behind;
                        class
                    }
                });
            }
            push_literal(pieces, rest);
            Some(())
        })
    }

    fn parse(
        pattern: &str,
        variables: &mut Variables,
        mut literal: impl FnMut(&str, &mut Vec<Piece>) -> Option<()>,
    ) -> Option<Glob> {
        let mut pieces = Vec::new();
        for part in variables.parse(pattern)? {
            match part {
                Part::Literal(text) => literal(&text, &mut pieces)?,
                Part::Value(place) => pieces.push(Piece::Value(place)),
            }
        }
        Some(Glob(pieces))
    }

    /// What it matches alone, if that is one text for all clients.
    pub fn literal(&self) -> Option<&[u8]> {
        match &self.0[..] {
            [] => Some(&[]),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether it matches everything.
    pub fn is_any(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|piece| *piece == Piece::Any)
    }

    /// Whether it matches `text`. Takes time in proportion to the product of both lengths at most.
    pub fn matches(&self, values: &Values, text: &[u8]) -> bool {
        let (mut piece, mut at) = (0, 0);
        // Behind the last `*`: where to go on if what follows does not match.
        let mut again = None;
        loop {
            let step = match self.0.get(piece) {
                None if at == text.len() => return true,
                None => None,
                Some(Piece::Any) => {
                    piece += 1;
                    again = Some((piece, at));
                    continue;
                }
                Some(one) => one.length(values, &text[at..]),
            };
            match (step, &mut again) {
                (Some(length), _) => {
                    piece += 1;
                    at += length;
                }
                (None, Some((behind, from))) if *from < text.len() => {
                    *from += first(&text[*from..]).map_or(1, |(_, length)| length);
                    (piece, at) = (*behind, *from);
                }
                _ => return false,
            }
        }
    }

    /// Why it matches nothing for this client.
    pub fn lacking(&self, values: &Values) -> Option<Lacking> {
        let lacking = |piece: &Piece| match piece {
            Piece::Value(place) => values.literal(*place).err(),
            _ => None,
        };
        self.0.iter().find_map(lacking)
    }
}

impl Piece {
    /// Bytes at the front of `text` that the piece, which is not `*`, takes.
    fn length(&self, values: &Values, text: &[u8]) -> Option<usize> {
        match self {
            Piece::Any => None,
            Piece::Literal(literal) => text.starts_with(literal).then_some(literal.len()),
            Piece::Value(place) => {
                let value = values.literal(*place).ok()?;
                text.starts_with(value.as_bytes()).then_some(value.len())
            }
            Piece::One => first(text).map(|(_, length)| length),
            Piece::Class { is_negated, ranges } => {
                let (character, length) = first(text)?;
                let is_in = character.is_some_and(|character| {
                    let within = |(from, to): &(char, char)| (*from..=*to).contains(&character);
                    ranges.iter().any(within)
                });
                (is_in != *is_negated).then_some(length)
            }
        }
    }
}

/// The first character and its length. Keys may be any bytes: one that begins no character counts by itself.
fn first(text: &[u8]) -> Option<(Option<char>, usize)> {
    let front = &text[..text.len().min(4)];
    let valid = match std::str::from_utf8(front) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(&front[..error.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(character) => Some((Some(character), character.len_utf8())),
        None if text.is_empty() => None,
        None => Some((None, 1)),
    }
}

fn push_literal(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Literal(text.as_bytes().to_vec()));
    }
}

/// The class that begins behind `[`, and what follows it. `]` may be a member in the first place.
fn parse_class(text: &str) -> Option<(Piece, &str)> {
    let negated = text.strip_prefix(['!', '^']);
    let is_negated = negated.is_some();
    let mut rest = negated.unwrap_or(text);
    let mut ranges = Vec::new();
    loop {
        let mut characters = rest.chars();
        let from = characters.next()?;
        if from == ']' && !ranges.is_empty() {
            return Some((Piece::Class { is_negated, ranges }, characters.as_str()));
        }
        let behind = characters.as_str();
        let to = behind.strip_prefix('-').and_then(|end| end.chars().next());
        match to.filter(|to| *to != ']') {
            Some(to) => {
                ranges.push((from, to));
                rest = &behind[1 + to.len_utf8()..];
            }
            None => {
                ranges.push((from, from));
                rest = behind;
            }
        }
    }
}
