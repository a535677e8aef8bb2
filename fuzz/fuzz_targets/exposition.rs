//! Whatever a pod answers: no panic, sums that are counts, and the same in pieces as in one.
#![no_main]

use evenkeel::balance::MeterId;
use evenkeel::balance::exposition::{Body, Encoding, Format, Limits, Wanted, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, bytes) = input;
    let wanted = Wanted {
        format: if choice & 1 == 0 { Format::Text } else { Format::OpenMetrics },
        limits: Limits { body_bytes: 1 << 16, line_bytes: 1 << 10, series: 100 },
        ..Wanted::default()
    };
    if choice & 2 != 0 {
        let mut body = Body::new(Encoding::Gzip, wanted);
        if body.feed(bytes).is_ok() {
            let _ = body.finish();
        }
        return;
    }
    let whole = read(bytes, &wanted);
    let mut body = Body::new(Encoding::Identity, wanted);
    let piece = usize::from(choice >> 2) + 1;
    let fed = bytes.chunks(piece).try_for_each(|chunk| body.feed(chunk));
    // A body over the limit is refused at once in one piece, and in pieces only behind what else is wrong with it.
    if bytes.len() <= 1 << 16 {
        assert_eq!(fed.and_then(|()| body.finish()), whole);
    }
    if let Ok(page) = whole {
        for meter in MeterId::all() {
            let said = page.counters(meter);
            for sum in [said.started, said.handled, said.open, said.connections_created] {
                assert!(sum.is_none_or(|sum| sum.is_finite() && sum >= 0.0));
            }
        }
    }
});
