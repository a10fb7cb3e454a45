//! A learner's snapshot comes in pieces, no faster than it reads them `[C-30]`.

use catena_chain::{
    Configuration, Epoch, Input, Options, Position, Stamp,
    message::{Alarm, Envelope, Message, SnapshotHeader},
    snapshot::{PIECES_AHEAD, Piece},
};

use crate::{Chain, HEAD, SHARD, TAIL, member};

/// One number in each.
const PIECE_BYTES: usize = 8;

/// Numbers in the state of the tail.
const NUMBERS: u64 = 20;

/// A tail with a state of many pieces, and the configuration in which the other is its learner.
fn about_to_join(options: Options) -> (Chain, Configuration) {
    let options = Options {
        snapshot_piece_bytes: PIECE_BYTES,
        ..options
    };
    let mut chain = Chain::with(options, &[false, false]);
    let founded = chain.founded();
    chain.tell(&founded);
    (1..=NUMBERS).for_each(|number| chain.command(number));
    let joined = chain.joined(founded);
    (chain, joined)
}

fn learned(chain: &Chain) -> Option<Vec<u64>> {
    let machine = chain.replicas[TAIL].machine()?;
    Some(machine.applied.clone())
}

fn numbers(through: u64) -> Option<Vec<u64>> {
    Some((1..=through).collect())
}

#[test]
fn a_state_of_many_pieces_arrives() {
    let (mut chain, joined) = about_to_join(Options::default());
    chain.tell(&joined);
    assert_eq!(learned(&chain), numbers(NUMBERS));
    let offsets = (0..NUMBERS as usize).map(|number| number * PIECE_BYTES);
    assert_eq!(chain.snapshots[TAIL].arrived, offsets.collect::<Vec<_>>());
    chain.command(NUMBERS + 1);
    assert_eq!(
        learned(&chain),
        numbers(NUMBERS + 1),
        "and goes on from there"
    );
}

#[test]
fn an_empty_state_is_a_piece_too() {
    let mut chain = Chain::new(&[false, false]);
    let founded = chain.founded();
    chain.tell(&founded);
    let joined = chain.joined(founded);
    chain.tell(&joined);
    assert_eq!(learned(&chain), Some(Vec::new()));
}

// All of it on its way at once would be all of it in memory, twice.
#[test]
fn what_is_not_read_holds_back_what_follows() {
    let (mut chain, joined) = about_to_join(Options::default());
    chain.snapshots[TAIL].holds_reads = true;
    chain.tell(&joined);
    assert_eq!(chain.snapshots[TAIL].arrived.len(), PIECES_AHEAD);
    let nonce = chain.replicas[TAIL].decoding().unwrap();
    let read = Input::Read {
        nonce,
        bytes: PIECE_BYTES,
    };
    chain.step(TAIL, read);
    assert_eq!(chain.snapshots[TAIL].arrived.len(), PIECES_AHEAD + 1);
    // A slow disk is no reason to begin anew; and neither side takes the other for dead meanwhile.
    for _ in 0..100 {
        chain.tick(100_000);
    }
    assert_eq!(chain.snapshots[TAIL].arrived.len(), PIECES_AHEAD + 1);
    assert_eq!(chain.reports, []);
}

// The rest of a snapshot that the learner has given up would be taken for a part of the next.
#[test]
fn a_learner_that_asks_again_gets_another_from_its_beginning() {
    let (mut chain, joined) = about_to_join(Options::default());
    chain.snapshots[TAIL].holds_reads = true;
    chain.tell(&joined);
    chain.command(NUMBERS + 1);
    let before = chain.replicas[TAIL].decoding();
    let later = Configuration {
        epoch: joined.epoch.next(),
        ..joined
    };
    chain.snapshots[TAIL].holds_reads = false;
    chain.tell(&later);
    let stale = Input::Read {
        nonce: before.unwrap(),
        bytes: PIECE_BYTES,
    };
    chain.step(TAIL, stale);
    assert_eq!(learned(&chain), numbers(NUMBERS + 1));
    let anew = &chain.snapshots[TAIL].arrived[PIECES_AHEAD..];
    assert_eq!((anew[0], anew.len()), (0, NUMBERS as usize + 1));
}

// A state of bytes that are not those that were sent would be served for ever.
#[test]
fn damage_on_the_way_is_found_and_another_is_asked_for() {
    let (mut chain, joined) = about_to_join(Options::default());
    chain.snapshots[TAIL].damages = Some(5 * PIECE_BYTES);
    chain.tell(&joined);
    assert_eq!(learned(&chain), None);
    let index = chain.replicas[HEAD].status().unwrap().end.index;
    assert_eq!(chain.alarms, [(TAIL, Alarm::BadSnapshot { index })]);
    assert_eq!(chain.replicas[TAIL].decoding(), None);
    chain.snapshots[TAIL].damages = None;
    chain.tick(2_000_000);
    assert_eq!(learned(&chain), numbers(NUMBERS));
}

// While a snapshot is on its way the tail keeps what follows it. What it has no room for would be missing after it.
#[test]
fn a_tail_that_cannot_keep_what_follows_says_so_and_begins_anew() {
    let few = Options {
        learner_bytes_max: 2_000,
        ..Options::default()
    };
    let (mut chain, joined) = about_to_join(few);
    chain.snapshots[TAIL].holds_reads = true;
    chain.tell(&joined);
    let more = NUMBERS + 200;
    (NUMBERS + 1..more).for_each(|number| chain.command(number));
    let begun = chain.snapshots[TAIL].arrived.iter().filter(|at| **at == 0);
    assert!(begun.count() > 1, "the learner heard of it");
    for read in chain.snapshots[TAIL].release() {
        chain.step(TAIL, read);
    }
    assert_eq!(learned(&chain), numbers(more - 1));
}

// Memory has no room for what a tail sends beyond what was agreed, whatever the reason.
#[test]
fn more_than_was_agreed_is_not_taken() {
    let (mut chain, joined) = about_to_join(Options::default());
    chain.cut = Some(TAIL);
    chain.tell(&joined);
    let nonce = 1;
    let part = |bytes: usize| {
        Input::Message(Envelope {
            shard: SHARD,
            epoch: Epoch(2),
            generation: joined.generation,
            from: member(HEAD),
            to: member(TAIL).id,
            message: Message::SnapshotPart {
                nonce,
                header: SnapshotHeader {
                    end: Position::default(),
                    at: Stamp(0),
                },
                piece: Piece {
                    offset: 0,
                    bytes: vec![0; bytes],
                    checksum: 0,
                    is_last: false,
                },
            },
        })
    };
    chain.step(TAIL, part((PIECES_AHEAD + 1) * PIECE_BYTES + 1));
    assert_eq!(chain.snapshots[TAIL].arrived, []);
    chain.step(TAIL, part((PIECES_AHEAD + 1) * PIECE_BYTES));
    assert_eq!(chain.snapshots[TAIL].arrived, [0]);
}
