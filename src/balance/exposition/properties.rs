//! Compression, and what holds whatever comes.

use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::balance::MeterId;

const GOOD: &str =
    "grpc_server_started_total{grpc_service=\"a.B\",grpc_method=\"C\",grpc_type=\"unary\"} 42\n";

fn openmetrics() -> Wanted {
    Wanted {
        format: Format::OpenMetrics,
        ..Wanted::default()
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(plain).unwrap();
    packed.finish().unwrap()
}

#[test]
fn the_cap_is_on_what_comes_out() {
    let unpack = |packed: &[u8]| {
        let mut body = Body::new(Encoding::Gzip, Wanted::default());
        body.feed(packed)?;
        body.finish()
    };
    let good = gzip(GOOD.as_bytes());
    assert_eq!(unpack(&good), read(GOOD.as_bytes(), &Wanted::default()));
    let bomb = gzip(&vec![b'\n'; 1 << 30]);
    assert!(bomb.len() < 8 << 20, "{}", bomb.len());
    assert_eq!(unpack(&bomb), Err(ReadError::BodyTooLarge(8 << 20)));
    assert_eq!(unpack(&good[..good.len() - 9]), Err(ReadError::BadGzip));
    assert_eq!(unpack(GOOD.as_bytes()), Err(ReadError::BadGzip));
    let mut twice = good.clone();
    twice.extend(&good);
    let sums = unpack(&twice).unwrap().counters(MeterId::default());
    assert_eq!(sums.started, Some(84.0));
    let malformed = gzip(b"grpc_server_started_total x\n");
    assert!(matches!(
        unpack(&malformed),
        Err(ReadError::Malformed { .. })
    ));
}

fn tokens() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "grpc_server_started_total",
        "grpc_server_handled_total",
        "{",
        "}",
        "\"",
        "\\",
        "=",
        ",",
        " ",
        "\n",
        "\r",
        "grpc_service",
        "grpc.health.v1.Health",
        "1",
        "-",
        "NaN",
        "1e308",
        "#",
        "\u{e9}",
        "\\n",
    ]);
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

/// Members of gzip that hold nothing can go on for ever.
#[test]
fn the_cap_is_on_what_comes_in_too() {
    let nothing = gzip(b"");
    let limits = Limits {
        body_bytes: 1000,
        ..Limits::default()
    };
    let wanted = Wanted {
        limits,
        ..Wanted::default()
    };
    let mut reader = Body::new(Encoding::Gzip, wanted);
    let members = limits.body_bytes / nothing.len();
    for _ in 0..members {
        assert_eq!(reader.feed(&nothing), Ok(()));
    }
    assert_eq!(reader.feed(&nothing), Err(ReadError::BodyTooLarge(1000)));
}

proptest! {
    #[test]
    fn never_panics_on_bytes(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let limits = Limits { body_bytes: 300, line_bytes: 50, series: 3 };
        let _ = read(&body, &Wanted { limits, ..Wanted::default() });
    }

    #[test]
    fn never_panics_on_what_looks_right_and_never_yields_nonsense(body in tokens()) {
        if let Ok(page) = read(body.as_bytes(), &Wanted::default()) {
            let counters = page.counters(MeterId::default());
            for sum in [counters.started, counters.handled].into_iter().flatten() {
                prop_assert!(sum.is_finite() && sum >= 0.0);
            }
        }
    }

    #[test]
    fn chunks_may_end_anywhere(body in tokens(), cut in 1_usize..9, ends in any::<bool>()) {
        let wanted = if ends { openmetrics() } else { Wanted::default() };
        let mut reader = Reader::new(wanted.clone());
        let fed = body.as_bytes().chunks(cut).try_for_each(|chunk| reader.feed(chunk));
        prop_assert_eq!(fed.and_then(|()| reader.finish()), read(body.as_bytes(), &wanted));
    }

    #[test]
    fn compressed_is_the_same_as_plain(body in tokens(), cut in 1_usize..9) {
        let packed = gzip(body.as_bytes());
        let mut reader = Body::new(Encoding::Gzip, Wanted::default());
        let fed = packed.chunks(cut).try_for_each(|chunk| reader.feed(chunk));
        prop_assert_eq!(fed.and_then(|()| reader.finish()), read(body.as_bytes(), &Wanted::default()));
    }

    #[test]
    fn never_panics_on_what_is_no_gzip(body in prop::collection::vec(any::<u8>(), 0..200), head in 0_usize..12) {
        let mut packed = gzip(b"grpc_server_started_total 1\n");
        packed.truncate(head);
        packed.extend(body);
        let mut reader = Body::new(Encoding::Gzip, Wanted::default());
        if reader.feed(&packed).is_ok() {
            let _ = reader.finish();
        }
    }
}
