"""What the client has seen: sums, JSON lines, and a page for whoever asks."""

import json
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_ERRORS_PER_SECOND = 20
MAX_MESSAGE = 300


def stamp():
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")


class Stretch:
    """Sums since a moment."""

    def __init__(self):
        self.since = time.monotonic()
        self.sums = {"started": 0, "ok": 0, "dropped": 0, "late": 0}
        self.by_name = {"replies": {}, "errors": {}}

    def report(self, in_flight):
        since = int((time.monotonic() - self.since) * 1000)
        copies = {name: dict(counts) for name, counts in self.by_name.items()}
        return {"since_ms": since, **self.sums, **copies, "in_flight": in_flight}


class Totals:
    """Counts twice: since the last report, and since the start or a reset. The page is served by another thread."""

    def __init__(self):
        self.lock = threading.Lock()
        self.stretches = {"window": Stretch(), "total": Stretch()}
        self.in_flight = 0
        # Outlives a reset.
        self.first_replies = {}

    def count(self, name, number=1):
        with self.lock:
            for stretch in self.stretches.values():
                stretch.sums[name] += number

    def count_in(self, kind, name):
        with self.lock:
            for stretch in self.stretches.values():
                counts = stretch.by_name[kind]
                counts[name] = counts.get(name, 0) + 1

    def reply(self, backend):
        """Whether it is the first ever from this backend."""
        self.count_in("replies", backend)
        with self.lock:
            if backend in self.first_replies:
                return False
            self.first_replies[backend] = stamp()
            return True

    def window(self, in_flight):
        with self.lock:
            report = self.stretches["window"].report(in_flight)
            self.stretches["window"] = Stretch()
            return report

    def total(self, reset=False):
        """With reset, sums begin anew in the same instant, so that nothing is lost or counted twice."""
        with self.lock:
            report = self.stretches["total"].report(self.in_flight)
            if reset:
                self.stretches["total"] = Stretch()
            return report | {"first_replies": dict(self.first_replies)}


class Events:
    """JSON lines on standard output."""

    def __init__(self):
        self.second, self.errors = 0, 0

    def write(self, event, **fields):
        print(json.dumps({"t": stamp(), "event": event} | fields), flush=True)

    def error(self, code, after_ms, message):
        """An outage at a high rate must not fill the node's log; the sums are complete."""
        second = int(time.time())
        if second != self.second:
            self.second, self.errors = second, 0
        self.errors += 1
        if self.errors > MAX_ERRORS_PER_SECOND:
            return
        if len(message) > MAX_MESSAGE:
            message = message[:MAX_MESSAGE] + "…"
        self.write("error", code=code, after_ms=after_ms, message=message)


def serve_totals(address, totals):
    """Answers until the process ends."""

    class Page(BaseHTTPRequestHandler):
        def answer(self, report):
            body = json.dumps({"t": stamp()} | report).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            if self.path == "/totals":
                self.answer(totals.total())
            elif self.path == "/healthz":
                self.answer({})
            else:
                self.send_error(404)

        def do_POST(self):
            if self.path == "/reset":
                self.answer(totals.total(reset=True))
            else:
                self.send_error(404)

        def log_message(self, *_):
            pass

    host, _, port = address.rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
