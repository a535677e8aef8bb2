//! A program that serves the metrics pages of many pods, at whatever address it is asked under; inside of the cluster.
//!
//! What it serves is what a gRPC server wrote, with all its numbers rising as time goes on.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};

/// The first argument that makes this program the server.
pub const SERVE: &str = "serve-pages";
/// Where it says how often which page was asked for.
pub const COUNTS: &str = "/counts";
/// How often the numbers rise.
const STEP: Duration = Duration::from_secs(5);

/// Name, services of the server that the page is of, and whether it has histograms: as in benches/reader.
pub const PAGES: [(&str, u32, bool); 2] = [("10kB", 1, false), ("100kB", 9, true)];

/// Has the pages written into a directory, and gives their sizes.
pub fn write(root: &Path, directory: &Path) -> Result<Vec<usize>> {
    std::fs::create_dir_all(directory)?;
    let page = |(name, services, histogram): &(&str, u32, bool)| {
        let output = Command::new("go")
            .args(["run", "./pages"])
            .arg(format!("-services={services}"))
            .arg(format!("-histogram={histogram}"))
            .current_dir(root.join("benches/reader/go"))
            .env("GOWORK", "off")
            .env("GOTOOLCHAIN", "local")
            .output()
            .context("start go")?;
        let said = || format!("go failed: {}", String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), said());
        std::fs::write(directory.join(name), &output.stdout)?;
        Ok(output.stdout.len())
    };
    PAGES.iter().map(page).collect()
}

/// Serves them until it is killed.
pub async fn serve(address: SocketAddr, directory: &Path) -> Result<()> {
    let mut shelf = Shelf::default();
    for (name, ..) in PAGES {
        let text = std::fs::read_to_string(directory.join(name))?;
        shelf.pages.insert(format!("/{name}"), Page::new(text));
    }
    let shelf = Arc::new(shelf);
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(answer(stream, Arc::clone(&shelf)));
    }
}

async fn answer(stream: TcpStream, shelf: Arc<Shelf>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = shelf.answer(&request);
        async { Ok::<_, Infallible>(answer) }
    });
    // A client that goes away is no concern.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[derive(Default)]
struct Shelf {
    /// By path.
    pages: BTreeMap<String, Page>,
    /// Answers, by path and query: whoever asks may write there who it is.
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Shelf {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut counts = self.counts.lock();
        if request.uri().path() == COUNTS {
            let counts = serde_json::to_vec(&*counts).unwrap_or_default();
            return Response::new(Full::new(counts.into()));
        }
        let Some(page) = self.pages.get(request.uri().path()) else {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = StatusCode::NOT_FOUND;
            return answer;
        };
        *counts.entry(request.uri().to_string()).or_default() += 1;
        drop(counts);
        page.answer(request.headers())
    }
}

struct Page {
    text: String,
    since: Instant,
    /// As it is, and compressed, since so many steps.
    current: Mutex<Option<(u64, Bytes, Bytes)>>,
}

impl Page {
    fn new(text: String) -> Self {
        Self {
            text,
            since: Instant::now(),
            current: Mutex::default(),
        }
    }

    /// As servers do by default: compressed for who can read that.
    fn answer(&self, asked: &HeaderMap) -> Response<Full<Bytes>> {
        let accepts = asked.get(ACCEPT_ENCODING);
        let is_packed = accepts.is_some_and(|accepts| accepts.as_bytes().starts_with(b"gzip"));
        let (plain, packed) = self.now();
        let mut answer = Response::new(Full::new(if is_packed { packed } else { plain }));
        let headers = answer.headers_mut();
        let kind = "text/plain; version=0.0.4; charset=utf-8";
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
        if is_packed {
            let gzip = http::HeaderValue::from_static("gzip");
            headers.insert(CONTENT_ENCODING, gzip);
        }
        answer
    }

    fn now(&self) -> (Bytes, Bytes) {
        let steps = self.since.elapsed().as_secs() / STEP.as_secs();
        let mut current = self.current.lock();
        if let Some((of, plain, packed)) = &*current
            && *of == steps
        {
            return (plain.clone(), packed.clone());
        }
        let plain = Bytes::from(risen(&self.text, steps));
        let packed = Bytes::from(packed(&plain));
        *current = Some((steps, plain.clone(), packed.clone()));
        (plain, packed)
    }
}

/// The page with every number so many times more than it was, so that what rises goes on to rise.
fn risen(text: &str, steps: u64) -> String {
    let mut page = String::with_capacity(text.len() * 2);
    for line in text.lines() {
        let number = line.rsplit_once(' ').filter(|_| !line.starts_with('#'));
        let number = number.and_then(|(series, value)| Some((series, value.parse::<f64>().ok()?)));
        #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
        let _ = match number {
            Some((series, value)) => writeln!(page, "{series} {}", value * (steps + 1) as f64),
            None => writeln!(page, "{line}"),
        };
    }
    page
}

fn packed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // A Vec takes everything.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_words_stay() {
        let page = "# HELP x y 1\nx{le=\"+Inf\"} 2\nz 1.5e+09\nnan NaN\n";
        assert_eq!(
            risen(page, 1),
            "# HELP x y 1\nx{le=\"+Inf\"} 4\nz 3000000000\nnan NaN\n"
        );
    }
}
