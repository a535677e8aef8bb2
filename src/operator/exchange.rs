//! One request on a connection of its own.

use std::io;

use http::uri::Authority;
use http::{Request, Response, Uri};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Whom a URL names.
#[derive(Clone, Debug)]
pub struct Peer {
    /// A name, or an address without the brackets of IPv6.
    pub host: String,
    port: u16,
    /// Both as a request names them.
    pub authority: String,
}

/// Why a URL names nobody.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoPeer {
    /// Such as a path alone.
    #[error("it names no host")]
    NoHost,
    /// A user, or what is no port.
    #[error("after the host there may be a port up to 65535, and nothing else")]
    NoPort,
}

impl Peer {
    /// `port`: where the URL has none.
    pub fn of(url: &Uri, port: u16) -> Result<Self, NoPeer> {
        let host = url.host().filter(|host| !host.is_empty());
        let host = host.ok_or(NoPeer::NoHost)?;
        let has_more = url.authority().map(Authority::as_str) != Some(host);
        if has_more && url.port_u16().is_none() {
            return Err(NoPeer::NoPort);
        }
        let port = url.port_u16().unwrap_or(port);
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority: format!("{host}:{port}"),
        })
    }

    /// The caller has the deadline.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect((self.host.as_str(), self.port)).await
    }
}

/// Sends the request and has its answer read; `failed` tells what an error of the connection means. Driven here rather than by a
/// task of its own: when the time is over nothing is left behind.
pub async fn exchange<S, B, T, E, R>(
    stream: S,
    request: Request<B>,
    read: impl FnOnce(Response<Incoming>) -> R,
    failed: impl Fn(hyper::Error) -> E,
) -> Result<T, E>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
    R: Future<Output = Result<T, E>>,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(&failed)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(&failed)?;
        read(response).await
    };
    // The answer is looked at first, since it has the better words for what has ended the connection.
    tokio::select! {
        biased;
        answer = answer => answer,
        Err(error) = connection => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_url_names() {
        for (url, host, authority) in [
            ("http://prometheus:9090/p", "prometheus", "prometheus:9090"),
            ("http://prometheus", "prometheus", "prometheus:80"),
            ("http://[::1]:4318", "::1", "[::1]:4318"),
        ] {
            let peer = Peer::of(&url.parse().unwrap(), 80).unwrap();
            assert_eq!((&*peer.host, &*peer.authority), (host, authority));
        }
        for (url, why) in [
            ("/metrics", NoPeer::NoHost),
            ("http://prometheus:99999", NoPeer::NoPort),
            ("http://me@prometheus", NoPeer::NoPort),
        ] {
            let nobody = Peer::of(&url.parse().unwrap(), 80).map(drop);
            assert_eq!(nobody, Err(why), "{url}");
        }
    }
}
