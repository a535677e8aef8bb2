use proptest::prelude::*;

use super::super::chance::SIGNIFICANCE;
use super::Verdict::{
    Balanced, FewClients, HotPod, InsufficientData, NewPodsStarved, NoTraffic, Skewed, StreamsOnly,
};
use super::*;

fn loads(requests: &[f64]) -> Vec<Load> {
    requests
        .iter()
        .map(|requests| Load {
            requests: *requests,
            ever_served: *requests > 0.0,
            ..Load::default()
        })
        .collect()
}

fn bar(dispersion: f64) -> Bar {
    Bar {
        windows: 1.0,
        dispersion,
        tail: SIGNIFICANCE,
    }
}

fn say(loads: &[Load], dispersion: f64, held: Option<Verdict>) -> Verdict {
    assess(
        loads,
        fairness(loads, None).unwrap_or_default(),
        bar(dispersion),
        false,
        &Thresholds::default(),
        Held(held),
    )
    .verdict
}

fn verdict(requests: &[f64]) -> Verdict {
    say(&loads(requests), 1.0, None)
}

fn nine_and(last: f64) -> Vec<f64> {
    let mut requests = vec![100.0; 9];
    requests.push(last);
    requests
}

#[test]
fn every_row_of_the_table() {
    let cases: &[(&[f64], Verdict)] = &[
        (&[0.0, 0.0], NoTraffic),
        (&[9.0, 9.0], InsufficientData),
        (&[18.0, 0.0], InsufficientData),
        (&[20.0, 20.0], InsufficientData),
        (&[35.0, 10.0], InsufficientData),
        (&[30.0, 30.0], Balanced),
        (&[120.0, 80.0], Balanced),
        (&[120.0, 100.0, 80.0], Balanced),
        (&[140.0, 130.0, 30.0], Skewed),
        (&[145.0, 77.0, 77.0], HotPod),
        (&[100.0, 100.0, 0.0, 0.0], NewPodsStarved),
        (&[15.0, 15.0, 0.0], NewPodsStarved),
        (&nine_and(0.0), NewPodsStarved),
        (&[200.0, 0.0], FewClients),
        (&[300.0, 0.0, 0.0], FewClients),
        (&[190.0, 10.0], FewClients),
        (&[950.0, 50.0], FewClients),
        (&[180.0, 60.0, 60.0], HotPod),
        (&[160.0, 40.0], HotPod),
        (&[160.0, 160.0, 40.0, 40.0], Skewed),
        (&[120.0, 120.0, 120.0, 40.0], Skewed),
    ];
    for (requests, expected) in cases {
        assert_eq!(verdict(requests), *expected, "{requests:?}");
    }
}

#[test]
fn open_streams_without_new_requests_are_no_silence() {
    let open = assess(
        &loads(&[0.0, 0.0]),
        Fairness::Equal,
        bar(1.0),
        true,
        &Thresholds::default(),
        Held::default(),
    );
    assert_eq!(open.verdict, StreamsOnly);
    let busy = assess(
        &loads(&[100.0, 100.0]),
        Fairness::Equal,
        bar(1.0),
        true,
        &Thresholds::default(),
        Held::default(),
    );
    assert_eq!(busy.verdict, Balanced);
}

#[test]
fn an_idle_pod_that_once_served_is_the_clients_doing() {
    let mut idle = loads(&nine_and(0.0));
    assert_eq!(say(&idle, 1.0, None), NewPodsStarved);
    idle[9].ever_served = true;
    assert_eq!(say(&idle, 1.0, None), FewClients);
}

#[test]
fn a_pod_that_serves_a_little_is_not_idle() {
    assert_eq!(verdict(&nine_and(8.0)), FewClients);
    assert_eq!(verdict(&nine_and(11.0)), Skewed);
    assert_eq!(verdict(&nine_and(60.0)), Balanced);
}

