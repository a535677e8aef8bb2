//! Calls Echo at a steady rate, balanced over all pods, and says on standard output who answered.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use echo::discovery::{balanced, not_begun};
use echo::echo::echo_client::EchoClient;
use echo::echo::{EchoReply, EchoRequest};
use echo::report::{Totals, line};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// How long calls may go on once no more are started.
const END_BOUND: Duration = Duration::from_secs(2);

/// Of a call, with a retry policy.
const ATTEMPTS: u32 = 5;

/// Calls Echo at a steady rate, balanced over all pods.
#[derive(Parser)]
struct Flags {
    /// host:port, with or without dns:/// before it
    #[arg(long)]
    target: String,
    /// Time between two look-ups of the name
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    dns_interval: Duration,
    /// Calls started per second
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    #[arg(long, default_value_t = 1000)]
    max_in_flight: u64,
    /// Of each call; 0s is none
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    deadline: Duration,
    /// 0s is until SIGTERM
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Independent channels, used in turn
    #[arg(long, default_value_t = 1)]
    connections: usize,
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    report_every: Duration,
    /// Try a call that ends UNAVAILABLE again
    #[arg(long)]
    retry: bool,
    /// Address of GET /totals, POST /reset and GET /healthz, such as :8090
    #[arg(long)]
    http: Option<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let flags = Flags::parse();
    let totals = Totals::default();
    if let Some(address) = &flags.http {
        let any = if address.starts_with(':') { "[::]" } else { "" };
        let listener = TcpListener::bind(format!("{any}{address}")).await?;
        tokio::spawn(axum::serve(listener, totals.page()).into_future());
    }
    let target = flags.target.trim_start_matches("dns:///");
    let clients: Vec<EchoClient<Channel>> = (0..flags.connections.max(1))
        .map(|_| EchoClient::new(balanced(target.to_owned(), flags.dns_interval)))
        .collect();
    line(
        "start",
        json!({"target": flags.target, "policy": "p2c", "method": "echo", "rate": flags.rate, "connections": clients.len()}),
    );
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = pace(&flags, &clients, &totals) => {}
        () = report(flags.report_every, &totals) => {}
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        () = sleep(flags.duration), if !flags.duration.is_zero() => {}
    }
    // Those that last longer are given up, and stay in in_flight.
    let _ = timeout(END_BOUND, async {
        while totals.in_flight() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    line("end", totals.total(false));
    Ok(())
}

/// Starts calls by the clock, not by the end of earlier ones: waiting would hide an outage from its own figures.
async fn pace(flags: &Flags, clients: &[EchoClient<Channel>], totals: &Totals) {
    let mut ticks =
        interval(Duration::from_secs_f64(1.0 / flags.rate).max(Duration::from_millis(5)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (begin, mut due) = (Instant::now(), 0.0);
    for number in 0.. {
        // More than a second late: the process stood still, and what it missed is not made up for.
        let late = begin.elapsed().as_secs_f64() * flags.rate - due - flags.rate;
        if late >= 1.0 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count of calls"
            )]
            totals.late(late as u64);
            due += late.floor();
        }
        due += 1.0;
        while begin.elapsed().as_secs_f64() * flags.rate < due {
            ticks.tick().await;
        }
        if totals.in_flight() >= flags.max_in_flight {
            totals.dropped();
            continue;
        }
        totals.started();
        let client = clients[number % clients.len()].clone();
        tokio::spawn(call(client, totals.clone(), flags.deadline, flags.retry));
    }
}

async fn report(every: Duration, totals: &Totals) {
    let mut ticks = interval(every);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        line("report", totals.window());
    }
}

async fn call(client: EchoClient<Channel>, totals: Totals, deadline: Duration, retry: bool) {
    let begun = Instant::now();
    let attempts = if retry { ATTEMPTS } else { 1 };
    let answer = if deadline.is_zero() {
        persist(client, attempts).await
    } else {
        // A channel that has no address yet waits for one, which no timeout of the request itself ends.
        let late = |_| Err(Status::deadline_exceeded("no reply within the deadline"));
        timeout(deadline, persist(client, attempts))
            .await
            .unwrap_or_else(late)
    };
    match answer {
        Ok(reply) => {
            if totals.replied(&reply.pod) {
                line(
                    "first_reply",
                    json!({"backend": reply.pod, "version": reply.version, "connection_age": reply.connection_age}),
                );
            }
        }
        Err(status) => totals.failed(name(status.code()), begun, status.message()),
    }
}

/// What a retry policy does in other libraries: only for calls that may be made twice.
async fn persist(client: EchoClient<Channel>, attempts: u32) -> Result<EchoReply, Status> {
    let mut pause = Duration::from_millis(100);
    for _ in 1..attempts {
        match ask(client.clone()).await {
            Err(status) if status.code() == Code::Unavailable => sleep(pause).await,
            answer => return answer,
        }
        pause = (pause * 2).min(Duration::from_secs(1));
    }
    ask(client).await
}

/// Again while nobody has begun it, which other libraries do by themselves. A connection that is just closing may meet it
/// more than once.
async fn ask(mut client: EchoClient<Channel>) -> Result<EchoReply, Status> {
    let request = EchoRequest {
        message: "echo".into(),
    };
    let mut pause = Duration::from_millis(5);
    loop {
        let answer = client.echo(request.clone()).await;
        if answer.as_ref().is_err_and(not_begun) && pause < Duration::from_secs(1) {
            sleep(pause).await;
            pause *= 4;
        } else {
            return answer.map(tonic::Response::into_inner);
        }
    }
}

/// As every gRPC library documents it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
