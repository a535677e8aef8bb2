use proptest::prelude::*;

use super::*;

const GO: &str = r#"# HELP grpc_server_started_total Total number of RPCs started on the server.
# TYPE grpc_server_started_total counter
go_goroutines 12
grpc_server_started_total{grpc_method="Get",grpc_service="rng.v1.Rng",grpc_type="unary"} 40
grpc_server_started_total{grpc_method="Watch",grpc_service="rng.v1.Rng",grpc_type="server_stream"} 2
grpc_server_started_total{grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 900
grpc_server_started_total{grpc_service="grpc.reflection.v1alpha.ServerReflection",grpc_method="Info"} 7
grpc_server_handled_total{grpc_code="OK",grpc_method="Get",grpc_service="rng.v1.Rng"} 3.9e1
grpc_server_started_total_other 5
grpc_server_handled_total{grpc_code="Unknown",grpc_method="Get",grpc_service="rng.v1.Rng"} 1 1395066363000
"#;

fn page(text: &str) -> Result<Counters, ReadError> {
    read(text.as_bytes(), Limits::default())
}

fn started(text: &str) -> Option<f64> {
    page(text).unwrap().started
}

fn flaw(text: &str) -> Flaw {
    match page(text) {
        Err(ReadError::Malformed { what, .. }) => what,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn sums_over_methods_without_health_and_reflection() {
    let counters = page(GO).unwrap();
    assert_eq!(
        counters,
        Counters {
            started: Some(42.0),
            handled: Some(40.0),
            streams: true,
            ..Counters::default()
        }
    );
    assert_eq!(counters.preferred(), Some(Family::Started));
    assert_eq!(counters.in_flight(), Some(2.0));
}

#[test]
fn connections_and_streams_are_told() {
    let counters = page(
        "grpc_tcp_connections_created_total{grpc_target=\"a\"} 7\n\
         grpc_tcp_connections_created_total{grpc_target=\"b\"} 1\n\
         grpc_tcp_connection_count 3\n\
         grpc_server_started_total{grpc_type=\"bidi_stream\",grpc_service=\"e.Echo\"} 0\n\
         grpc_server_started_total{grpc_type=\"server_stream\",grpc_service=\"grpc.health.v1.Health\"} 5\n",
    )
    .unwrap();
    assert_eq!(counters.connections(), Some((8.0, 3.0)));
    assert!(!counters.streams, "none was served but a health watch");
    let served = "grpc_server_started_total{grpc_type=\"bidi_stream\"} 1\n";
    assert!(page(served).unwrap().streams);
    assert_eq!(
        page("grpc_tcp_connection_count 3\n").unwrap().connections(),
        None
    );
}

#[test]
fn handled_is_used_where_there_is_no_started() {
    let counters = page("grpc_server_handled_total 3\n").unwrap();
    assert_eq!(counters.preferred(), Some(Family::Handled));
    assert_eq!(counters.in_flight(), None);
}

#[test]
fn a_family_at_zero_is_not_a_missing_family() {
    assert_eq!(started("go_goroutines 12\n"), None);
    assert_eq!(
        started("# TYPE grpc_server_started_total counter\n"),
        Some(0.0)
    );
    for comment in [
        "# grpc_server_started_total\n",
        "# HELP grpc_server_started_total RPCs\n",
        "# TYPE grpc_server_started_total_other counter\n",
        "# TYPE\n",
        "#\n",
    ] {
        assert_eq!(started(comment), None, "{comment}");
    }
    assert_eq!(
        started("grpc_server_started_total{grpc_service=\"a.B\"} 0\n"),
        Some(0.0)
    );
    assert_eq!(
        started("grpc_server_started_total{grpc_service=\"grpc.health.v1.Health\"} 9\n"),
        Some(0.0)
    );
}

#[test]
fn forms_that_the_format_allows() {
    for text in [
        "grpc_server_started_total 5",
        "grpc_server_started_total{} 5\r\n",
        "  grpc_server_started_total\t{ a = \"x\" , }\t5 \n",
        "grpc_server_started_total{a=\"} 7 \\\" \\\\\",b=\"\\n\"} +5\n",
        "grpc_server_started_total{\"dotted.name\"=\"x\"} 5.0\n",
        "grpc_server_started_total 5 # {trace_id=\"x\"} 1\n",
    ] {
        assert_eq!(started(text), Some(5.0), "{text}");
    }
}

#[test]
fn an_escaped_service_name_is_read_before_it_is_compared() {
    assert_eq!(
        started("grpc_server_started_total{grpc_service=\"grpc.health.v1.Healt\\h\"} 5\n"),
        Some(0.0)
    );
    assert_eq!(
        started("grpc_server_started_total{grpc_service=\"grpc.health.v1.Health\\\"\"} 5\n"),
        Some(5.0)
    );
}

#[test]
fn what_cannot_be_a_counter_spoils_the_page() {
    for text in ["NaN", "+Inf", "-Inf", "-1", "1e999"] {
        assert_eq!(
            flaw(&format!("grpc_server_started_total {text}\n")),
            Flaw::NotACount,
            "{text}"
        );
    }
    for text in [
        "grpc_server_started_total\n",
        "grpc_server_started_total five\n",
        "grpc_server_started_total{} \n",
    ] {
        assert_eq!(flaw(text), Flaw::Value, "{text}");
    }
    for labels in [
        "{",
        "{a}",
        "{a=}",
        "{a=\"x}",
        "{a=\"x\"",
        "{=\"x\"}",
        "{a=\"x\" b=\"y\"}",
        "{a=\"x\\\"}",
    ] {
        assert_eq!(
            flaw(&format!("grpc_server_started_total{labels} 1\n")),
            Flaw::Labels,
            "{labels}"
        );
    }
    assert_eq!(
        page("grpc_server_started_total 1e308\ngrpc_server_started_total 1e308\n"),
        Err(ReadError::Malformed {
            line: 3,
            what: Flaw::NotACount
        })
    );
}

#[test]
fn lines_of_other_families_are_not_checked() {
    assert_eq!(
        started("whatever{ NaN\n\u{fe}\n{\"x\"} -\ngrpc_server_started_total 1\n"),
        Some(1.0)
    );
}

#[test]
fn caps_are_errors() {
    let limits = Limits {
        body_bytes: 120,
        line_bytes: 60,
        series: 2,
    };
    let series = "grpc_server_started_total 1\n";
    assert!(read(series.repeat(2).as_bytes(), limits).is_ok());
    assert_eq!(
        read(series.repeat(3).as_bytes(), limits),
        Err(ReadError::TooManySeries(2))
    );
    assert_eq!(
        read(&[b'\n'; 121], limits),
        Err(ReadError::BodyTooLarge(120))
    );
    let long = "#".repeat(61);
    let refused = Err(ReadError::LineTooLong { line: 2, limit: 60 });
    assert_eq!(read(format!("\n{long}").as_bytes(), limits), refused);
    assert_eq!(read(format!("\n{long}\n").as_bytes(), limits), refused);
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

proptest! {
    #[test]
    fn never_panics_on_bytes(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&body, Limits { body_bytes: 300, line_bytes: 50, series: 3 });
    }

    #[test]
    fn never_panics_on_what_looks_right_and_never_yields_nonsense(body in tokens()) {
        if let Ok(counters) = read(body.as_bytes(), Limits::default()) {
            for sum in [counters.started, counters.handled].into_iter().flatten() {
                prop_assert!(sum.is_finite() && sum >= 0.0);
            }
        }
    }

    #[test]
    fn chunks_may_end_anywhere(body in tokens(), cut in 1_usize..9) {
        let mut reader = Reader::new(Limits::default());
        let fed = body.as_bytes().chunks(cut).try_for_each(|chunk| reader.feed(chunk));
        prop_assert_eq!(fed.and_then(|()| reader.finish()), read(body.as_bytes(), Limits::default()));
    }
}
