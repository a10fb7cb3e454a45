//! A link over connections that break at random: everything arrives once and in order.

use std::{collections::VecDeque, sync::Arc};

use catena_link::{Admission, Batch, Class, Full, Gap, Inbound, Outbox, Receiver, Sender, Window};
use proptest::prelude::*;

const WINDOW: Window = Window {
    publishes: 4,
    publish_bytes: 100,
};

/// An op of the test: what it is, whether its window is the publishes', and whether a resend made it a no-op.
#[derive(Debug, Clone, PartialEq)]
struct Op {
    name: u64,
    bytes: Option<u32>,
    is_noop: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Publish(u32),
    Control,
    /// Sends what has gathered.
    Flush,
    /// The shard takes one batch off the connection.
    Arrive,
    /// The shard sends effects after what it sent last, at most so many.
    Emit(usize),
    /// The origin takes one batch of effects off the connection.
    Take,
    /// The origin acknowledges by a message of its own.
    Acknowledge,
    Break,
    /// The shard fails over to a copy of it.
    Restore,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u32..80).prop_map(Step::Publish),
        3 => Just(Step::Control),
        4 => Just(Step::Flush),
        5 => Just(Step::Arrive),
        5 => (1usize..5).prop_map(Step::Emit),
        5 => Just(Step::Take),
        2 => Just(Step::Acknowledge),
        2 => Just(Step::Break),
        1 => Just(Step::Restore),
    ];
    proptest::collection::vec(step, 0..200)
}

/// What goes down: the number of the first effect, the effects, how far ops are committed.
type Down = (u64, Vec<u64>, u64);

struct Link {
    sender: Sender<Op>,
    receiver: Receiver,
    inbound: Inbound,
    outbox: Outbox<u64>,
    /// The connection, both ways; up with `acked_through`.
    up: VecDeque<(u64, Arc<Batch<Op>>)>,
    down: VecDeque<Down>,
    /// The last effect that went down this connection.
    emitted: u64,
    /// Ops that the sender took.
    asked: Vec<Op>,
    applied: Vec<Op>,
    /// Effects that the shard made, and that the origin took.
    made: u64,
    taken: Vec<u64>,
}

