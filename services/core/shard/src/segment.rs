//! A part of a long queue as bytes: in memory as long as nobody has put it elsewhere.
//!
//! The state knows that the part exists, what it weighs and what it holds; where its bytes are is each replica's own affair and
//! shows in no effect. Whoever hosts the shard asks for those that came about ([`crate::Shard::take_segments`]), writes them
//! where there is room, and says so by [`Segment::put_away`]. Nobody does that in a simulation, and nothing changes.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::{Buf, Bytes};
use bytestring::ByteString;
use catena_mqtt::QoS;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    id::{ClientKey, Time},
    message::Message,
};

/// Bytes that were put elsewhere. Dropping it gives them up.
pub trait Away: fmt::Debug + Send + Sync {
    /// The bytes. It may wait for a disk, and does not come back without them: a replica that has lost a part of its state must
    /// not go on `[C-1]`.
    fn read(&self) -> Bytes;

    /// They will be read soon: whoever can has them ready by then.
    fn fetch(&self);
}

/// Encoded messages of one queue, in order.
pub struct Segment {
    len: AtomicUsize,
    place: Mutex<Place>,
}

#[derive(Debug)]
enum Place {
    Here(Bytes),
    Away(Box<dyn Away>),
}

impl Segment {
    /// A segment in memory.
    pub fn new(bytes: Bytes) -> Segment {
        Segment {
            len: bytes.len().into(),
            place: Mutex::new(Place::Here(bytes)),
        }
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that it had when it was written, for one that was read without.
    pub(crate) fn fill(&self, bytes: Bytes) {
        self.len.store(bytes.len(), Relaxed);
        *self.place() = Place::Here(bytes);
    }

    /// The bytes, if they are in memory.
    pub fn here(&self) -> Option<Bytes> {
        match &*self.place() {
            Place::Here(bytes) => Some(bytes.clone()),
            Place::Away(_) => None,
        }
    }

    /// The bytes are kept by `away` from here on.
    pub fn put_away(&self, away: Box<dyn Away>) {
        *self.place() = Place::Away(away);
    }

    /// The bytes, wherever they are.
    pub fn read(&self) -> Bytes {
        match &*self.place() {
            Place::Here(bytes) => bytes.clone(),
            Place::Away(away) => away.read(),
        }
    }

    /// The bytes will be wanted soon.
    pub fn fetch(&self) {
        if let Place::Away(away) = &*self.place() {
            away.fetch();
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({} bytes)", self.len())
    }
}

impl PartialEq for Segment {
    fn eq(&self, other: &Segment) -> bool {
        self.len() == other.len() && self.read() == other.read()
    }
}

impl Eq for Segment {}

/// A snapshot holds the bytes, wherever they are.
impl Serialize for Segment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.read().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Segment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Segment, D::Error> {
        Bytes::deserialize(deserializer).map(Segment::new)
    }
}

/// One message of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub sequence: u64,
    pub qos: QoS,
    pub retain: bool,
    pub subscription_ids: Vec<u32>,
    /// `None`: it stayed in memory, where others keep it too.
    pub body: Option<Body>,
}

/// A message that no longer is in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body {
    pub message: Message,
    pub expires_at: Time,
}

const RETAIN: u8 = 1 << 2;
const IDS: u8 = 1 << 3;
const BODY: u8 = 1 << 4;
const BODY_RETAIN: u8 = 1 << 7;
const BODY_QOS_SHIFT: u32 = 5;