#[test]
fn a_pod_with_twice_the_processors_may_have_twice_the_requests() {
    let of = |pods: &[(f64, u32)]| {
        let loads: Vec<Load> = pods
            .iter()
            .map(|(requests, capacity)| Load {
                requests: *requests,
                ever_served: true,
                capacity: (*capacity > 0).then_some(*capacity),
            })
            .collect();
        say(&loads, 1.0, None)
    };
    assert_eq!(of(&[(400.0, 2000), (200.0, 1000), (200.0, 1000)]), Balanced);
    // Clients that take turns do not ask for capacities.
    assert_eq!(of(&[(200.0, 2000), (200.0, 500), (200.0, 500)]), Balanced);
    assert_eq!(of(&[(400.0, 1000), (400.0, 4000)]), Balanced);
    assert_eq!(of(&[(800.0, 1000), (200.0, 4000)]), HotPod);
    assert_eq!(of(&[(950.0, 9500), (50.0, 500)]), Balanced);
    assert_eq!(of(&[(400.0, 1000), (200.0, 1000), (200.0, 1000)]), HotPod);
    // Where one is unknown, none counts.
    assert_eq!(of(&[(400.0, 2000), (200.0, 1000), (200.0, 0)]), HotPod);
    assert_eq!(of(&[(5.0, 4000), (100.0, 1000), (100.0, 1000)]), FewClients);
}

#[test]
fn between_both_kinds_of_fairness_the_one_chosen_stays() {
    use Fairness::{ByCapacity, Equal};
    let choose = |small: f64, held| {
        let load = |requests, capacity| Load {
            requests,
            ever_served: true,
            capacity: Some(capacity),
        };
        fairness(&[load(small, 1000), load(3000.0 - small, 4000)], held)
    };
    // By capacity it would be 600; as near to that as to 1500 is 1000.
    assert_eq!(choose(990.0, None), Some(ByCapacity));
    assert_eq!(choose(1010.0, None), Some(Equal));
    for held in [Equal, ByCapacity] {
        for small in [900.0, 990.0, 1010.0, 1100.0] {
            assert_eq!(choose(small, Some(held)), Some(held), "{small}");
        }
        assert_eq!(choose(700.0, Some(held)), Some(ByCapacity));
        assert_eq!(choose(1400.0, Some(held)), Some(Equal));
        assert_eq!(fairness(&loads(&[100.0, 300.0]), Some(held)), Some(held));
    }
    assert_eq!(fairness(&loads(&[100.0, 300.0]), None), None);
}

#[test]
fn the_border_is_sharp_where_there_are_many_requests() {
    let hot = |times: f64| [times * 1e5, (3.0 - times) * 5e4, (3.0 - times) * 5e4];
    let wide = Thresholds {
        cv: 10.0,
        ..Thresholds::default()
    };
    let say = |requests: &[f64]| {
        assess(
            &loads(requests),
            Fairness::Equal,
            bar(1.0),
            false,
            &wide,
            Held::default(),
        )
        .verdict
    };
    assert_eq!(say(&hot(1.49)), Balanced);
    assert_eq!(say(&hot(1.51)), HotPod);
}

#[test]
fn small_counts_need_more_than_the_threshold() {
    // 1.53 times the mean: nothing at 30 requests on each of 20 pods, skew at 3000.
    let twenty = |mean: f64| {
        let mut requests = vec![mean * 0.9722; 19];
        requests.push(mean * 1.53);
        verdict(&requests)
    };
    assert_eq!(twenty(30.0), Balanced);
    assert_eq!(twenty(3000.0), HotPod);
}

#[test]
fn the_thresholds_of_the_extremes_move_outwards_for_small_counts() {
    // Significant by the spread of all, while the extremes are within what chance reaches at 30 requests.
    let spread = |extreme: f64, scale: f64| {
        let mut requests = [[40.0, 20.0]; 9].concat();
        requests.extend([extreme, 60.0 - extreme]);
        let requests: Vec<f64> = requests.iter().map(|x| x * scale).collect();
        let wide = Thresholds {
            cv: 10.0,
            ..Thresholds::default()
        };
        assess(
            &loads(&requests),
            Fairness::Equal,
            bar(1.0),
            false,
            &wide,
            Held::default(),
        )
        .verdict
    };
    assert_eq!(spread(46.5, 1.0), Balanced);
    assert_eq!(spread(46.5, 100.0), Skewed);
    assert_eq!(spread(54.0, 1.0), Skewed);
}

