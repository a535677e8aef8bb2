"""Calls Echo at a steady rate, balanced over all pods, and says on standard output who answered."""

import argparse
import asyncio
import json
import re
import signal
import time

import grpc

import echo_pb2
import echo_pb2_grpc
from report import Events, Totals, serve_totals

# How long calls may go on once no more are started.
END_BOUND = 2.0

RETRY = {
    "name": [{}],
    "retryPolicy": {
        "maxAttempts": 5,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    },
}


def channel_options(flags):
    """What makes a channel balance: without it all calls of a client go to one pod."""
    config = {"loadBalancingConfig": [{flags.policy: {}}]}
    if flags.retry:
        config["methodConfig"] = [RETRY]
    options = [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_http_proxy", 0),
        # Channels to one target would share their connections otherwise.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if flags.dns_min_interval:
        options.append(("grpc.dns_min_time_between_resolutions_ms", int(flags.dns_min_interval * 1000)))
    return options


class Load:
    """Starts calls by the clock, not by the end of earlier ones: waiting would hide an outage from its own figures."""

    def __init__(self, flags, totals, events):
        self.flags, self.totals, self.events = flags, totals, events
        self.open = set()
        self.stopped = asyncio.Event()

    async def run(self):
        channels = [
            grpc.aio.insecure_channel(self.flags.target, options=channel_options(self.flags))
            for _ in range(self.flags.connections)
        ]
        self.stubs = [echo_pb2_grpc.EchoStub(channel) for channel in channels]
        self.events.write("start", target=self.flags.target, policy=self.flags.policy, method="echo",
                          rate=self.flags.rate, connections=self.flags.connections)
        reports = asyncio.create_task(self.report())
        await self.pace()
        reports.cancel()
        await self.finish()
        for channel in channels:
            await channel.close()

    async def pace(self):
        begin, started, rate = time.monotonic(), 0, self.flags.rate
        while not await self.waits(max(1 / rate, 0.005)):
            elapsed = time.monotonic() - begin
            if self.flags.duration and elapsed >= self.flags.duration:
                return
            due = int(elapsed * rate)
            # What a stopped process missed is not made up for, but for a second's worth.
            late = due - started - int(rate) - 1
            if late > 0:
                self.totals.count("late", late)
                started += late
            for number in range(started, due):
                self.start(number)
            started = due

    async def waits(self, seconds):
        """Whether the end came meanwhile."""
        try:
            await asyncio.wait_for(self.stopped.wait(), seconds)
        except asyncio.TimeoutError:  # before Python 3.11 not the TimeoutError
            return False
        return True

    async def report(self):
        while True:
            await asyncio.sleep(self.flags.report_every)
            self.events.write("report", **self.totals.window(len(self.open)))

    def start(self, number):
        if len(self.open) >= self.flags.max_in_flight:
            self.totals.count("dropped")
            return
        self.totals.count("started")
        task = asyncio.create_task(self.call(self.stubs[number % len(self.stubs)]))
        self.open.add(task)
        self.totals.in_flight = len(self.open)
        task.add_done_callback(self.ended)

    def ended(self, task):
        self.open.discard(task)
        self.totals.in_flight = len(self.open)

    async def call(self, stub):
        begun = time.monotonic()
        try:
            reply = await stub.Echo(echo_pb2.EchoRequest(message="echo"), timeout=self.flags.deadline or None)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            self.totals.count_in("errors", code)
            self.events.error(code, int((time.monotonic() - begun) * 1000), error.details() or "")
            return
        self.totals.count("ok")
        if self.totals.reply(reply.pod):
            self.events.write("first_reply", backend=reply.pod, version=reply.version,
                              connection_age=reply.connection_age)

    async def finish(self):
        left = list(self.open)
        given_up = 0
        if left:
            _, pending = await asyncio.wait(left, timeout=END_BOUND)
            given_up = len(pending)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        self.totals.in_flight = given_up
        self.events.write("end", **self.totals.total())


UNITS = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}


def seconds(text):
    """A duration such as 2s, 100ms or 1m30s."""
    parts = re.findall(r"([0-9.]+)(ms|h|m|s)", text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 2s or 100ms")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--target", required=True, help="such as dns:///echo-headless.default.svc.cluster.local:8080")
    parser.add_argument("--policy", choices=["round_robin", "pick_first"], default="round_robin")
    parser.add_argument("--rate", type=float, default=50, help="calls started per second")
    parser.add_argument("--max-in-flight", type=int, default=1000)
    parser.add_argument("--deadline", type=seconds, default=2.0, help="of each call; 0s is none")
    parser.add_argument("--duration", type=seconds, default=0.0, help="0s is until SIGTERM")
    parser.add_argument("--connections", type=int, default=1, help="independent channels, used in turn")
    parser.add_argument("--report-every", type=seconds, default=1.0)
    parser.add_argument("--dns-min-interval", type=seconds, default=0.0, help="0s is the library's own 30s")
    parser.add_argument("--retry", action="store_true", help="try a call that ends UNAVAILABLE again")
    parser.add_argument("--http", help="address of GET /totals, POST /reset and GET /healthz, such as :8090")
    return parser.parse_args()


async def main():
    flags = parse()
    totals = Totals()
    if flags.http:
        serve_totals(flags.http, totals)
    load = Load(flags, totals, Events())
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, load.stopped.set)
    await load.run()


if __name__ == "__main__":
    asyncio.run(main())
