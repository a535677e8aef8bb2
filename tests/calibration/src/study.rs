//! What is simulated: perfect balance, and two faults.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::balance::detector::SPAN;
use crate::fleet::{Come, Fault, Fleet, LOOKS, Traffic, is_trouble};
use crate::rules::RULES;

/// Windows of perfect balance in each cell in which trouble could be said. With no error in so many, the error is below 1e-4 with 95 %
/// confidence (Clopper and Pearson: 1 - 0.05^(1/30000) = 0.99858e-4).
pub const WINDOWS: usize = 30_000;
/// Windows after which the operator starts anew, so that what it does not know yet is simulated too.
const LIFETIME: usize = 250;
/// Of these the first, in which it cannot say anything but good at all looks, do not count.
const MUTE: usize = SPAN;
/// Times that a fault is brought in.
pub const RUNS: usize = 1000;
/// Windows within which it has to be found.
pub const WITHIN: usize = 3;
/// Healthy windows to learn from before the first fault.
const LEARN: usize = 60;
/// Healthy windows between two.
const BETWEEN: usize = 3;

/// Times that traffic becomes burstier.
pub const TURNS: usize = 100;
/// Windows for which it is watched then.
const WATCHED: usize = 120;
/// Windows for which a pod is hot before that, where one was.
const HOT: usize = 10;

/// The cells of perfect balance.
pub fn balanced() -> Vec<Traffic> {
    let pods = [2, 3, 5, 10, 20, 50, 100];
    let mut cells = cells(&STEADY, &pods, &[30.0, 100.0, 300.0, 1000.0]);
    cells.extend(self::cells(
        &[Come::InRushes],
        &[2, 3, 10, 50],
        &[30.0, 100.0, 1000.0],
    ));
    let some = self::cells(&STEADY, &[3, 10], &[30.0, 300.0]);
    // As in the demo: a window of 10 s and an interval of 5 s.
    cells.extend(some.iter().map(|cell| Traffic { looks: 2, ..*cell }));
    let by_capacity = |cell: &Traffic| Traffic {
        by_capacity: true,
        ..*cell
    };
    cells.extend(some.iter().map(by_capacity));
    cells
}

/// The cells with a fault.
pub fn faulty() -> Vec<Traffic> {
    cells(&STEADY, &[3, 10, 50], &[30.0, 100.0, 300.0, 500.0, 1000.0])
}

/// The cells of perfect balance in which requests come singly first, and then so.
pub fn turning() -> Vec<Traffic> {
    cells(
        &[Come::InFives, Come::InTwenties],
        &[2, 3, 10, 50],
        &[30.0, 100.0, 300.0, 1000.0],
    )
}

/// Whether it is promised that balance is not called uneven there: where some fifty bursts come to each pod in a window.
pub fn is_calm(traffic: Traffic) -> bool {
    traffic.mean >= 50.0 * traffic.come.together()
}

const STEADY: [Come; 2] = [Come::Singly, Come::InFives];

fn cells(come: &[Come], pods: &[usize], means: &[f64]) -> Vec<Traffic> {
    let mut cells = Vec::new();
    for come in come {
        for pods in pods {
            for mean in means {
                cells.push(Traffic {
                    pods: *pods,
                    mean: *mean,
                    come: *come,
                    looks: LOOKS,
                    by_capacity: false,
                });
            }
        }
    }
    cells
}

/// Whether it is promised that a fault is found there, and that nothing is where there is none.
pub fn is_promised(traffic: Traffic, fault: Fault) -> bool {
    let bursts = traffic.come != Come::Singly;
    traffic.mean
        >= match fault {
            Fault::None if traffic.come == Come::InRushes => f64::INFINITY,
            Fault::None => 0.0,
            Fault::Idle if bursts => 100.0,
            Fault::Idle => 30.0,
            Fault::Hot if bursts => 500.0,
            Fault::Hot => 100.0,
        }
}

/// How often something was said, by Evenkeel and by each of the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Out of how many.
    pub of: usize,
    /// By Evenkeel.
    pub said: usize,
    /// By the rules.
    pub rules: [usize; RULES.len()],
}

impl Tally {
    fn add_rules(&mut self, window: &[f64], already: &mut [bool; RULES.len()]) {
        for ((rule, said), already) in RULES.iter().zip(&mut self.rules).zip(already) {
            if !*already && (rule.holds)(window) {
                *already = true;
                *said += 1;
            }
        }
    }
}

