//! What nobody asked for costs no memory: the reader of metrics pages allocates nothing for a line that it passes over.
#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by it: the trace says where"
)]

use evenkeel::balance::MeterId;
use evenkeel::balance::exposition::{Format, Wanted, read};

/// A page of so many lines of each kind that nobody asked for, with one that is wanted before and one behind them.
fn page(lines: usize) -> String {
    let wanted = |service| format!("grpc_server_started_total{{grpc_service=\"{service}\"}} 5\n");
    let other = |line: usize| {
        format!(
            "# HELP http_requests_{line}_total Requests.\n\
             # TYPE http_requests_{line}_total counter\n\
             http_requests_{line}_total{{path=\"/a/{line}\",code=\"200\"}} {line}\n\
             grpc_server_handling_seconds_bucket{{grpc_service=\"a.B\",le=\"{line}\"}} {line}\n\
             process_open_fds {line}\n"
        )
    };
    let others: String = (0..lines).map(other).collect();
    wanted("a.A") + &others + &wanted("a.C") + "# EOF\n"
}

#[test]
fn lines_that_nobody_asked_for_cost_no_allocation() {
    for format in [Format::Text, Format::OpenMetrics] {
        let allocations = |lines| {
            let page = page(lines);
            let wanted = Wanted {
                format,
                ..Wanted::default()
            };
            let mut started = None;
            let seen = allocation_counter::measure(|| {
                let read = read(page.as_bytes(), &wanted).unwrap();
                started = read.counters(MeterId::default()).started;
            });
            assert_eq!(started, Some(10.0));
            seen.count_total
        };
        // The catalogue is read once.
        allocations(1);
        let (few, many) = (allocations(10), allocations(10_000));
        assert_eq!(few, many, "{format:?}");
        assert!(many < 100, "{many}");
    }
}
