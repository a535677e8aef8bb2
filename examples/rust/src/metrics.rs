//! Counts RPCs under the names that go-grpc-prometheus made usual, and shows them as OpenMetrics.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

/// The methods of this server. What else somebody asks for is not counted: it would make series without end.
const METHODS: [(&str, &str, &str); 5] = [
    ("evenkeel.echo.v1.Echo", "Echo", "unary"),
    ("evenkeel.echo.v1.Echo", "Watch", "server_stream"),
    ("evenkeel.echo.v1.Echo", "Chat", "bidi_stream"),
    ("grpc.health.v1.Health", "Check", "unary"),
    ("grpc.health.v1.Health", "Watch", "server_stream"),
];

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Method {
    grpc_service: &'static str,
    grpc_method: &'static str,
    grpc_type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    grpc_service: &'static str,
    grpc_method: &'static str,
    grpc_type: &'static str,
    grpc_code: String,
}

/// The counters, and the layer that feeds them.
#[derive(Clone, Default)]
pub struct Rpcs {
    started: Family<Method, Counter>,
    handled: Family<Ended, Counter>,
}

impl Rpcs {
    /// The counters, registered.
    pub fn register(registry: &mut Registry) -> Self {
        let rpcs = Self::default();
        let (started, handled) = (rpcs.started.clone(), rpcs.handled.clone());
        registry.register("grpc_server_started", "RPCs begun on the server", started);
        registry.register("grpc_server_handled", "RPCs ended on the server", handled);
        rpcs
    }

    fn begin(&self, path: &str) -> Option<Rpc> {
        let (service, name) = path.strip_prefix('/')?.split_once('/')?;
        let (grpc_service, grpc_method, grpc_type) = METHODS
            .into_iter()
            .find(|known| (known.0, known.1) == (service, name))?;
        let method = Method {
            grpc_service,
            grpc_method,
            grpc_type,
        };
        self.started.get_or_create(&method).inc();
        Some(Rpc {
            handled: self.handled.clone(),
            method,
            code: None,
        })
    }
}

/// One RPC. It has ended when this is dropped; without a code its client gave it up.
struct Rpc {
    handled: Family<Ended, Counter>,
    method: Method,
    code: Option<Code>,
}

impl Drop for Rpc {
    fn drop(&mut self) {
        let Method {
            grpc_service,
            grpc_method,
            grpc_type,
        } = self.method;
        // As in Go: OK, DeadlineExceeded.
        let code = match self.code.unwrap_or(Code::Cancelled) {
            Code::Ok => "OK".to_owned(),
            code => format!("{code:?}"),
        };
        let ended = Ended {
            grpc_service,
            grpc_method,
            grpc_type,
            grpc_code: code,
        };
        self.handled.get_or_create(&ended).inc();
    }
}

impl<S> Layer<S> for Rpcs {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            rpcs: Arc::new(self.clone()),
        }
    }
}

/// A service whose RPCs are counted.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    rpcs: Arc<Rpcs>,
}

impl<S> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let rpc = self.rpcs.begin(request.uri().path());
        let response = self.inner.call(request);
        Box::pin(async move {
            let mut response = response.await?;
            if let Some(mut rpc) = rpc {
                // An RPC that fails at once says so in the headers, all others in the trailers.
                rpc.code = Status::from_header_map(response.headers()).map(|status| status.code());
                response = response.map(|inner| Body::new(CountedBody { inner, rpc }));
            }
            Ok(response)
        })
    }
}

struct CountedBody {
    inner: Body,
    rpc: Rpc,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.rpc.code = Status::from_header_map(trailers).map(|status| status.code());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
