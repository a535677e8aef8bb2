//! What each family counts, and what it leaves out.

use std::collections::BTreeSet;

use super::tests::{page, read_by, requests};
use super::*;
use crate::balance::MeterId;

#[test]
fn every_family_leaves_out_what_is_no_load() {
    let cases = [
        (
            "GrpcMiddleware",
            "grpc_server_started_total{grpc_service=\"a.B\",grpc_method=\"C\"} 5\n\
             grpc_server_started_total{grpc_service=\"grpc.health.v1.Health\",grpc_method=\"Check\"} 9\n",
            Some(5.0),
        ),
        (
            "PrometheusNet",
            "grpc_requests_received_total{service=\"a.B\",method=\"C\"} 5\n\
             grpc_requests_received_total{service=\"grpc.health.v1.Health\",method=\"Check\"} 9\n",
            Some(5.0),
        ),
        (
            "Micrometer",
            "grpc_server_processing_duration_seconds_count{service=\"a.B\",method=\"C\",methodType=\"UNARY\",statusCode=\"OK\"} 2\n\
             grpc_server_processing_duration_seconds_count{service=\"a.B\",method=\"D\",methodType=\"SERVER_STREAMING\",statusCode=\"OK\"} 3\n\
             grpc_server_processing_duration_seconds_count{service=\"grpc.health.v1.Health\",method=\"Check\",methodType=\"UNARY\",statusCode=\"OK\"} 9\n",
            Some(5.0),
        ),
        (
            "MicrometerObservation",
            "grpc_server_seconds_count{rpc_service=\"a.B\",rpc_method=\"C\",rpc_type=\"UNARY\"} 2\n\
             grpc_server_seconds_count{rpc_service=\"a.B\",rpc_method=\"D\",rpc_type=\"BIDI_STREAMING\"} 3\n\
             grpc_server_seconds_count{rpc_service=\"grpc.health.v1.Health\",rpc_method=\"Watch\",rpc_type=\"SERVER_STREAMING\"} 9\n",
            Some(5.0),
        ),
        (
            "MicrometerMessages",
            "grpc_server_requests_received_messages_total{service=\"a.B\",method=\"C\",methodType=\"UNARY\"} 2\n\
             grpc_server_requests_received_messages_total{service=\"a.B\",method=\"D\",methodType=\"CLIENT_STREAMING\"} 3\n\
             grpc_server_requests_received_messages_total{service=\"grpc.reflection.v1.ServerReflection\",method=\"ServerReflectionInfo\",methodType=\"BIDI_STREAMING\"} 9\n",
            Some(5.0),
        ),
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
    ];
    for (family, text, expected) in cases {
        assert_eq!(requests(family, text), expected, "{family}: {text}");
    }
    let told: BTreeSet<&str> = cases.iter().map(|(family, ..)| *family).collect();
    let known = MeterId::all().filter_map(MeterId::meter);
    assert_eq!(told, known.map(|meter| meter.name.as_str()).collect());
}

/// Long calls are looked for where a page tells of them.
#[test]
fn a_stream_is_told_by_its_method_unless_it_is_no_load() {
    for (family, name, service, kind) in [
        (
            "GrpcMiddleware",
            "grpc_server_started_total",
            "grpc_service",
            "grpc_type",
        ),
        (
            "Micrometer",
            "grpc_server_processing_duration_seconds_count",
            "service",
            "methodType",
        ),
        (
            "MicrometerObservation",
            "grpc_server_seconds_count",
            "rpc_service",
            "rpc_type",
        ),
        (
            "MicrometerMessages",
            "grpc_server_requests_received_messages_total",
            "service",
            "methodType",
        ),
    ] {
        let streams = |of: &str, is: &str| {
            let text = format!("{name}{{{service}=\"{of}\",{kind}=\"{is}\"}} 1\n");
            read_by(&text, &Wanted::default(), family).unwrap().streams
        };
        assert!(streams("a.B", "SERVER_STREAMING"), "{family}");
        assert!(!streams("a.B", "UNARY"), "{family}");
        assert!(
            !streams("grpc.health.v1.Health", "SERVER_STREAMING"),
            "{family}"
        );
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

/// Of what the family itself asks for as well: on one page are HTTP requests, and the gRPC services of all servers of the process.
#[test]
fn the_user_s_labels_take_one_route_of_a_page_that_has_all() {
    let wanted = Wanted {
        labels: [Condition::equals("route", "/a.B/C")].into(),
        ..Wanted::default()
    };
    let text = "cortex_request_duration_seconds_count{method=\"gRPC\",route=\"/a.B/C\"} 5\n\
                cortex_request_duration_seconds_count{method=\"GET\",route=\"/a.B/C\"} 7\n\
                cortex_request_duration_seconds_count{method=\"gRPC\",route=\"/a.B/D\"} 9\n\
                cortex_inflight_requests{method=\"gRPC\",route=\"/a.B/C\"} 2\n\
                cortex_inflight_requests{method=\"gRPC\",route=\"/a.B/D\"} 4\n";
    let counters = read_by(text, &wanted, "Dskit").unwrap();
    assert_eq!(
        (counters.handled, counters.in_flight()),
        (Some(5.0), Some(2.0))
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
