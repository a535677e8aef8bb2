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

fn page(text: &str) -> Result<Counters, ReadError> {
    read_by(text, &Wanted::default(), "GrpcMiddleware")
}

fn openmetrics() -> Wanted {
    Wanted {
        format: Format::OpenMetrics,
        ..Wanted::default()
    }
}

fn read_by(text: &str, wanted: &Wanted, family: &str) -> Result<Counters, ReadError> {
    let page = read(text.as_bytes(), wanted)?;
    Ok(page.counters(MeterId::named(family).unwrap()))
}

/// The requests that a page tells by a family: those begun, else those ended.
fn requests(family: &str, text: &str) -> Option<f64> {
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

#[test]
fn every_family_leaves_out_what_is_no_load() {
    for (family, text, expected) in [
        (
            "GrpcOpenTelemetry",
            "grpc_server_call_started_total{grpc_method=\"a.B/C\"} 5\n\
             grpc_server_call_started_total{grpc_method=\"grpc.reflection.v1.ServerReflection/ServerReflectionInfo\"} 9\n",
            Some(5.0),
        ),
        (
            "OtelRpc",
            "rpc_server_call_duration_seconds_count{rpc_method=\"/grpc.health.v1.Health/Check\"} 9\n\
             rpc_server_call_duration_seconds_count{rpc_method=\"a.B/C\"} 5\n",
            Some(5.0),
        ),
        (
            "OtelRpcOld",
            "rpc_server_duration_milliseconds_count{rpc_service=\"grpc.health.v1.Health\",rpc_method=\"Check\"} 9\n\
             rpc_server_duration_milliseconds_count{rpc_service=\"a.B\",rpc_method=\"C\"} 5\n",
            Some(5.0),
        ),
        (
            "Dskit",
            "cortex_request_duration_seconds_count{method=\"gRPC\",route=\"/cortex.Ingester/Push\"} 5\n\
             cortex_request_duration_seconds_count{method=\"gRPC\",route=\"/grpc.health.v1.Health/Check\"} 9\n\
             cortex_request_duration_seconds_count{method=\"GET\",route=\"metrics\"} 9\n",
            Some(5.0),
        ),
        (
            "Dskit",
            "# TYPE loki_request_duration_seconds histogram\n\
             loki_request_duration_seconds_count{method=\"GET\",route=\"metrics\"} 9\n",
            None,
        ),
        (
            "AspNetCore",
            "http_server_request_duration_seconds_count{http_route=\"/a.B/C\",network_protocol_version=\"2\"} 5\n\
             http_server_request_duration_seconds_count{http_route=\"/metrics\",network_protocol_version=\"1.1\"} 9\n",
            Some(5.0),
        ),
        (
            "Linkerd",
            "request_total{direction=\"inbound\",target_addr=\"10.0.0.1:8080\"} 5\n\
             request_total{direction=\"inbound\",target_addr=\"0.0.0.0:4191\"} 9\n\
             request_total{direction=\"outbound\",target_addr=\"10.0.0.2:8080\"} 9\n",
            Some(5.0),
        ),
        (
            "Istio",
            "istio_requests_total{reporter=\"destination\",request_protocol=\"grpc\"} 5\n\
             istio_requests_total{reporter=\"destination\",request_protocol=\"http\"} 9\n\
             istio_requests_total{reporter=\"source\",request_protocol=\"grpc\"} 9\n",
            Some(5.0),
        ),
        (
            "Envoy",
            "envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix=\"inbound_0.0.0.0_8080\"} 5\n\
             envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix=\"admin\"} 9\n",
            Some(5.0),
        ),
    ] {
        assert_eq!(requests(family, text), expected, "{family}: {text}");
    }
}

#[test]
fn requests_under_way_are_told_by_a_gauge_where_there_is_one() {
    let text = "cortex_request_duration_seconds_count{method=\"gRPC\",route=\"/a.B/C\"} 5\n\
                cortex_inflight_requests{method=\"gRPC\",route=\"/a.B/C\"} 3\n\
                cortex_inflight_requests{method=\"gRPC\",route=\"/a.B/D\"} -1\n\
                cortex_inflight_requests{method=\"gRPC\",route=\"/grpc.health.v1.Health/Watch\"} 7\n";
    let counters = read_by(text, &Wanted::default(), "Dskit").unwrap();
    assert_eq!(counters.in_flight(), Some(3.0));
}

#[test]
fn kestrel_counts_the_connections_that_ended() {
    let text = "kestrel_connection_duration_seconds_count{server_port=\"80\"} 5\n\
                kestrel_active_connections{server_port=\"80\"} 3\n";
    assert_eq!(page(text).unwrap().connections(), Some((8.0, 3.0)));
}

#[test]
fn the_user_s_labels_tell_one_server_from_another() {
    let wanted = Wanted {
        labels: [Condition::equals("grpc_service", "a.B")].into(),
        ..Wanted::default()
    };
    let read = |text: &str| read_by(text, &wanted, "GrpcMiddleware").unwrap().started;
    assert_eq!(
        read(
            "grpc_server_started_total{grpc_service=\"a.B\"} 5\ngrpc_server_started_total{grpc_service=\"a.C\"} 9\n"
        ),
        Some(5.0)
    );
    // Not there yet is not the same as zero.
    assert_eq!(
        read(
            "# TYPE grpc_server_started_total counter\ngrpc_server_started_total{grpc_service=\"a.C\"} 9\n"
        ),
        None
    );
}

#[test]
fn the_user_s_labels_are_not_asked_of_connections() {
    let wanted = Wanted {
        labels: [Condition::equals("grpc_service", "a.B")].into(),
        ..Wanted::default()
    };
    let text = "# TYPE grpc_tcp_connections_created counter\n\
                grpc_tcp_connections_created_total{server=\"x\"} 5\ngrpc_tcp_connection_count 3\n";
    let counters = read_by(text, &wanted, "GrpcMiddleware").unwrap();
    assert_eq!(counters.connections(), Some((5.0, 3.0)));
}
