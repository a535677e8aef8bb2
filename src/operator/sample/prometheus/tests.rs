//! One answer of a server on this machine to one query.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::balance::{MeterId, Target};

fn settings(url: &str) -> Settings {
    Settings {
        url: url.into(),
        token_file: None,
        ca_file: None,
        matchers: Vec::new(),
    }
}

pub(super) fn endpoint(ready_since: Timestamp) -> Endpoint {
    Endpoint {
        target: Target {
            uid: "u".into(),
            name: "a".into(),
            created: ready_since,
            ready_since,
            restarts: 0,
            capacity: None,
        },
        page: Err(ScrapeError::NoMetricsPort),
    }
}

/// What is told of pod `a` when Prometheus answers so, and what it was asked.
async fn told(
    answer: &str,
    body: &str,
    ready_since: Timestamp,
) -> (Result<Vec<Answer>, MetricsState>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prom/", listener.local_addr().unwrap());
    let settings = Settings {
        matchers: vec!["cluster=prod".into()],
        ..settings(&url)
    };
    let prometheus = Prometheus::new(&settings).unwrap();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {answer}\r\nlocation: http://169.254.169.254/\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = vec![0; 65536];
        let mut length = 0;
        while !String::from_utf8_lossy(&read[..length]).contains("%5D") {
            let more = stream.read(&mut read[length..]).await.unwrap();
            assert_ne!(more, 0);
            length += more;
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        read.truncate(length);
        String::from_utf8(read).unwrap()
    };
    let endpoints = [endpoint(ready_since)];
    let asked = Asked::of(&crate::api::GrpcBackend::default());
    let interval = Duration::from_secs(15);
    let (said, read) = tokio::join!(
        prometheus.answers("shop", &endpoints, &asked, interval),
        serve
    );
    (whole(said), read)
}

/// What is known of all pods, or why not of all.
pub(super) fn whole(
    (answers, obstacle): (Vec<Answer>, Option<MetricsState>),
) -> Result<Vec<Answer>, MetricsState> {
    obstacle.map_or(Ok(answers), Err)
}

fn hours_ago() -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(2)
}

fn sample(at: Timestamp) -> String {
    let seconds = at.as_second();
    let before = seconds - 15;
    format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"__name__":"grpc_server_started_total","pod":"a"}},"values":[[{before},"5"],[{seconds},"7"]]}}]}}}}"#
    )
}

