use super::*;
use crate::balance::MeterId;

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

pub(super) fn page(text: &str) -> Result<Counters, ReadError> {
    read_by(text, &Wanted::default(), "GrpcMiddleware")
}

fn openmetrics() -> Wanted {
    Wanted {
        format: Format::OpenMetrics,
        ..Wanted::default()
    }
}

pub(super) fn read_by(text: &str, wanted: &Wanted, family: &str) -> Result<Counters, ReadError> {
    let page = read(text.as_bytes(), wanted)?;
    Ok(page.counters(MeterId::named(family).unwrap()))
}

/// The requests that a page tells by a family: those begun, else those ended.
pub(super) fn requests(family: &str, text: &str) -> Option<f64> {
    let counters = read_by(text, &Wanted::default(), family).unwrap();
    counters.get(counters.preferred()?)
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
            spelling: counters.spelling,
            ..Counters::default()
        }
    );
    assert_eq!(counters.name(Family::Started), "grpc_server_started_total");
    assert_eq!(counters.name(Family::Handled), "grpc_server_handled_total");
    assert_eq!(counters.preferred(), Some(Family::Started));
    assert_eq!(counters.in_flight(), Some(2.0));
}

/// As Micrometer writes its timers, where it was asked for quantiles.
#[test]
fn a_summary_is_counted_by_its_count() {
    let text = "# HELP grpc_server_processing_duration_seconds The total time\n\
                # TYPE grpc_server_processing_duration_seconds summary\n\
                grpc_server_processing_duration_seconds{method=\"C\",service=\"a.B\",quantile=\"0.5\"} 70\n\
                grpc_server_processing_duration_seconds{method=\"C\",service=\"a.B\",quantile=\"0.99\"} 90\n\
                grpc_server_processing_duration_seconds_count{method=\"C\",service=\"a.B\"} 5\n\
                grpc_server_processing_duration_seconds_sum{method=\"C\",service=\"a.B\"} 300\n\
                # EOF\n";
    for wanted in [Wanted::default(), openmetrics()] {
        let counters = read_by(text, &wanted, "Micrometer").unwrap();
        assert_eq!((counters.started, counters.handled), (None, Some(5.0)));
    }
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
        "{\"grpc_server_started_total\"} 5\n",
        "{ \"grpc_server_started_total\" , a=\"x\",} 5 1395066363000\n",
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
        "{,}",
        "{a=\"x\",,}",
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
    let limits = Wanted {
        limits: Limits {
            body_bytes: 120,
            line_bytes: 60,
            series: 2,
        },
        ..Wanted::default()
    };
    let limits = &limits;
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

#[test]
fn openmetrics_is_read_to_its_end() {
    let whole = "# TYPE grpc_server_started counter\n\
         # UNIT grpc_server_started requests\n\
         grpc_server_started_total{grpc_service=\"a.B\"} 5.0 1520879607.789 # {trace_id=\"KOO5S4vxi0o\"} 0.67 1520879607.7\n\
         grpc_server_started_created{grpc_service=\"a.B\"} 1520430000.123\n\
         # TYPE grpc_server_handling_seconds histogram\n\
         grpc_server_handling_seconds_bucket{grpc_service=\"a.B\",le=\"+Inf\"} 3 # {} 9.8 1520879607.789\n\
         grpc_server_handling_seconds_count{grpc_service=\"a.B\"} 3\n\
         # EOF\n";
    let read = |text: &str| read_by(text, &openmetrics(), "GrpcMiddleware");
    let counters = read(whole).unwrap();
    assert_eq!((counters.started, counters.handled), (Some(5.0), Some(3.0)));
    assert_eq!(
        counters.name(Family::Handled),
        "grpc_server_handling_seconds_count"
    );
    assert_eq!(read(&whole.replace("# EOF\n", "# EOF")).unwrap(), counters);
    assert_eq!(read(&whole.replace("# EOF\n", "")), Err(ReadError::CutOff));
    assert_eq!(read(&whole[..200]), Err(ReadError::CutOff));
    let behind = read(&format!("{whole}a 1\n"));
    assert!(
        matches!(
            behind,
            Err(ReadError::Malformed {
                what: Flaw::AfterTheEnd,
                line: 9
            })
        ),
        "{behind:?}"
    );
    // In the older format it is a comment like any other.
    assert_eq!(page(&format!("# EOF\n{GO}")).unwrap().started, Some(42.0));
    let declared = "# TYPE grpc_server_started counter\n# EOF\n";
    assert_eq!(read(declared).unwrap().started, Some(0.0));
}

#[test]
fn names_with_dots_are_read_in_quotes() {
    let text = "# TYPE \"grpc.server.call.started\" counter\n\
         {\"grpc.server.call.started\",\"grpc.method\"=\"a.B/C\"} 5\n\
         {\"grpc.server.call.started\",\"grpc.method\"=\"grpc.health.v1.Health/Check\"} 90\n\
         {\"grpc.server.call.duration_seconds_count\",\"grpc.method\"=\"a.B/C\"} 4\n\
         {\"something else\",\"grpc.method\"=\"a.B/C\"} x\n\
         {\"a\"=\"grpc.server.call.started\"} x\n";
    let counters = read_by(text, &Wanted::default(), "GrpcOpenTelemetry").unwrap();
    assert_eq!((counters.started, counters.handled), (Some(5.0), Some(4.0)));
    assert_eq!(counters.name(Family::Started), "grpc.server.call.started");
    for broken in [
        "{\"grpc_server_started_total\" 5\n",
        "{\"grpc_server_started_total\",} 5\n{\"grpc_server_started_total\" a=\"x\"} 5\n",
    ] {
        assert_eq!(flaw(broken), Flaw::Labels, "{broken}");
    }
}

#[test]
fn of_two_spellings_one_counts() {
    let text = "grpc_server_handled_total 7\ngrpc_server_handling_seconds_count 7\n";
    assert_eq!(page(text).unwrap().handled, Some(7.0));
}
