//! Balances a tonic channel over all addresses of a name.
//!
//! tonic itself looks a name up only when it connects, and makes one connection. Here the name is looked up again and again,
//! whatever the servers do, and the channel is told what came and went: new pods are found within the interval and the time
//! to live of a DNS answer.

use std::collections::HashSet;
use std::error::Error as _;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::transport::channel::Change;
use tonic::transport::{Channel, Endpoint};

const LOOKUP: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(2);

/// A channel over all pods of `host:port`, which is looked up at the interval.
pub fn balanced(target: String, every: Duration) -> Channel {
    let (channel, changes) = Channel::balance_channel(64);
    tokio::spawn(async move {
        let mut known = HashSet::new();
        loop {
            // No answer, or an empty one, says more about DNS than about the pods: go on with those known.
            if let Ok(Ok(found)) = timeout(LOOKUP, lookup_host(&target)).await {
                let found: HashSet<SocketAddr> = found.collect();
                if !found.is_empty() && tell(&changes, &known, &found).await.is_none() {
                    return; // nobody uses the channel any more
                }
                if !found.is_empty() {
                    known = found;
                }
            }
            sleep(every).await;
        }
    });
    channel
}

async fn tell<S: BuildHasher>(
    changes: &Sender<Change<SocketAddr, Endpoint>>,
    known: &HashSet<SocketAddr, S>,
    found: &HashSet<SocketAddr, S>,
) -> Option<()> {
    for address in found.difference(known) {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
        let endpoint = endpoint.connect_timeout(CONNECT).tcp_nodelay(true);
        changes
            .send(Change::Insert(*address, endpoint))
            .await
            .ok()?;
    }
    for address in known.difference(found) {
        changes.send(Change::Remove(*address)).await.ok()?;
    }
    Some(())
}

/// Whether a call met a connection that was closing, and nobody has begun it: it may be made again, whatever it does.
///
/// Every connection ends at its age. Other libraries try such a call once more by themselves; tonic lets it fail, with
/// `CANCELLED` (operation was canceled) or `INTERNAL` (h2 protocol error).
pub fn not_begun(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let closing = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote() && (closing || refused);
        }
        let unsent = |error: &hyper::Error| error.is_canceled();
        if error.downcast_ref().is_some_and(unsent) {
            return true;
        }
        cause = error.source();
    }
    false
}
