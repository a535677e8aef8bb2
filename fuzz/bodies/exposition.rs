//! Whatever a pod answers, and whichever labels its series must have: no panic, sums that are counts, and the same in pieces as in one.

use evenkeel::balance::MeterId;
use evenkeel::balance::exposition::{Body, Encoding, Format, Limits, Wanted, read};
use evenkeel::balance::families::Condition;

/// Labels of `spec.balance.metrics.labels`: none, such as pages of the corpus have, also where the page writes them otherwise, and one that
/// no series has.
const LABELS: [&[(&str, &str)]; 4] = [
    &[],
    &[("grpc_service", "acme.rng.v1.Rng")],
    &[("grpc_method", "Quote \"x\\y\""), ("grpc_type", "UNARY")],
    &[("generation", "")],
];

/// The first byte says how the rest is read: as text or as OpenMetrics, packed or not, with which labels, and in which pieces. Whether it
/// is a page.
pub fn bear(input: &[u8]) -> bool {
    let Some((choice, bytes)) = input.split_first() else {
        return false;
    };
    let wanted = Wanted {
        format: if choice & 1 == 0 {
            Format::Text
        } else {
            Format::OpenMetrics
        },
        limits: Limits {
            body_bytes: 1 << 16,
            line_bytes: 1 << 10,
            series: 100,
        },
        labels: LABELS[usize::from(choice >> 2 & 3)]
            .iter()
            .map(|(label, value)| Condition::equals(label, value))
            .collect(),
    };
    if choice & 2 != 0 {
        let mut body = Body::new(Encoding::Gzip, wanted);
        return body.feed(bytes).is_ok() && body.finish().is_ok();
    }
    let whole = read(bytes, &wanted);
    let mut body = Body::new(Encoding::Identity, wanted);
    let piece = usize::from(choice >> 4) + 1;
    let fed = bytes.chunks(piece).try_for_each(|chunk| body.feed(chunk));
    // A body over the limit is refused at once in one piece, and in pieces only behind what else is wrong with it.
    if bytes.len() <= 1 << 16 {
        assert_eq!(fed.and_then(|()| body.finish()), whole);
    }
    let Ok(page) = whole else {
        return false;
    };
    for meter in MeterId::all() {
        let said = page.counters(meter);
        for sum in [
            said.started,
            said.handled,
            said.open,
            said.connections_created,
        ] {
            assert!(sum.is_none_or(|sum| sum.is_finite() && sum >= 0.0));
        }
    }
    true
}