#[tokio::test]
async fn the_pods_of_one_namespace_are_asked_for_by_post() {
    let now = Timestamp::now();
    let (said, asked) = told("200 OK", &sample(now), hours_ago()).await;
    assert!(
        asked.starts_with("POST /prom/api/v1/query HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(
        asked.contains(
            "%2Ccluster%3D%22prod%22%2Cnamespace%3D%22shop%22%2Cpod%3D%7E%22a%22%7D%5B120s%5D"
        ),
        "{asked}"
    );
    let said = said.unwrap().remove(0);
    assert_eq!(said.at.as_second(), now.as_second());
    let counters = said.page.unwrap().counters(MeterId::default());
    assert_eq!(counters.started, Some(7.0));
}

#[tokio::test]
async fn a_pod_that_is_not_read_or_no_more_is_told() {
    let empty = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    let minutes_ago = |minutes| Timestamp::now() - SignedDuration::from_mins(minutes);
    for (body, ready_since, expected) in [
        (
            empty.to_owned(),
            hours_ago(),
            Some(ScrapeError::NotInPrometheus),
        ),
        (empty.to_owned(), minutes_ago(1), None),
        (
            sample(minutes_ago(30)),
            hours_ago(),
            Some(ScrapeError::OldInPrometheus),
        ),
        // Of a pod before of that name.
        (sample(minutes_ago(5)), minutes_ago(1), None),
    ] {
        let (said, _) = told("200 OK", &body, ready_since).await;
        let said = said.unwrap().pop();
        assert_eq!(said.and_then(|said| said.page.err()), expected, "{body}");
    }
}

#[test]
fn a_pod_that_is_read_too_seldom_is_old_however_new_its_last_sample_is() {
    let now = Timestamp::now();
    let ago = |seconds| now - SignedDuration::from_secs(seconds);
    let old = |ready, before: Option<i64>, at| {
        let sample = answer::Sample {
            at: ago(at),
            before: before.map(ago),
            page: Err(crate::balance::exposition::ReadError::BodyTooLarge(1)),
        };
        let interval = Duration::from_secs(15);
        let said = said(&endpoint(ago(ready)), Some(sample), interval, now);
        said.unwrap().page.err() == Some(ScrapeError::OldInPrometheus)
    };
    for at in [0, 14, 29, 45, 59] {
        assert!(old(3600, Some(at + 60), at), "every 60 s, {at} s ago");
    }
    for at in [0, 14, 29] {
        assert!(!old(3600, Some(at + 30), at), "every 30 s, {at} s ago");
    }
    assert!(old(3600, None, 5), "none before in two minutes");
    assert!(!old(60, None, 5), "a new pod's first");
    assert!(
        !old(20, Some(80), 5),
        "the one before is of the process before"
    );
}

#[tokio::test]
async fn what_is_no_answer_is_named() {
    for (status, body, reason, words) in [
        ("302 Found", "", MetricsReason::ScrapeFailed, "redirect"),
        ("401 Unauthorized", "", MetricsReason::Refused, "token"),
        (
            "503 Service Unavailable",
            "",
            MetricsReason::ScrapeFailed,
            "HTTP status 503",
        ),
        (
            "200 OK",
            "<html>",
            MetricsReason::ScrapeFailed,
            "as a Prometheus does",
        ),
    ] {
        let (said, _) = told(status, body, hours_ago()).await;
        let obstacle = said.err().unwrap();
        assert_eq!(obstacle.reason, reason, "{status}");
        assert!(obstacle.message.contains(words), "{}", obstacle.message);
    }
}

#[tokio::test]
async fn fewer_pods_are_asked_for_where_the_answer_is_too_large() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let prometheus = Prometheus::new(&settings(&url)).unwrap();
    let serve = async |body: String| {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains("%5D") {
            assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0);
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        // What is too large is not read to its end.
        let _ = stream.write_all((head + &body).as_bytes()).await;
        String::from_utf8(read).unwrap()
    };
    let empty = r#"{"data":{"result":[]}}"#;
    let too_large = " ".repeat(ANSWER_BYTES + 1);
    let mut endpoints = [endpoint(hours_ago()), endpoint(hours_ago())];
    endpoints[1].target.name = "b".into();
    let asked = Asked::of(&crate::api::GrpcBackend::default());
    let interval = Duration::from_secs(15);
    let (said, queries) = tokio::join!(
        prometheus.answers("shop", &endpoints, &asked, interval),
        async {
            [
                serve(too_large.clone()).await,
                serve(empty.into()).await,
                serve(empty.into()).await,
            ]
        }
    );
    assert_eq!(whole(said).unwrap().len(), 2);
    for (query, pods) in queries.iter().zip(["a%7Cb", "b", "a"]) {
        assert!(query.contains(&format!("pod%3D%7E%22{pods}%22")), "{query}");
    }
    let alone = prometheus.answers("shop", &endpoints[..1], &asked, interval);
    let (said, _) = tokio::join!(alone, serve(too_large));
    let obstacle = whole(said).err().unwrap();
    assert!(
        obstacle.message.contains("too large"),
        "{}",
        obstacle.message
    );
}

