//! Waiting for what is to become true. How long it takes decides nothing: limits are generous.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How often to look.
const LOOK: Duration = Duration::from_millis(50);

/// Looks until there is something.
///
/// # Panics
/// When there is nothing within `within`, with what was seen last.
pub fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if Instant::now() > deadline => {
                panic!("waited {} s for {what}: {seen}", within.as_secs())
            }
            Err(_) => thread::sleep(LOOK),
        }
    }
}
