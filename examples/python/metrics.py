"""Counts RPCs under the names that go-grpc-prometheus made usual."""

import grpc
from prometheus_client import Counter

LABELS = ["grpc_type", "grpc_service", "grpc_method"]
STARTED = Counter("grpc_server_started", "RPCs begun on the server.", LABELS)
HANDLED = Counter("grpc_server_handled", "RPCs ended on the server, whatever their outcome.", [*LABELS, "grpc_code"])

KINDS = {
    (False, False): ("unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("server_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("client_stream", grpc.stream_unary_rpc_method_handler),
    (True, True): ("bidi_stream", grpc.stream_stream_rpc_method_handler),
}


class CountRpcs(grpc.aio.ServerInterceptor):
    """Wraps the handler of every method of grpc.aio."""

    async def intercept_service(self, continuation, details):
        handler = await continuation(details)
        if handler is None:
            return None
        kind, method_handler = KINDS[handler.request_streaming, handler.response_streaming]
        labels = [kind, *details.method.lstrip("/").split("/", 1)]
        behavior = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        wrapped = counted_stream if handler.response_streaming else counted
        return method_handler(
            wrapped(behavior, labels),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


class Count:
    """One RPC, from its begin to its end."""

    def __init__(self, labels, context):
        self.labels = labels
        self.context = context

    def __enter__(self):
        STARTED.labels(*self.labels).inc()

    def __exit__(self, kind, error, trace):
        # A context has no code unless the method set one: then all is well.
        code = self.context.code() or grpc.StatusCode.OK
        if kind is not None and code == grpc.StatusCode.OK:
            code = grpc.StatusCode.CANCELLED if self.context.cancelled() else grpc.StatusCode.UNKNOWN
        name = code.name if isinstance(code, grpc.StatusCode) else grpc_name(code)
        # As in Go: OK, DeadlineExceeded.
        HANDLED.labels(*self.labels, "OK" if name == "OK" else name.title().replace("_", "")).inc()


def grpc_name(number):
    """The name of a code that the library gives as a number."""
    return next((code.name for code in grpc.StatusCode if code.value[0] == number), "UNKNOWN")


def counted(behavior, labels):
    async def call(request, context):
        with Count(labels, context):
            return await behavior(request, context)

    return call


def counted_stream(behavior, labels):
    async def call(request, context):
        with Count(labels, context):
            async for reply in behavior(request, context):
                yield reply

    return call
