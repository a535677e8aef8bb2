//! What is promised of the verdict's errors, in each cell for itself: never pooled, so that no easy cell hides a hard one.
#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by it: the trace says where"
)]

use std::fs;
use std::sync::LazyLock;

use evenkeel_calibration::fleet::{Come, Fault, Fleet, Traffic, is_trouble};
use evenkeel_calibration::page::{Results, path, with};
use evenkeel_calibration::study::{WINDOWS, is_calm, is_promised};

static RESULTS: LazyLock<Results> = LazyLock::new(Results::new);

#[test]
fn chance_is_never_called_trouble() {
    for (traffic, tally) in &RESULTS.balanced {
        assert_eq!(tally.of, WINDOWS);
        // Rushes that come a window apart, three times running, are taken for a difference now and then: one window in a thousand.
        let allowed = if is_promised(*traffic, Fault::None) {
            0
        } else {
            tally.of / 1000
        };
        assert!(
            tally.said <= allowed,
            "{} false verdicts for {traffic:?}",
            tally.said
        );
    }
    assert_eq!(RESULTS.balanced.len(), 84);
}

#[test]
fn so_many_windows_without_an_error_bound_it() {
    // Clopper and Pearson's upper bound of confidence 95 % for none of n.
    let windows = f64::from(u32::try_from(WINDOWS).unwrap());
    assert!(1.0 - 0.05_f64.powf(1.0 / windows) <= 1e-4);
}

#[test]
fn faults_are_found_within_three_windows() {
    let promised: Vec<_> = RESULTS
        .faulty
        .iter()
        .filter(|(traffic, fault, _)| is_promised(*traffic, *fault))
        .collect();
    for (traffic, fault, tally) in &promised {
        assert!(
            100 * tally.said >= 99 * tally.of,
            "{fault:?} is found {} times of {} for {traffic:?}",
            tally.said,
            tally.of
        );
    }
    assert_eq!(promised.len(), 45);
}

#[test]
fn what_is_said_of_traffic_that_becomes_burstier_ends_by_itself() {
    for (traffic, turned) in &RESULTS.turned {
        assert!(
            turned.wrong == 0 || !is_calm(*traffic),
            "{turned:?} for {traffic:?}"
        );
        // Windows, of the 120 for which it is watched.
        assert!(
            turned.longest.max(turned.cured) <= 60,
            "{turned:?} for {traffic:?}"
        );
    }
    assert_eq!(RESULTS.turned.len(), 32);
}

/// With so few requests only the sum shows it beyond doubt.
#[test]
fn an_idle_pod_is_said_once_and_no_longer_than_it_idles() {
    for (pods, mean) in [(50, 45.0), (10, 40.0), (10, 50.0), (10, 100.0)] {
        let traffic = Traffic {
            pods,
            mean,
            come: Come::InFives,
            looks: 4,
            by_capacity: false,
        };
        let mut until_end = 0;
        for seed in 0..10 {
            let mut fleet = Fleet::new(traffic, seed);
            for _ in 0..200 {
                fleet.step(Fault::None);
            }
            let said = (0..480).map(|_| is_trouble(fleet.step(Fault::Idle)));
            let said: Vec<bool> = said.skip_while(|said| !said).collect();
            assert!(said.len() > 300, "found late for {traffic:?}");
            let ends = said.iter().filter(|said| !**said).count();
            assert_eq!(ends, 0, "looks without it for {traffic:?}");
            until_end += 1;
            while is_trouble(fleet.step(Fault::None)) {
                until_end += 1;
            }
        }
        // Three windows each, as what is new has to last.
        assert!(until_end <= 10 * 12, "{until_end} looks for {traffic:?}");
    }
}

#[test]
fn the_page_shows_what_is_so() {
    let page = fs::read_to_string(path()).unwrap();
    let expected = with(&page, &RESULTS).unwrap();
    assert!(
        page == expected,
        "docs/verdict.md is not what the simulation gives: run `make calibration`"
    );
}
