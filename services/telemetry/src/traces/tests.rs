//! Spans on their way from whoever made them to whoever sends them.

use std::time::Duration;

use super::{pieces::PIECE_BYTES, *};

const GATHER: Duration = Duration::from_millis(500);

fn span(span: u64) -> Span {
    Span {
        place: Place {
            trace: 1,
            span,
            parent: 0,
        },
        name: "x",
        kind: Kind::Internal,
        start: 0,
        end: 0,
        error: None,
    }
}

pub fn spans(room: usize) -> Spans {
    let spans = Spans::default();
    spans.set_room(room);
    spans
}

pub fn add(spans: &Spans, numbers: impl IntoIterator<Item = u64>) {
    let none = Attributes::default();
    for number in numbers {
        spans.add(&span(number), &none);
    }
}

/// So many spans that there is one piece that is full, and one span behind it.
pub fn fill(spans: &Spans) -> u64 {
    let none = Attributes::default();
    let in_one = (PIECE_BYTES / span(1).len(&none)) as u64;
    add(spans, 1..=in_one + 1);
    in_one
}

fn numbers(pieces: &[Piece]) -> Vec<u64> {
    let places = pieces.iter().flat_map(Piece::places);
    places.map(|place| place.span).collect()
}

fn made(spans: &Spans) -> u64 {
    spans.inner.made.load(Relaxed)
}

// A collector that is away would fill our memory.
#[test]
fn spans_beyond_the_room_are_counted_and_gone() {
    let spans = spans(0);
    add(&spans, [1]);
    assert!(!spans.are_wanted() && spans.take().is_empty());
    spans.set_room(2);
    add(&spans, 1..=5);
    assert!(!spans.have_room());
    let taken = spans.take();
    assert_eq!(numbers(&taken), [1, 2]);
    assert_eq!((made(&spans), spans.dropped()), (2, 3 + 1));
    assert!(spans.have_room());
    add(&spans, [6]);
    assert_eq!(numbers(&spans.take()), [6]);
}

// Spans in pieces that wait would not count, and there would be no bound; or order would be lost between them.
#[test]
fn pieces_fill_one_after_the_other_and_all_of_them_count() {
    let spans = spans(10_000);
    let in_one = fill(&spans);
    add(&spans, in_one + 2..=10_000);
    add(&spans, [0, 0, 0]);
    assert_eq!(spans.dropped(), 3);
    let taken = spans.take();
    assert_eq!(numbers(&taken), (1..=10_000).collect::<Vec<u64>>());
    assert_eq!(taken.len() as u64, 10_000_u64.div_ceil(in_one));
    let is_full = |piece: &Piece| piece.unsent() as u64 == in_one;
    assert!(taken[..taken.len() - 1].iter().all(is_full));
    assert!(taken.iter().all(|piece| piece.bytes().len() <= PIECE_BYTES));
}

// Each span, or each piece, would be new memory, which costs more than what is written into it.
#[test]
fn memory_comes_back_when_a_piece_was_sent() {
    let spans = spans(10);
    add(&spans, [1]);
    let taken = spans.take();
    let memory = taken[0].bytes().as_ptr();
    taken[0].sent();
    drop(taken);
    assert_eq!(spans.dropped(), 0);
    add(&spans, [2]);
    let again = spans.take();
    assert_eq!(again[0].bytes().as_ptr(), memory);
    assert_eq!(numbers(&again), [2], "what was sent is not sent again");
}

// An operator looks for a trace that nobody says is lost.
#[test]
fn what_was_not_sent_is_counted_when_it_is_given_up() {
    let spans = spans(10);
    add(&spans, [1, 2]);
    let kept = spans.take();
    assert_eq!(spans.dropped(), 0, "it may be tried again");
    drop(kept);
    assert_eq!(spans.dropped(), 2);
}

// While a collector is away, a few spans each time would be a piece each.
#[test]
fn pieces_that_wait_are_put_together_while_they_have_room() {
    let spans = spans(10_000);
    add(&spans, [1]);
    let mut first = spans.take().remove(0);
    add(&spans, [2, 3]);
    let second = spans.take().remove(0);
    assert!(first.append(&second));
    assert_eq!((first.unsent(), second.unsent()), (3, 0));
    fill(&spans);
    let full = spans.take().remove(0);
    assert!(!first.append(&full) && full.unsent() > 0);
    assert_eq!(numbers(&[first]), [1, 2, 3]);
}

// Spans would wait for others that never come; or each be sent alone.
#[tokio::test(start_paused = true)]
async fn a_few_spans_gather_for_a_time() {
    let spans = spans(10);
    add(&spans, [1]);
    let begun = tokio::time::Instant::now();
    let maker = async {
        tokio::time::sleep(GATHER / 2).await;
        add(&spans, [2]);
    };
    let (taken, ()) = tokio::join!(spans.next(GATHER), maker);
    assert_eq!(numbers(&taken), [1, 2]);
    assert_eq!(begun.elapsed(), GATHER);
}

// Room for all that comes within the time would be needed, and none of it would still be in the processor's cache.
#[tokio::test(start_paused = true)]
async fn a_full_piece_is_taken_at_once_and_the_rest_later() {
    let spans = spans(10_000);
    let begun = tokio::time::Instant::now();
    let maker = async {
        tokio::time::sleep(GATHER / 2).await;
        fill(&spans)
    };
    let (taken, in_one) = tokio::join!(spans.next(GATHER), maker);
    assert_eq!(begun.elapsed(), GATHER / 2);
    assert_eq!(numbers(&taken), (1..=in_one).collect::<Vec<u64>>());
    assert_eq!(numbers(&spans.next(GATHER).await), [in_one + 1]);
}
