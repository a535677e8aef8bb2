//! One request on a connection of its own.

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

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
