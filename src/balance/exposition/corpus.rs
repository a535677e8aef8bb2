//! Pages as real libraries write them. `go.*` is client_golang with go-grpc-middleware, `python.*` is prometheus_client with the metrics
//! of py-grpc-prometheus; `.txt` is Prometheus text, `.om` OpenMetrics. Rust's prometheus-client writes its page within the test.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Metric;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::*;
use crate::balance::MeterId;

fn counters(page: &[u8], format: Format) -> Counters {
    let wanted = Wanted {
        format,
        ..Wanted::default()
    };
    let whole = read(page, &wanted).unwrap();
    for cut in [1, 7, 4096] {
        let mut reader = Reader::new(wanted.clone());
        for chunk in page.chunks(cut) {
            reader.feed(chunk).unwrap();
        }
        assert_eq!(reader.finish().unwrap(), whole, "in pieces of {cut} bytes");
    }
    let names: Vec<&str> = whole
        .meters()
        .filter_map(|id| Some(id.meter()?.name.as_str()))
        .collect();
    assert_eq!(names, ["GrpcMiddleware"]);
    whole.counters(MeterId::default())
}

#[test]
fn go_s_pages() {
    // 10, 20, 30 and 40 calls; 90 health checks are left out.
    for (page, format) in [
        (&include_bytes!("corpus/go.txt")[..], Format::Text),
        (&include_bytes!("corpus/go.om")[..], Format::OpenMetrics),
    ] {
        let said = counters(page, format);
        assert_eq!((said.started, said.handled), (Some(100.0), Some(100.0)));
        assert_eq!(said.name(Family::Handled), "grpc_server_handled_total");
        assert!(!said.streams);
    }
}

#[test]
fn python_s_pages() {
    // 42, 5 and 3 calls, of which two streams go on; one method's name needs escapes.
    for (page, format) in [
        (&include_bytes!("corpus/python.txt")[..], Format::Text),
        (&include_bytes!("corpus/python.om")[..], Format::OpenMetrics),
    ] {
        let said = counters(page, format);
        assert_eq!((said.started, said.handled), (Some(50.0), Some(48.0)));
        assert_eq!(said.in_flight(), Some(2.0));
        assert!(said.streams);
    }
}

#[test]
fn rust_s_page() {
    type Labels = Vec<(&'static str, String)>;
    let labels = |service: &str| -> Labels {
        vec![
            ("grpc_service", service.to_owned()),
            ("grpc_method", "Roll \"twice\"\n".to_owned()),
        ]
    };
    let mut registry = Registry::default();
    let started = Metric::<Labels, Counter>::default();
    let took =
        Metric::<Labels, Histogram>::new_with_constructor(|| Histogram::new([0.01, 0.1, 1.0]));
    registry.register("grpc_server_started", "RPCs started", started.clone());
    registry.register_with_unit("grpc_server_handling", "Time", Unit::Seconds, took.clone());
    let page = |registry: &Registry| {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    };
    started.get_or_create(&labels("acme.Rng")).inc_by(7);
    started
        .get_or_create(&labels("grpc.health.v1.Health"))
        .inc_by(90);
    took.get_or_create(&labels("acme.Rng")).observe(0.2);
    let said = counters(page(&registry).as_bytes(), Format::OpenMetrics);
    assert_eq!((said.started, said.handled), (Some(7.0), Some(1.0)));
    assert_eq!(
        said.name(Family::Handled),
        "grpc_server_handling_seconds_count"
    );
}
