//! `evenkeel probe`: whether an operator is at work, asked as a monitor asks.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use tokio::time::{Instant, sleep, timeout};

use super::run::duration;
use crate::operator::{Peer, exchange};

/// For one answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Between two questions.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes of the page: five thousand pods have a series each.
const PAGE_BYTES: usize = 16 << 20;

/// Asks for an operator's metrics until one that acts has answered: what `helm test` runs.
#[derive(Args)]
pub struct Probe {
    /// Where the metrics are, as http://HOST:8080/metrics. Behind a Service each question may reach another replica.
    url: Uri,
    /// How long to go on asking.
    #[arg(long, default_value = "1m", value_parser = duration)]
    within: Duration,
}

impl Probe {
    /// Asks until the end.
    pub fn main(self) -> anyhow::Result<()> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(self.until_one_acts())
    }

    async fn until_one_acts(self) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.within;
        loop {
            let answer = timeout(TIMEOUT, acts(&self.url)).await;
            let answer = answer.unwrap_or_else(|_| bail!("no answer in {} s", TIMEOUT.as_secs()));
            let Err(error) = answer else {
                println!("the operator at {} is at work", self.url);
                return Ok(());
            };
            if Instant::now() + PAUSE >= deadline {
                return Err(error).with_context(|| {
                    format!(
                        "no operator that is at work answered at {} within {} s",
                        self.url,
                        self.within.as_secs()
                    )
                });
            }
            sleep(PAUSE).await;
        }
    }
}

/// Whether the one that answers acts; an error says what is in the way.
async fn acts(url: &Uri) -> anyhow::Result<()> {
    const EXAMPLE: &str = "metrics are at a URL such as http://HOST:8080/metrics";
    ensure!(url.scheme_str() == Some("http"), EXAMPLE);
    let peer = Peer::of(url, 80).context(EXAMPLE)?;
    let stream = peer.connect().await;
    let stream = stream.context("no connection: see whether the Service has endpoints")?;
    let request = Request::get(url.path())
        .header(header::HOST, &peer.authority)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let page = exchange(stream, request, page, anyhow::Error::from).await?;
    ensure!(
        leads(&page),
        "the one that answers waits for the Lease: see who holds it"
    );
    Ok(())
}

async fn page(response: Response<Incoming>) -> anyhow::Result<String> {
    let status = response.status();
    ensure!(
        status == StatusCode::OK,
        "the answer has HTTP status {status}"
    );
    let page = Limited::new(response.into_body(), PAGE_BYTES)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("the page cannot be read: {error}"))?;
    Ok(String::from_utf8(page.to_bytes().into())?)
}

fn leads(page: &str) -> bool {
    page.lines().any(|line| line == "evenkeel_leader 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leads_is_read_from_the_page() {
        for (page, expected) in [
            (
                "# TYPE evenkeel_leader gauge\nevenkeel_leader 1\n# EOF\n",
                true,
            ),
            ("evenkeel_leader 0\n", false),
            ("evenkeel_leader 10\n", false),
            ("", false),
        ] {
            assert_eq!(leads(page), expected, "{page:?}");
        }
    }

    #[tokio::test]
    async fn where_nobody_answers_it_fails_and_says_where() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        drop(listener);
        let probe = Probe {
            url: url.parse().unwrap(),
            within: PAUSE,
        };
        let said = format!("{:#}", probe.until_one_acts().await.unwrap_err());
        assert!(said.contains(&url) && said.contains("endpoints"), "{said}");
    }
}
