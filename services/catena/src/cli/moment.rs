//! Moments that the admin API tells.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

/// As RFC 3339.
pub fn moment(at: &Timestamp) -> String {
    at.to_string()
}

/// How long ago it was.
pub fn age(at: &Timestamp) -> String {
    let then = u64::try_from(at.seconds).unwrap_or(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    // A shard's clock may be a little ahead of ours.
    let passed = now.unwrap_or(Duration::ZERO).as_secs().saturating_sub(then);
    span(passed)
}

/// In the largest unit of which there are two, or one.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_say_them() {
        let spans = [0, 119, 120, 7_199, 7_200, 172_800].map(span);
        assert_eq!(spans, ["0 s", "119 s", "2 min", "119 min", "2 h", "2 d"]);
        let at = Timestamp {
            seconds: 1_700_000_000,
            nanos: 500_000_000,
        };
        assert_eq!(moment(&at), "2023-11-14T22:13:20.500Z");
    }
}