/// Adds an entry; `body` is what [`Entry::body`] will be.
pub(crate) fn put(
    out: &mut Vec<u8>,
    (sequence, qos, retain): (u64, QoS, bool),
    subscription_ids: &[u32],
    body: Option<(&Message, Time)>,
) {
    let mut flags = qos as u8;
    flags |= if retain { RETAIN } else { 0 };
    flags |= if subscription_ids.is_empty() { 0 } else { IDS };
    if let Some((message, _)) = body {
        flags |= BODY | (message.qos as u8) << BODY_QOS_SHIFT;
        flags |= if message.retain { BODY_RETAIN } else { 0 };
    }
    out.push(flags);
    out.extend_from_slice(&sequence.to_be_bytes());
    if !subscription_ids.is_empty() {
        out.extend_from_slice(&(subscription_ids.len() as u32).to_be_bytes());
        for id in subscription_ids {
            out.extend_from_slice(&id.to_be_bytes());
        }
    }
    let Some((message, expires_at)) = body else {
        return;
    };
    out.extend_from_slice(&expires_at.0.to_be_bytes());
    out.extend_from_slice(&message.publisher.0.to_be_bytes());
    out.extend_from_slice(&message.counter.to_be_bytes());
    let expiry = message.expiry.map_or(u64::MAX, u64::from);
    out.extend_from_slice(&expiry.to_be_bytes());
    let parts = [
        message.topic.as_bytes(),
        &message.payload,
        &message.properties,
    ];
    for part in parts {
        out.extend_from_slice(&(part.len() as u32).to_be_bytes());
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Takes the next entry, whose texts and payload are slices of `bytes`; `None` at the end, and at what is none.
pub(crate) fn take(bytes: &mut Bytes) -> Option<Entry> {
    let flags = bytes.try_get_u8().ok()?;
    let sequence = bytes.try_get_u64().ok()?;
    let mut subscription_ids = Vec::new();
    if flags & IDS != 0 {
        for _ in 0..bytes.try_get_u32().ok()? {
            subscription_ids.push(bytes.try_get_u32().ok()?);
        }
    }
    let body = if flags & BODY == 0 {
        None
    } else {
        let expires_at = Time(bytes.try_get_u64().ok()?);
        let publisher = ClientKey(bytes.try_get_u128().ok()?);
        let counter = bytes.try_get_u32().ok()?;
        let expiry = u32::try_from(bytes.try_get_u64().ok()?).ok();
        let mut lengths = [0; 3];
        for length in &mut lengths {
            *length = bytes.try_get_u32().ok()? as usize;
        }
        if bytes.len() < lengths.iter().sum() {
            return None;
        }
        let [topic, payload, properties] = lengths.map(|length| bytes.split_to(length));
        let message = Message {
            topic: ByteString::try_from(topic).ok()?,
            payload,
            properties,
            qos: qos(flags >> BODY_QOS_SHIFT)?,
            retain: flags & BODY_RETAIN != 0,
            expiry,
            publisher,
            counter,
        };
        Some(Body {
            message,
            expires_at,
        })
    };
    Some(Entry {
        sequence,
        qos: qos(flags)?,
        retain: flags & RETAIN != 0,
        subscription_ids,
        body,
    })
}

fn qos(bits: u8) -> Option<QoS> {
    match bits & 3 {
        0 => Some(QoS::AtMostOnce),
        1 => Some(QoS::AtLeastOnce),
        2 => Some(QoS::ExactlyOnce),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_qos() -> impl Strategy<Value = QoS> {
        (0u8..3).prop_map(|bits| qos(bits).unwrap())
    }

    prop_compose! {
        fn entry()(
            sequence: u64, qos in any_qos(), retain: bool,
            subscription_ids in proptest::collection::vec(any::<u32>(), 0..3),
            body in proptest::option::of((
                (".{0,9}", any::<Vec<u8>>(), any::<Vec<u8>>(), any_qos(), any::<bool>()),
                (any::<Option<u32>>(), any::<u128>(), any::<u32>(), any::<u64>()),
            )),
        ) -> Entry {
            let body = body.map(|((topic, payload, properties, qos, retain), (expiry, publisher, counter, at))| Body {
                message: Message {
                    topic: topic.into(), payload: payload.into(), properties: properties.into(), qos, retain, expiry,
                    publisher: ClientKey(publisher), counter,
                },
                expires_at: Time(at),
            });
            Entry { sequence, qos, retain, subscription_ids, body }
        }
    }

    proptest! {
        // What comes back from a disk would be another message than the one that was acknowledged.
        #[test]
        fn entries_come_back_as_they_were(entries in proptest::collection::vec(entry(), 0..5), cut in any::<prop::sample::Index>()) {
            let mut out = Vec::new();
            for entry in &entries {
                let body = entry.body.as_ref().map(|body| (&body.message, body.expires_at));
                put(&mut out, (entry.sequence, entry.qos, entry.retain), &entry.subscription_ids, body);
            }
            let mut bytes = Bytes::from(out.clone());
            let back: Vec<Entry> = std::iter::from_fn(|| take(&mut bytes)).collect();
            prop_assert_eq!(&back, &entries);
            // Half of it is no reason to panic.
            out.truncate(cut.index(out.len() + 1));
            let mut bytes = Bytes::from(out);
            let back: Vec<Entry> = std::iter::from_fn(|| take(&mut bytes)).collect();
            prop_assert!(entries.starts_with(&back));
        }
    }
}
