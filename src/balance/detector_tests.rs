use super::*;

fn seen<'a>(names: &'a [String], windows: &[[f64; SPAN]]) -> Vec<Seen<'a>> {
    let pods = names.iter().zip(windows);
    pods.map(|(name, windows)| {
        let mut sum = 0.0;
        Seen {
            uid: name,
            window: windows[0],
            sums: windows.map(|requests| {
                sum += requests;
                Some(sum)
            }),
            ever_served: true,
            capacity: None,
        }
    })
    .collect()
}

/// What the last three windows say, newest first, of pods whose traffic is a Poisson process.
fn look(windows: &[[f64; SPAN]]) -> Observation {
    let names: Vec<String> = (0..windows.len()).map(|pod| pod.to_string()).collect();
    let pods = seen(&names, windows);
    detector(&pods)
        .look(&pods, false, &Thresholds::default())
        .observation
}

/// Has learnt that there is no dispersion.
fn detector(pods: &[Seen<'_>]) -> Detector {
    let mut detector = Detector::default();
    let even: Vec<Seen<'_>> = pods
        .iter()
        .map(|pod| Seen {
            window: 100.0,
            ..*pod
        })
        .collect();
    for second in 0..20 {
        let now = Timestamp::from_second(second).unwrap();
        detector.learn(&even, now, Duration::from_secs(1), Duration::ZERO);
    }
    detector
}

fn finding(verdict: Verdict, windows: u32) -> Observation {
    Observation::Finding { verdict, windows }
}

#[test]
fn three_windows_together_say_what_one_alone_does_not() {
    let mut pods = vec![[30.0; SPAN]; 50];
    pods[7] = [0.0; SPAN];
    assert_eq!(look(&pods), finding(Verdict::FewClients, 3));
    let mut pods = vec![[100.0; SPAN]; 3];
    pods[0] = [200.0, 170.0, 230.0];
    assert_eq!(look(&pods), finding(Verdict::HotPod, 3));
}

#[test]
fn one_wild_window_does_not_speak_for_three() {
    for wild in 0..SPAN {
        let mut pods = vec![[100.0; SPAN]; 3];
        pods[0][wild] = 1000.0;
        let expected = if wild == 0 {
            Observation::Suspicion(Verdict::HotPod)
        } else {
            finding(Verdict::Balanced, 1)
        };
        assert_eq!(look(&pods), expected, "{wild}");
    }
}

#[test]
fn another_hot_pod_in_each_window_is_no_lasting_trouble() {
    let pods = [
        [400.0, 100.0, 100.0],
        [100.0, 400.0, 100.0],
        [100.0, 100.0, 400.0],
    ];
    // So bursts look.
    assert_eq!(look(&pods), finding(Verdict::Balanced, 1));
}

#[test]
fn windows_without_traffic_are_no_evidence() {
    let pods = [[600.0, 0.0, 600.0], [100.0, 0.0, 100.0]];
    assert_eq!(look(&pods), Observation::Suspicion(Verdict::HotPod));
    assert_eq!(look(&[[0.0; SPAN]; 2]), finding(Verdict::NoTraffic, 1));
}

#[test]
fn pods_that_do_not_cover_the_windows_do_not_hold_up_the_others() {
    let names: Vec<String> = (0..6).map(|pod| pod.to_string()).collect();
    let mut pods = seen(&names, &[[100.0; SPAN]; 6]);
    pods[5].sums = [Some(0.0); SPAN];
    pods[5].window = 0.0;
    let windows = |pods: &[Seen<'_>]| {
        let outlook = detector(pods).look(pods, false, &Thresholds::default());
        assert_eq!(outlook.assessment.idle, [5]);
        outlook.observation
    };
    assert_eq!(windows(&pods), finding(Verdict::FewClients, 3));
    for pod in &mut pods[..3] {
        pod.sums = [Some(100.0), None, None];
    }
    assert_eq!(windows(&pods), finding(Verdict::FewClients, 3));
    pods[3].sums = [Some(100.0), Some(200.0), None];
    pods[4].sums = [Some(100.0), Some(200.0), None];
    assert_eq!(windows(&pods), finding(Verdict::FewClients, 2));
}

/// A pod that was read for the first time somewhat later than the others covers its third window a round later.
#[test]
fn of_which_kind_it_is_all_pods_show() {
    let names: Vec<String> = (0..4).map(|pod| pod.to_string()).collect();
    let pods = seen(&names, &[400.0, 400.0, 80.0, 80.0].map(|of| [of; SPAN]));
    for late in 0..pods.len() {
        let mut pods = pods.clone();
        pods[late].sums[2] = None;
        let outlook = detector(&pods).look(&pods, false, &Thresholds::default());
        assert_eq!(outlook.observation, finding(Verdict::Skewed, 3), "{late}");
        assert_eq!(outlook.assessment.hot, [0, 1], "{late}");
    }
}

#[test]
fn what_was_said_is_judged_by_the_last_window() {
    let names: Vec<String> = (0..3).map(|pod| pod.to_string()).collect();
    let pods = seen(
        &names,
        &[[100.0; SPAN], [100.0, 900.0, 900.0], [100.0; SPAN]],
    );
    let mut detector = Detector::restored(Some(Verdict::HotPod));
    let outlook = detector.look(&pods, false, &Thresholds::default());
    assert_eq!(outlook.observation, finding(Verdict::Balanced, 1));
    let now = Timestamp::UNIX_EPOCH;
    let said = detector.weigh(outlook.observation, now, Duration::from_secs(10));
    assert_eq!(said, Verdict::HotPod);
}

#[test]
fn windows_that_differ_as_much_as_their_sum_does_are_noise() {
    let restless = [
        [190.0, 200.0, 220.0],
        [90.0, 40.0, 140.0],
        [20.0, 110.0, 40.0],
        [100.0, 50.0, 0.0],
    ];
    assert_eq!(look(&restless), finding(Verdict::Balanced, 1));
    let steady = restless.map(|windows| [windows.iter().sum::<f64>() / 3.0; SPAN]);
    assert_eq!(look(&steady), finding(Verdict::HotPod, 3));
}

/// The dispersion after such windows, in turn, while trouble is said and thereafter.
fn learnt_in_trouble(windows: &[[f64; 4]]) -> (f64, f64) {
    let names: Vec<String> = (0..4).map(|pod| pod.to_string()).collect();
    let of = |counts: [f64; 4]| seen(&names, &counts.map(|count| [count; SPAN]));
    let mut detector = detector(&of([100.0; 4]));
    assert!(detector.dispersion() <= 1.0);
    let mut learn = |verdict, seconds: std::ops::Range<usize>| {
        detector.evidence = Evidence::restored(Some(verdict));
        for second in seconds {
            let now = Timestamp::from_second(i64::try_from(second).unwrap()).unwrap();
            let counts = windows[second % windows.len()];
            detector.learn(&of(counts), now, Duration::from_secs(1), Duration::ZERO);
        }
        detector.dispersion()
    };
    (
        learn(Verdict::Skewed, 100..130),
        learn(Verdict::Balanced, 200..202),
    )
}

#[test]
fn what_is_only_burstier_than_before_is_not_trouble_for_ever() {
    let (in_trouble, thereafter) =
        learnt_in_trouble(&[[160.0, 40.0, 100.0, 100.0], [40.0, 160.0, 100.0, 100.0]]);
    assert!(in_trouble > 20.0, "{in_trouble}");
    assert!(thereafter > 20.0, "{thereafter}");
}

#[test]
fn trouble_is_not_learnt_to_be_noise() {
    const HOT: [f64; 4] = [400.0, 100.0, 100.0, 100.0];
    const EVEN: [f64; 4] = [100.0; 4];
    for windows in [[HOT; 4], [HOT, HOT, EVEN, EVEN]] {
        assert_eq!(learnt_in_trouble(&windows), (1.0, 1.0));
    }
}

#[test]
fn figures_do_not_jump_between_both_kinds_of_fairness() {
    let names: Vec<String> = (0..2).map(|pod| pod.to_string()).collect();
    let of = |small: f64| {
        let mut pods = seen(&names, &[[small; SPAN], [3000.0 - small; SPAN]]);
        (pods[0].capacity, pods[1].capacity) = (Some(1000), Some(4000));
        pods
    };
    let mut detector = detector(&of(600.0));
    let mut largest = |small| {
        let outlook = detector.look(&of(small), false, &Thresholds::default());
        outlook.assessment.indices.unwrap().max_over_mean
    };
    for small in [600.0, 950.0, 1050.0, 950.0, 1050.0] {
        let by_capacity = f64::max(small / 600.0, (3000.0 - small) / 2400.0);
        assert!((largest(small) - by_capacity).abs() < 1e-9, "{small}");
    }
    assert!(largest(1500.0) < 1.01);
}

fn of_capacities<'a>(
    names: &'a [String],
    capacities: &[u32],
    windows: &[[f64; SPAN]],
) -> Vec<Seen<'a>> {
    let mut pods = seen(names, windows);
    for (pod, capacity) in pods.iter_mut().zip(capacities) {
        pod.capacity = Some(*capacity);
    }
    pods
}

