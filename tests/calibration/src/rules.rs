//! Rules that others use, applied to the requests of one window.

/// A rule: whether the pods' requests are uneven.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// As it is usually written.
    pub name: &'static str,
    /// What it says.
    pub holds: fn(&[f64]) -> bool,
}

/// The rules, in the order of the tables.
pub const RULES: [Rule; 4] = [
    Rule {
        name: "max/mean > 1.5",
        holds: |requests| largest(requests) > 1.5 * mean(requests),
    },
    Rule {
        name: "(max−min)/mean > 0.5",
        holds: |requests| largest(requests) - smallest(requests) > 0.5 * mean(requests),
    },
    Rule {
        name: "p99/mean > 1.5",
        holds: |requests| quantile(requests, 0.99) > 1.5 * mean(requests),
    },
    Rule {
        name: "deviation/mean > 0.3",
        holds: |requests| deviation(requests) > 0.3 * mean(requests),
    },
];

#[expect(clippy::cast_precision_loss, reason = "a hundred pods")]
fn count(requests: &[f64]) -> f64 {
    requests.len() as f64
}

fn mean(requests: &[f64]) -> f64 {
    requests.iter().sum::<f64>() / count(requests)
}

fn largest(requests: &[f64]) -> f64 {
    requests.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn smallest(requests: &[f64]) -> f64 {
    requests.iter().copied().fold(f64::INFINITY, f64::min)
}

fn deviation(requests: &[f64]) -> f64 {
    let mean = mean(requests);
    let squares: f64 = requests.iter().map(|x| (x - mean).powi(2)).sum();
    (squares / count(requests)).sqrt()
}

/// Between the two nearest by linear interpolation, as PromQL's `quantile`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in the list"
)]
fn quantile(requests: &[f64], part: f64) -> f64 {
    let mut requests = requests.to_vec();
    let place = part * (count(&requests) - 1.0);
    let (_, low, above) = requests.select_nth_unstable_by(place as usize, f64::total_cmp);
    // At the last place there is none above, and no part of one.
    let next = above.iter().copied().reduce(f64::min).unwrap_or(*low);
    *low + place.fract() * (next - *low)
}
