//! When a certificate is renewed. Pure: time and chance come in.

use std::time::{Duration, SystemTime};

/// The first pause after a renewal failed.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Without a wish, this part of its life before its end.
const RENEW_DIVISOR: u32 = 3;

/// When a certificate that is valid `from` - `until` is to be renewed: `renew_before` its end, and never before half of
/// its life is over. `chance`, from 0 to 1, makes it up to a tenth of what is left earlier, so that those who were issued
/// together do not all ask together.
pub(crate) fn due(
    from: SystemTime,
    until: SystemTime,
    renew_before: Option<Duration>,
    chance: f64,
) -> SystemTime {
    let life = until.duration_since(from).unwrap_or_default();
    let before = renew_before.unwrap_or(life / RENEW_DIVISOR).min(life / 2);
    let earlier = before.mul_f64(chance.clamp(0.0, 1.0) / 10.0);
    until - before - earlier
}

/// How long to wait after so many failures in a row: doubles, with from a half to the whole of it by `chance`; a tenth of
/// `left`, what the certificate in use still has, is the most.
pub(crate) fn pause(failures: u32, left: Option<Duration>, chance: f64) -> Duration {
    let whole = PAUSE_MIN
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(PAUSE_MAX);
    let most = left.map_or(PAUSE_MAX, |left| (left / 10).max(PAUSE_MIN));
    whole.min(most).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    // Renewed too late, it expires when the control plane is away for a moment; renewed at once, it is renewed for ever.
    #[test]
    fn a_certificate_is_renewed_in_the_second_half_of_its_life() {
        let (from, until) = (UNIX_EPOCH, UNIX_EPOCH + 240 * HOUR);
        assert_eq!(due(from, until, Some(HOUR), 0.0), until - HOUR);
        assert_eq!(due(from, until, Some(10 * HOUR), 1.0), until - 11 * HOUR);
        assert_eq!(due(from, until, None, 0.0), until - 80 * HOUR);
        assert_eq!(due(from, until, Some(500 * HOUR), 0.0), from + 120 * HOUR);
        assert_eq!(due(until, from, None, 1.0), from);
    }

    #[test]
    fn failures_make_it_wait_longer_but_not_past_the_end() {
        assert_eq!(pause(1, None, 1.0), PAUSE_MIN);
        assert_eq!(pause(2, None, 0.0), PAUSE_MIN);
        assert_eq!(pause(40, None, 1.0), PAUSE_MAX);
        assert_eq!(pause(40, Some(100 * PAUSE_MIN), 1.0), 10 * PAUSE_MIN);
        assert_eq!(pause(40, Some(Duration::ZERO), 1.0), PAUSE_MIN);
    }
}
