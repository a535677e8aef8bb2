"""An Echo server whose connections have an age, and whose metrics say how many RPCs it served."""

import asyncio
import json
import os
import signal
import socket
import time

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import start_http_server

import echo_pb2
import echo_pb2_grpc
from metrics import CountRpcs

# After SIGTERM: serve on while endpoints and DNS forget this pod, then let calls finish.
DRAIN_SECONDS = 5
FINISH_SECONDS = 20


def milliseconds(variable):
    """A whole number from the environment; absent, empty and zero are none."""
    value = os.environ.get(variable, "")
    try:
        number = int(value or 0)
    except ValueError:
        number = -1
    if not 0 <= number < 2**31:
        raise SystemExit(f"{variable}: {value!r} is not a whole number of milliseconds")
    return number or None


def connection_options(age, grace):
    """gRPC spreads the age by a tenth, and without a grace lets calls go on for ever."""
    options = []
    if age:
        options.append(("grpc.max_connection_age_ms", age))
    if grace:
        options.append(("grpc.max_connection_age_grace_ms", grace))
    return options


def log(event, **fields):
    print(json.dumps({"t": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event} | fields), flush=True)


class Echo(echo_pb2_grpc.EchoServicer):
    """Answers with who it is."""

    def __init__(self, age):
        self.pod = os.environ.get("POD_NAME") or socket.gethostname()
        self.version = os.environ.get("VERSION", "")
        self.age = f"{age / 1000:g}s" if age else "none"

    def reply(self, message):
        return echo_pb2.EchoReply(message=message, pod=self.pod, version=self.version, connection_age=self.age)

    async def Echo(self, request, context):
        return self.reply(request.message)

    async def Watch(self, request, context):
        sent = 0
        while True:
            yield self.reply(request.message)
            sent += 1
            if sent == request.count:
                return
            await asyncio.sleep((request.interval_ms or 1000) / 1000)

    async def Chat(self, requests, context):
        async for request in requests:
            yield self.reply(request.message)


async def serve():
    age = milliseconds("MAX_CONNECTION_AGE_MILLISECONDS")
    grace = milliseconds("MAX_CONNECTION_AGE_GRACE_MILLISECONDS")
    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)

    server = grpc.aio.server(interceptors=[CountRpcs()], options=connection_options(age, grace))
    echo = Echo(age)
    echo_pb2_grpc.add_EchoServicer_to_server(echo, server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port(f"[::]:{os.environ.get('PORT', '8080')}")
    start_http_server(int(os.environ.get("METRICS_PORT", "9090")))
    await server.start()
    log("start", pod=echo.pod, version=echo.version, max_connection_age=echo.age)

    await terminated.wait()
    log("draining")
    await checks.enter_graceful_shutdown()
    await asyncio.sleep(DRAIN_SECONDS)
    await server.stop(FINISH_SECONDS)
    log("stopped")


if __name__ == "__main__":
    asyncio.run(serve())
