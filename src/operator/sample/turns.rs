//! When in the interval a pod is asked. Pure.

use std::time::Duration;

/// The time from the beginning of the interval. A pod always has the same, so that its samples lie an interval apart whoever else
/// comes and goes; and pods have different ones, so that neither they nor the operator are busy all at once.
pub fn turn(uid: &str, interval: Duration) -> Duration {
    // The upper half of the hash as a part of one.
    let part = u32::try_from(hash(uid) >> 32).unwrap_or(u32::MAX);
    interval.mul_f64(f64::from(part) / (f64::from(u32::MAX) + 1.0))
}

/// The part of the interval that turns lie in: one at its very end would not have its answer before the next begins, and would be
/// passed over in that one. What is asked may take `longest`; half the interval is left in any case.
pub fn window(interval: Duration, longest: Duration) -> Duration {
    interval.saturating_sub(longest).max(interval / 2)
}

/// Pods whose turns are nearer than this are asked together: to wake up for each costs more than to ask it.
pub const TOGETHER: Duration = Duration::from_millis(100);

/// The next time at which pods are asked, of all backends; both since the same moment.
pub fn together(at: Duration) -> Duration {
    let steps = at.as_nanos().div_ceil(TOGETHER.as_nanos());
    TOGETHER.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
}

/// FNV-1a, and a last stir, since names of pods differ in their last letters.
fn hash(text: &str) -> u64 {
    let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);

    /// As the API server gives them.
    fn uid(number: u32) -> String {
        format!("0b0e8f6c-5a3e-4a68-9d4c-{number:012x}")
    }

    #[test]
    fn a_pod_s_turn_is_its_own_and_within_the_interval() {
        for number in 0..1000 {
            let uid = uid(number);
            let at = turn(&uid, INTERVAL);
            assert!(at < INTERVAL, "{uid}: {at:?}");
            assert_eq!(at, turn(&uid, INTERVAL));
            let twice = turn(&uid, INTERVAL * 2);
            assert!(twice.abs_diff(at * 2) < Duration::from_micros(1), "{uid}");
        }
        assert_eq!(turn("x", Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn who_is_asked_last_can_answer_within_the_interval() {
        let longest = Duration::from_secs(2);
        for number in 0..1000 {
            let at = turn(&uid(number), window(INTERVAL, longest));
            assert!(at + longest < INTERVAL, "{number}: {at:?}");
        }
        assert_eq!(
            window(Duration::from_secs(3), longest),
            Duration::from_millis(1500)
        );
    }

    #[test]
    fn turns_that_are_near_are_one() {
        for (at, next) in [
            (0, 0),
            (1, 100),
            (99, 100),
            (100, 100),
            (86_400_001, 86_400_100),
        ] {
            let milliseconds = Duration::from_millis;
            assert_eq!(together(milliseconds(at)), milliseconds(next));
        }
    }

    /// Neighbours differ in one letter, and are spread all the same: no tenth of the interval has twice its share, or half.
    #[test]
    fn turns_are_spread_evenly() {
        let mut tenths = [0_u32; 10];
        for number in 0..5000 {
            let part = turn(&uid(number), INTERVAL).as_secs_f64() / INTERVAL.as_secs_f64();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 9"
            )]
            let tenth = (part * 10.0) as usize;
            tenths[tenth] += 1;
        }
        assert!(
            tenths.iter().all(|count| (400..=600).contains(count)),
            "{tenths:?}"
        );
    }
}