#[test]
fn dispersed_traffic_needs_more_than_poisson_traffic() {
    let skewed = loads(&[160.0, 40.0]);
    assert_eq!(say(&skewed, 1.0, None), HotPod);
    assert_eq!(say(&skewed, 20.0, None), Balanced);
    let idle = loads(&[20.0, 20.0, 0.0]);
    assert_eq!(say(&idle, 1.0, None), NewPodsStarved);
    assert_eq!(say(&idle, 20.0, None), InsufficientData);
}

#[test]
fn what_was_said_holds_until_it_is_a_fifth_better() {
    let cases: &[(&[f64], Verdict, Verdict)] = &[
        (&[13_000.0, 8_500.0, 8_500.0], HotPod, HotPod),
        (&[11_500.0, 9_250.0, 9_250.0], HotPod, Balanced),
        (
            &[1_000.0, 1_000.0, 1_000.0, 95.0],
            NewPodsStarved,
            FewClients,
        ),
        (&[27.0, 27.0], Balanced, Balanced),
        (&[23.0, 23.0], Balanced, InsufficientData),
        (&[27.0, 27.0], InsufficientData, InsufficientData),
        (&[800.0, 200.0], FewClients, FewClients),
        (&[610.0, 390.0], FewClients, Balanced),
        (&[400.0, 280.0, 80.0, 80.0], HotPod, HotPod),
        (&[404.0, 396.0, 80.0, 80.0], HotPod, Skewed),
        (&[404.0, 396.0, 80.0, 80.0], Skewed, Skewed),
    ];
    for (requests, held, expected) in cases {
        assert_eq!(
            say(&loads(requests), 1.0, Some(*held)),
            *expected,
            "{requests:?} after {held}"
        );
    }
}

#[test]
fn lists_name_the_culprits() {
    let found = assess(
        &loads(&[500.0, 100.0, 100.0, 0.0]),
        Fairness::Equal,
        bar(1.0),
        false,
        &Thresholds::default(),
        Held::default(),
    );
    assert_eq!((found.hot, found.idle), (vec![0], vec![3]));
}

#[test]
fn reasons_are_unique_and_read_back() {
    for verdict in Verdict::ALL {
        assert_eq!(verdict.reason().parse(), Ok(*verdict));
        assert_eq!(verdict.to_string(), format!("{verdict:?}"));
    }
    assert_eq!("Fine".parse::<Verdict>(), Err(UnknownVerdict));
    let troubles: Vec<_> = Verdict::ALL
        .iter()
        .filter(|verdict| verdict.is_trouble())
        .collect();
    assert_eq!(troubles, [&Skewed, &HotPod, &NewPodsStarved, &FewClients]);
}

fn severity(verdict: Verdict) -> u8 {
    u8::from(verdict.is_trouble())
}

proptest! {
    #[test]
    fn the_order_of_pods_does_not_matter(
        requests in prop::collection::vec(0.0..2000.0_f64, 2..20), turn in 0_usize..20, served in any::<bool>()
    ) {
        let mut pods: Vec<Load> = requests.iter().map(|x| Load { requests: x.floor(), ever_served: served, ..Load::default() }).collect();
        let before = say(&pods, 1.0, None);
        let by = turn % pods.len();
        pods.rotate_left(by);
        prop_assert_eq!(say(&pods, 1.0, None), before);
    }

    #[test]
    fn more_of_the_same_traffic_never_hides_trouble(
        requests in prop::collection::vec(0.0..2000.0_f64, 2..20), scale in 1.0..100.0_f64
    ) {
        let before = say(&loads(&requests), 1.0, None);
        let scaled: Vec<f64> = requests.iter().map(|x| x * scale).collect();
        prop_assert!(severity(say(&loads(&scaled), 1.0, None)) >= severity(before));
    }

    #[test]
    fn trouble_once_said_is_not_harder_to_say_again(requests in prop::collection::vec(0.0..2000.0_f64, 2..20)) {
        let pods = loads(&requests);
        let first = say(&pods, 1.0, None);
        prop_assert!(severity(say(&pods, 1.0, Some(first))) >= severity(first));
    }
}
