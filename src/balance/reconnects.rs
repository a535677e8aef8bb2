//! How many connections of a pod the age ends in a second. Each comes back as a new one.
//!
//! C open connections of age A end C / A times a second. With TLS each new one costs a server about a millisecond of a core, so
//! fifty a second cost a twentieth of one. What is said doubles from there and falls only when it is clearly too much, so that
//! clients which come and go do not make it change all the time.

use std::time::Duration;

/// What a server hardly notices.
const BEARABLE: u32 = 50;
/// How far below what was said it must fall: clients come and go by a tenth.
const CLEARLY_LESS: f64 = 0.8;

/// What is said of one pod, once it has been looked at: 0 where it is bearable, else at least 50, 100, 200, … a second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reconnects(Option<u32>);

impl Reconnects {
    /// Takes the connections that are open now, and the age that the pod runs with.
    pub fn push(&mut self, open: f64, age: Option<Duration>) {
        let rate = age.map_or(0.0, |age| open / age.as_secs_f64());
        let said = f64::from(self.0.unwrap_or(0));
        if rate >= CLEARLY_LESS * said && rate < 2.0 * said {
            return;
        }
        let steps = std::iter::successors(Some(BEARABLE), |step| step.checked_mul(2));
        let reached = steps.take_while(|step| f64::from(*step) <= rate).last();
        self.0 = Some(reached.unwrap_or(0));
    }

    /// What is said.
    pub fn said(self) -> Option<u32> {
        self.0
    }
}

/// The age with which as many connections would end bearably often, where `said` was said with `age`.
pub fn bearable_age(age: Duration, said: u32) -> Duration {
    age.saturating_mul(said.saturating_mul(2) / BEARABLE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn age() -> impl Strategy<Value = Duration> {
        (1_u64..3600).prop_map(Duration::from_secs)
    }

    #[test]
    fn it_doubles_and_falls_late() {
        let mut pod = Reconnects::default();
        assert_eq!(pod.said(), None);
        for (open, said) in [
            (1_499.0, 0),
            (1_500.0, 50),
            (2_999.0, 50),
            (3_000.0, 100),
            (2_400.0, 100),
            (2_399.0, 50),
            (1_200.0, 50),
            (1_199.0, 0),
            (50_000.0, 1600),
            (0.0, 0),
        ] {
            pod.push(open, Some(Duration::from_secs(30)));
            assert_eq!(pod.said(), Some(said), "{open}");
        }
        pod.push(50_000.0, Some(Duration::from_secs(30)));
        pod.push(50_000.0, None);
        assert_eq!(pod.said(), Some(0), "without an age none ends by it");
    }

    proptest! {
        #[test]
        fn what_is_said_is_near_the_truth(counts in proptest::collection::vec(0.0..1e6_f64, 1..20), age in age()) {
            let mut pod = Reconnects::default();
            for open in counts {
                pod.push(open, Some(age));
                let (rate, said) = (open / age.as_secs_f64(), f64::from(pod.said().unwrap()));
                if pod.said() == Some(0) {
                    prop_assert!(rate < f64::from(BEARABLE));
                } else {
                    prop_assert!(said * CLEARLY_LESS <= rate && rate < said * 2.0, "{said} of {rate}");
                }
            }
        }

        #[test]
        fn clients_that_come_and_go_change_it_once_at_most(
            about in 0.0..1e6_f64,
            parts in proptest::collection::vec(0.9..1.1_f64, 2..50),
            age in age(),
        ) {
            let mut pod = Reconnects::default();
            let mut said: Vec<_> = parts
                .iter()
                .map(|part| {
                    pod.push(about * part, Some(age));
                    pod.said()
                })
                .collect();
            said.dedup();
            prop_assert!(said.len() <= 2, "{said:?}");
        }

        #[test]
        fn the_remedy_is_one(open in 0.0..1e6_f64, age in age()) {
            let mut pod = Reconnects::default();
            pod.push(open, Some(age));
            if let Some(said @ 1..) = pod.said() {
                let better = bearable_age(age, said);
                prop_assert!(better > age);
                let mut anew = Reconnects::default();
                anew.push(open, Some(better));
                prop_assert_eq!(anew.said(), Some(0));
            }
        }
    }
}