#[test]
fn too_few_requests_by_the_other_fairness_explain_nothing() {
    let names: Vec<String> = (0..4).map(|pod| pod.to_string()).collect();
    let of = |requests: [f64; 4]| {
        of_capacities(
            &names,
            &[3000, 7000, 7000, 7000],
            &requests.map(|r| [r; SPAN]),
        )
    };
    let even = of([20.0; 4]);
    let mut detector = detector(&even);
    let mut look = |pods| {
        detector
            .look(pods, false, &Thresholds::default())
            .observation
    };
    assert_eq!(look(&even), finding(Verdict::InsufficientData, 1));
    let idle = of([1.0, 60.0, 10.0, 9.0]);
    assert_eq!(look(&idle), finding(Verdict::FewClients, 3));
}

#[test]
fn bursts_that_the_other_fairness_explains_are_not_suspicious() {
    let names: Vec<String> = (0..2).map(|pod| pod.to_string()).collect();
    let of = |windows| of_capacities(&names, &[1000, 3000], windows);
    let mut detector = detector(&of(&[[300.0; SPAN]; 2]));
    let thresholds = Thresholds::default();
    detector.look(&of(&[[300.0; SPAN]; 2]), false, &thresholds);
    assert_eq!(detector.fairness(), Fairness::Equal);
    let bursts = [[33.0, 190.0, 160.0], [567.0, 410.0, 440.0]];
    let outlook = detector.look(&of(&bursts), false, &thresholds);
    assert_eq!(outlook.observation, finding(Verdict::Balanced, 1));
    assert_eq!(detector.fairness(), Fairness::ByCapacity);
    let most = outlook.assessment.indices.unwrap().max_over_mean;
    assert!((most - 567.0 / 450.0).abs() < 1e-9, "{most}");
}