/// For which pods, by queries, it was asked, and why not for all, where it answers with these statuses.
async fn of_queries(statuses: &[u16], interval: Duration) -> (Vec<bool>, Option<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let prometheus = Prometheus::new(&settings(&url)).unwrap();
    let serve = async {
        for status in statuses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            while !String::from_utf8_lossy(&read).contains("%5D") {
                assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0);
            }
            let body = r#"{"data":{"result":[]}}"#;
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}", body.len());
            let answer = format!("{head}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    let pod = |number: usize| {
        let mut endpoint = endpoint(hours_ago());
        endpoint.target.uid = format!("{number:03}");
        endpoint
    };
    let pods: Vec<Endpoint> = (0..4 * PODS).map(pod).collect();
    let asked = Asked::of(&crate::api::GrpcBackend::default());
    let ((mut answers, obstacle), ()) =
        tokio::join!(prometheus.answers("shop", &pods, &asked, interval), serve);
    answers.sort_by(|a, b| a.uid.cmp(&b.uid));
    assert_eq!(answers.len(), pods.len());
    let is_asked = |answer: &Answer| answer.page.as_ref().err() != Some(&ScrapeError::NotAsked);
    let chunks = answers.chunks(PODS).map(|some| {
        let asked = some.iter().filter(|answer| is_asked(answer)).count();
        assert!(asked == 0 || asked == PODS, "{asked} of a query's pods");
        asked > 0
    });
    (chunks.collect(), obstacle.map(|obstacle| obstacle.message))
}

/// From the last query's pods to the first's.
#[tokio::test]
async fn a_query_that_fails_costs_only_its_own_pods() {
    let interval = Duration::from_secs(15);
    for (statuses, asked, why) in [
        (&[200; 4][..], [true; 4], None),
        (
            &[200, 503, 200, 200],
            [true, true, false, true],
            Some("503"),
        ),
        (
            &[422, 200, 500, 200],
            [true, false, true, false],
            Some("422"),
        ),
        // Twice in a row: nobody asks for the others.
        (&[200, 503, 504], [false, false, false, true], Some("503")),
        (&[401, 401], [false; 4], Some("token")),
    ] {
        let (was_asked, obstacle) = of_queries(statuses, interval).await;
        assert_eq!(was_asked, asked, "{statuses:?}");
        let fits = match (&obstacle, why) {
            (Some(obstacle), Some(why)) => obstacle.contains(why),
            (obstacle, why) => obstacle.is_none() && why.is_none(),
        };
        assert!(fits, "{statuses:?}: {obstacle:?}");
    }
    // The time is over as it begins.
    let (was_asked, obstacle) = of_queries(&[], Duration::ZERO).await;
    assert_eq!(was_asked, [false; 4]);
    assert!(obstacle.unwrap().contains("more than two intervals"));
}

#[tokio::test]
async fn who_waits_too_long_for_a_place_is_told() {
    let prometheus = Prometheus::new(&settings("http://127.0.0.1:9090")).unwrap();
    let moment = Duration::from_millis(10);
    let mut held = Vec::new();
    for _ in 0..QUERIES {
        held.push(prometheus.place(moment).await.unwrap());
    }
    let obstacle = prometheus.place(moment).await.err().unwrap();
    assert_eq!(obstacle.reason, MetricsReason::ScrapeFailed);
    assert!(obstacle.message.contains("is busy"), "{}", obstacle.message);
    held.pop();
    assert!(prometheus.place(moment).await.is_ok());
}

#[test]
fn settings_that_cannot_be_meant_so_are_refused() {
    let with = |url: &str, token: bool| Settings {
        token_file: token.then(|| "/token".into()),
        ..settings(url)
    };
    for (settings, words) in [
        (with("prometheus:9090", false), "must begin with http://"),
        (with("ftp://prometheus", false), "must begin with http://"),
        (with("https://prometheus", false), "--prometheus-ca-file"),
        (with("http://prometheus", true), "only sent over TLS"),
        (with("", false), "no URL"),
        (with("http://prometheus:99999", false), "a port up to 65535"),
    ] {
        let error = Prometheus::new(&settings).err().unwrap();
        assert!(format!("{error:#}").contains(words), "{error:#}");
    }
    let matched = |matcher: &str| Settings {
        matchers: vec![matcher.into()],
        ..settings("http://[::1]:9090/prom")
    };
    assert!(Prometheus::new(&matched("cluster=prod")).is_ok());
    let error = Prometheus::new(&matched("cluster")).err().unwrap();
    let said = format!("{error:#}");
    assert!(said.starts_with("--prometheus-matchers: "), "{said}");
}
