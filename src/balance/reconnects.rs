//! How many connections a pod has, and how many of them the age ends in a second. Each of those comes back as a new one.
//!
//! C open connections of age A end C / A times a second. With TLS each new one costs a server about a millisecond of a core, so
//! fifty a second cost a twentieth of one. What is said doubles from there and falls only when it is clearly too much, so that
//! clients which come and go do not make it change all the time.

use std::time::Duration;

/// What a server hardly notices.
const BEARABLE: u32 = 50;
/// Open connections at which a pod keeps some 50 MB for them: grpc-go has buffers of 64 KiB for each.
const CROWD: u32 = 1000;
/// How far below what was said it must fall: clients come and go by a tenth.
const CLEARLY_LESS: f64 = 0.8;

/// What is said of a figure, once it has been looked at: 0 below `FIRST`, else at least that, twice that, and so on.
#[derive(Clone, Copy, Debug, Default)]
struct Steps<const FIRST: u32>(Option<u32>);

impl<const FIRST: u32> Steps<FIRST> {
    fn push(&mut self, figure: f64) {
        let said = f64::from(self.0.unwrap_or(0));
        if figure >= CLEARLY_LESS * said && figure < 2.0 * said {
            return;
        }
        let steps = std::iter::successors(Some(FIRST), |step| step.checked_mul(2));
        let reached = steps.take_while(|step| f64::from(*step) <= figure).last();
        self.0 = Some(reached.unwrap_or(0));
    }
}

/// What is said of the connections that the age ends in a second on one pod.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reconnects(Steps<BEARABLE>);

impl Reconnects {
    /// Takes the connections that are open now, and the age that the pod runs with.
    pub fn push(&mut self, open: f64, age: Option<Duration>) {
        self.0.push(age.map_or(0.0, |age| open / age.as_secs_f64()));
    }

    /// What is said.
    pub fn said(self) -> Option<u32> {
        self.0.0
    }
}

/// What is said of the connections that are open on one pod.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Crowd(Steps<CROWD>);

impl Crowd {
    /// Takes the connections that are open now.
    pub fn push(&mut self, open: f64) {
        self.0.push(open);
    }

    /// What is said.
    pub fn said(self) -> Option<u32> {
        self.0.0
    }
}

/// To how many of its `pods` each client may connect so that none of them has a crowd, where `said` was said of each pod.
pub fn bearable_subset(pods: u32, said: u32) -> u32 {
    let most = u64::from(said).saturating_mul(2).max(1);
    let subset = u64::from(pods) * u64::from(CROWD) / most;
    u32::try_from(subset).unwrap_or(pods)
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

    #[test]
    fn a_crowd_is_a_thousand() {
        let mut pod = Crowd::default();
        assert_eq!(pod.said(), None);
        for (open, said) in [
            (999.0, 0),
            (1_000.0, 1_000),
            (801.0, 1_000),
            (799.0, 0),
            (5_000.0, 4_000),
        ] {
            pod.push(open);
            assert_eq!(pod.said(), Some(said), "{open}");
        }
    }

    proptest! {
        #[test]
        fn a_subset_leaves_no_crowd(pods in 1..5_000_u32, clients in 1000..1_000_000_u32) {
            let mut pod = Crowd::default();
            pod.push(f64::from(clients));
            let subset = bearable_subset(pods, pod.said().unwrap());
            prop_assert!(f64::from(clients) * f64::from(subset) / f64::from(pods) <= f64::from(CROWD));
        }

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
