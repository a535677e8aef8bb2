// Counts RPCs under the names that go-grpc-prometheus made usual, and shows them as OpenMetrics.
import http from 'node:http';
import grpc from '@grpc/grpc-js';
import prometheus from 'prom-client';

const registry = new prometheus.Registry();
registry.setContentType(prometheus.Registry.OPENMETRICS_CONTENT_TYPE);
const labelNames = ['grpc_type', 'grpc_service', 'grpc_method'];
const started = new prometheus.Counter({
  name: 'grpc_server_started', help: 'RPCs begun on the server', labelNames, registers: [registry],
});
const handled = new prometheus.Counter({
  name: 'grpc_server_handled', help: 'RPCs ended on the server',
  labelNames: [...labelNames, 'grpc_code'], registers: [registry],
});

function type({ requestStream, responseStream }) {
  if (requestStream) return responseStream ? 'bidi_stream' : 'client_stream';
  return responseStream ? 'server_stream' : 'unary';
}

// As in Go: OK, DeadlineExceeded.
function codeName(code) {
  const name = grpc.status[code] ?? 'UNKNOWN';
  return name === 'OK' ? name : name.toLowerCase().replace(/(?:^|_)(.)/g, (_, letter) => letter.toUpperCase());
}

// An interceptor that counts the methods of these services. What else somebody asks for would make series without end.
export function countRpcs(...services) {
  const known = new Set(services.flatMap((service) => Object.values(service).map(({ path }) => path)));
  return (method, call) => {
    if (!known.has(method.path)) return new grpc.ServerInterceptingCall(call);
    const [, grpc_service, grpc_method] = method.path.split('/');
    const labels = { grpc_type: type(method), grpc_service, grpc_method };
    started.inc(labels);
    let ended = false;
    const end = (code) => {
      if (!ended) handled.inc({ ...labels, grpc_code: codeName(code) });
      ended = true;
    };
    const listener = new grpc.ServerListenerBuilder().withOnCancel(() => end(grpc.status.CANCELLED)).build();
    const responder = new grpc.ResponderBuilder()
      .withStart((next) => next(listener))
      .withSendStatus((status, next) => {
        end(status.code);
        next(status);
      })
      .build();
    return new grpc.ServerInterceptingCall(call, responder);
  };
}

export function serveMetrics(port) {
  const server = http.createServer(async (request, response) => {
    if (request.url !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    const page = await registry.metrics();
    response.writeHead(200, { 'Content-Type': registry.contentType }).end(page);
  });
  return server.listen(port);
}