impl Link {
    fn new() -> Link {
        Link {
            sender: Sender::new(WINDOW),
            receiver: Receiver::default(),
            inbound: Inbound::default(),
            outbox: Outbox::default(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            emitted: 0,
            asked: vec![],
            applied: vec![],
            made: 0,
            taken: vec![],
        }
    }

    fn push(&mut self, bytes: Option<u32>) {
        let committed = self.sender.committed_through() as usize;
        let open = self.asked[committed..].iter().filter_map(|op| op.bytes);
        let (count, sum) = open.fold((0, 0), |(count, sum), bytes| {
            (count + 1, sum + bytes as usize)
        });
        let op = Op {
            name: self.asked.len() as u64 + 1,
            bytes,
            is_noop: false,
        };
        let class = bytes.map_or(Class::Control, Class::Publish);
        match self.sender.push(class, op.clone()) {
            Ok(number) => {
                assert_eq!(number, op.name);
                self.asked.push(op);
            }
            Err(Full) => {
                let bytes = bytes.expect("only publishes are refused") as usize;
                assert!(count > 0, "one always fits");
                // A batch is forgotten as a whole, so that the window may count a little more than is open.
                let held = self.sender.uncommitted() as usize;
                assert!(
                    count >= WINDOW.publishes || sum + bytes > WINDOW.publish_bytes || held > 0
                );
                return;
            }
        }
        if let Some(bytes) = bytes {
            let fits = count < WINDOW.publishes && sum + bytes as usize <= WINDOW.publish_bytes;
            assert!(
                count == 0 || fits,
                "beyond the window: {count} of {sum} bytes"
            );
        }
    }

    fn apply(&mut self, acked_through: u64, batch: &Batch<Op>) {
        self.outbox.acknowledge(acked_through);
        for (number, op) in (batch.first..).zip(&batch.ops) {
            match self.inbound.admit(number) {
                Admission::Apply => {
                    self.applied.push(op.clone());
                    // Some ops have no effect, some several.
                    for _ in 0..number % 3 {
                        self.made += 1;
                        assert_eq!(self.outbox.push(10, self.made), self.made);
                    }
                }
                Admission::Duplicate => {}
                Admission::Gap => panic!("{number} after {}", self.inbound.applied_through()),
            }
        }
    }

    fn emit(&mut self, most: usize) {
        let (first, effects) = self.outbox.after(self.emitted);
        let effects: Vec<u64> = effects.take(most).copied().collect();
        self.emitted = first + effects.len() as u64 - 1;
        self.down
            .push_back((first, effects, self.inbound.applied_through()));
    }

    fn take(&mut self) {
        let Some((first, effects, committed)) = self.down.pop_front() else {
            return;
        };
        let skip = self.receiver.take(first, effects.len()).expect("no gap");
        self.taken.extend(&effects[skip..]);
        self.sender.committed(committed);
    }

    /// The connection breaks; a new one begins with Open and Opened.
    fn reconnect(&mut self) {
        self.up.clear();
        self.down.clear();
        self.emitted = self.receiver.have_through();
        let applied = self.inbound.applied_through();
        assert!(self.sender.first_uncommitted() <= applied + 1);
        let rewrite = |op: &Op| Op {
            is_noop: op.bytes.is_some_and(|bytes| bytes % 2 == 0),
            ..op.clone()
        };
        let through = self.receiver.have_through();
        for batch in self.sender.resend(applied, rewrite) {
            self.up.push_back((through, batch));
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Publish(bytes) => self.push(Some(*bytes)),
            Step::Control => self.push(None),
            Step::Flush => {
                if let Some(batch) = self.sender.batch() {
                    self.up.push_back((self.receiver.have_through(), batch));
                }
            }
            Step::Arrive => {
                if let Some((acked_through, batch)) = self.up.pop_front() {
                    self.apply(acked_through, &batch);
                }
            }
            Step::Emit(most) => self.emit(*most),
            Step::Take => self.take(),
            Step::Acknowledge => {
                self.outbox.acknowledge(self.receiver.have_through());
            }
            Step::Break => self.reconnect(),
            Step::Restore => {
                (self.inbound, self.outbox) = (self.inbound.clone(), self.outbox.clone());
                self.reconnect();
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.outbox.bytes(), 10 * self.outbox.len() as u64);
        assert_eq!(self.outbox.last(), self.made);
        assert!(
            self.outbox.first() <= self.receiver.have_through() + 1,
            "forgotten before it was taken"
        );
        assert_eq!(
            self.taken,
            (1..=self.taken.len() as u64).collect::<Vec<_>>()
        );
        let names = self.applied.iter().map(|op| op.name);
        assert!(
            names.eq(1..=self.applied.len() as u64),
            "each once and in order"
        );
    }
}

proptest! {
    /// A break would lose an op or do it twice, or the same for an effect [C-40] [C-41]; or a window would not hold
    /// [F-61].
    #[test]
    fn everything_arrives_once_and_in_order(steps in steps()) {
        let mut link = Link::new();
        for step in &steps {
            link.step(step);
            link.check();
        }
        // The last connection holds.
        link.reconnect();
        for step in [Step::Flush, Step::Acknowledge] {
            link.step(&step);
        }
        while !link.up.is_empty() {
            link.step(&Step::Arrive);
        }
        link.step(&Step::Emit(usize::MAX));
        link.step(&Step::Take);
        link.step(&Step::Acknowledge);
        link.check();
        prop_assert_eq!(link.applied.len(), link.asked.len());
        prop_assert_eq!(link.taken.len() as u64, link.made);
        prop_assert!(link.outbox.is_empty());
        prop_assert_eq!(link.sender.uncommitted(), 0);
        prop_assert!(link.sender.has_room(WINDOW.publish_bytes), "the whole window is free again");
        for op in link.applied.iter().filter(|op| op.bytes.is_none()) {
            prop_assert!(!op.is_noop, "only publishes were rewritten");
        }
    }
}

/// Acknowledgements that free memory would wait behind the publishes that fill it [F-61].
#[test]
fn control_ops_are_taken_when_the_window_is_full() {
    let mut sender = Sender::new(WINDOW);
    for n in 1..=4 {
        assert_eq!(sender.push(Class::Publish(10), ()), Ok(n));
    }
    assert_eq!(sender.push(Class::Publish(1), ()), Err(Full));
    for n in 5..=1_000 {
        assert_eq!(sender.push(Class::Control, ()), Ok(n));
    }
    sender.batch();
    assert!(sender.committed(1_000));
    assert_eq!(
        sender.push(Class::Publish(1_000), ()),
        Ok(1_001),
        "one of any size fits"
    );
    assert_eq!(sender.push(Class::Publish(1), ()), Err(Full));
}

/// A gap would be taken for what came, or a repeated batch for a new one [C-41].
#[test]
fn a_receiver_takes_each_number_once() {
    let mut receiver = Receiver::default();
    assert_eq!(receiver.take(1, 3), Ok(0));
    assert_eq!(receiver.take(2, 4), Ok(2), "two of them were taken");
    assert_eq!(receiver.take(1, 2), Ok(2), "all of them");
    assert_eq!(receiver.take(6, 0), Ok(0), "nothing, in its place");
    let gap = Gap {
        have_through: 5,
        first: 7,
    };
    assert_eq!(receiver.take(7, 1), Err(gap));
    assert_eq!(receiver.have_through(), 5);
}

/// An acknowledgement of what was never sent would make the next effects vanish [C-42].
#[test]
fn an_outbox_forgets_only_what_it_gave_out() {
    let mut outbox = Outbox::default();
    outbox.push(7, 'a');
    assert_eq!(outbox.acknowledge(9), 7);
    assert_eq!(outbox.acknowledge(9), 0);
    assert_eq!(outbox.push(1, 'b'), 2);
    let (first, effects) = outbox.after(1);
    assert_eq!(
        (first, effects.copied().collect::<String>()),
        (2, "b".to_owned())
    );
    assert_eq!(outbox.after(2).0, 3, "the number that the next will have");
}

/// Numbers that a new generation never saw would be a gap for ever [C-2].
#[test]
fn a_link_may_begin_late() {
    let mut inbound = Inbound::starting_at(51);
    assert_eq!(inbound.applied_through(), 50);
    assert_eq!(inbound.admit(52), Admission::Gap);
    assert_eq!(inbound.admit(50), Admission::Duplicate);
    assert_eq!(inbound.admit(51), Admission::Apply);
}
