//! What there is most of - publishes, acknowledgements, deliveries, and the entries that hold them - without the generated
//! types in between: those would be made and taken apart again for each. The bytes are the same, as tests show.
//!
//! Everything else within these messages goes through the generated types.

mod read;
mod reader;
mod sink;
mod write;

pub(super) use read::{entry, envelope, from_origin, to_origin};
pub(super) use sink::put;
pub(super) use write::{Appended, FromOriginFields, ToOriginFields};