/// Windows of perfect balance in which trouble could be said, those in which it was at any look, and those at whose end a rule held.
pub fn errors(traffic: Traffic) -> Tally {
    let mut fleet = Fleet::new(traffic, seed(traffic, Fault::None));
    let mut tally = Tally::default();
    for window in (0..LIFETIME).cycle() {
        if tally.of == WINDOWS {
            break;
        }
        if window == 0 {
            fleet.forget();
        }
        let wrong = (0..traffic.looks).fold(false, |wrong, _| {
            is_trouble(fleet.step(Fault::None)) || wrong
        });
        tally.said += usize::from(wrong);
        if window >= MUTE {
            tally.of += 1;
            tally.add_rules(&fleet.window(), &mut [false; RULES.len()]);
        }
    }
    tally
}

/// Runs with a fault, and those in which it and no other was said within three windows; of the rules, at the end of any of them. They are
/// windows of what is read of the pod: the first look shows nothing yet, since it had just been read when the fault began.
pub fn found(traffic: Traffic, fault: Fault) -> Tally {
    let mut healthy = Fleet::new(traffic, seed(traffic, fault));
    let rest = |fleet: &mut Fleet, windows: usize| {
        for _ in 0..windows * LOOKS {
            fleet.step(Fault::None);
        }
    };
    rest(&mut healthy, LEARN);
    let mut tally = Tally {
        of: RUNS,
        ..Tally::default()
    };
    for _ in 0..RUNS {
        rest(&mut healthy, BETWEEN);
        // In a copy: a fault is brought to an operator that has seen none before.
        let mut fleet = healthy.clone();
        let (mut said, mut rules) = (fault.is_said(fleet.step(fault)), [false; RULES.len()]);
        for _ in 0..WITHIN {
            for _ in 0..LOOKS {
                said |= fault.is_said(fleet.step(fault));
            }
            tally.add_rules(&fleet.window(), &mut rules);
        }
        tally.said += usize::from(said);
    }
    tally
}

/// What was said after traffic became burstier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turned {
    /// Times that trouble was said where there was none.
    pub wrong: usize,
    /// Windows that it was said for at the longest.
    pub longest: usize,
    /// Windows until a hot pod, cured at that moment, was no longer said, at the longest.
    pub cured: usize,
}

/// Balance that is perfect, and where requests come singly until an operator that has long watched it sees them come otherwise.
pub fn turned(traffic: Traffic) -> Turned {
    let before = Traffic {
        come: Come::Singly,
        ..traffic
    };
    let mut healthy = Fleet::new(before, seed(traffic, Fault::None));
    for _ in 0..LEARN * LOOKS {
        healthy.step(Fault::None);
    }
    let bursty = Fleet::new(traffic, 0);
    let mut turned = Turned::default();
    for _ in 0..TURNS {
        for _ in 0..BETWEEN * LOOKS {
            healthy.step(Fault::None);
        }
        let said = watch(healthy.clone(), &bursty);
        let longest = said.split(|said| !said).map(<[bool]>::len).max();
        turned.longest = turned.longest.max(longest.unwrap_or(0).div_ceil(LOOKS));
        turned.wrong += usize::from(said.contains(&true));

        let mut hot = healthy.clone();
        for _ in 0..HOT * LOOKS {
            hot.step(Fault::Hot);
        }
        let said = watch(hot, &bursty);
        let still = said.iter().take_while(|said| **said).count();
        turned.cured = turned.cured.max(still.div_ceil(LOOKS));
    }
    turned
}

/// Whether trouble is said at each look, once requests come so.
fn watch(mut fleet: Fleet, bursty: &Fleet) -> Vec<bool> {
    fleet.turn(bursty);
    let looks = 0..WATCHED * LOOKS;
    looks.map(|_| is_trouble(fleet.step(Fault::None))).collect()
}

/// Another for every cell, the same in every run.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole numbers"
)]
fn seed(traffic: Traffic, fault: Fault) -> u64 {
    let Traffic {
        pods, mean, come, ..
    } = traffic;
    let cell = ((pods as u64 * 10_000 + mean as u64) * 10 + come as u64) * 10 + fault as u64;
    let other = (LOOKS - traffic.looks) * 2 + usize::from(traffic.by_capacity);
    cell + other as u64 * 1_000_000_000
}

/// Does it for each, on all cores; the results in their order.
pub fn on_all_cores<T: Send, C: Copy + Sync>(cells: &[C], of: impl Fn(C) -> T + Sync) -> Vec<T> {
    // The largest come last: begun first, none is left over for one core at the end.
    let left = AtomicUsize::new(cells.len());
    let work = || {
        let mut done = Vec::new();
        loop {
            let place = left.fetch_sub(1, Ordering::Relaxed);
            if place == 0 || place > cells.len() {
                left.store(0, Ordering::Relaxed);
                return done;
            }
            done.push((place - 1, of(cells[place - 1])));
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<(usize, T)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let results = workers.into_iter().map(|worker| match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        results.flatten().collect()
    });
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}
