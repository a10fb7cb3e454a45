//! A look into the broker for administrators: sessions, retained messages, and what clients may do.
//!
//! Shards are asked in [`shards`], and each service has a file. A question goes to the tail of a shard's chain, a change to its
//! head; both are tried again for a while when a chain is being repaired.

pub mod authorization;
pub mod retained;
pub mod sessions;
mod shards;
pub mod traces;

use std::time::Duration;

use catena_shard::Time;
use prost_types::Timestamp;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub use self::shards::Shards;

/// Rows of a page that nobody has asked for a size of, and the most of one.
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1_000;
/// Bytes of what an administrator gives as a reason.
const REASON_BYTES_MAX: usize = 256;

/// How many rows a page has.
fn page_size(asked: u32) -> Result<usize, Status> {
    match asked {
        0 => Ok(PAGE as usize),
        1..=PAGE_MAX => Ok(asked as usize),
        _ => Err(wrong("page_size", format!("must be 1 to {PAGE_MAX}"))),
    }
}

/// The reason for a change, as it stands in the log: one line.
fn reason(text: &str) -> Result<&str, Status> {
    if text.len() > REASON_BYTES_MAX {
        let problem = format!("has more than {REASON_BYTES_MAX} bytes");
        return Err(wrong("reason", problem));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong("reason", "has control characters".to_owned()));
    }
    Ok(text)
}

/// A field of the request is wrong.
fn wrong(field: &str, problem: String) -> Status {
    let message = format!("{field}: {problem}");
    let details = ErrorDetails::with_bad_request_violation(field, problem);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// What is asked for is not there.
fn missing(kind: &str, name: &str, message: String) -> Status {
    let details = ErrorDetails::with_resource_info(kind, name, "", "it does not exist");
    Status::with_error_details(Code::NotFound, message, details)
}

/// Shard time is the wall clock's, as far as it is known there; `None` for never.
fn moment(time: Time) -> Option<Timestamp> {
    (time != Time::NEVER).then(|| Timestamp {
        seconds: i64::try_from(time.0 / 1000).unwrap_or(i64::MAX),
        nanos: (time.0 % 1000) as i32 * 1_000_000,
    })
}

/// How long is waited between two looks at what is to come about.
const LOOK: Duration = Duration::from_millis(50);
