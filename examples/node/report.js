// What the client has seen: sums, JSON lines, and a page for whoever asks.
import http from 'node:http';

const MAX_ERRORS_PER_SECOND = 20;
const MAX_MESSAGE = 300;

const stamp = () => new Date().toISOString();

export function line(event, fields) {
  console.log(JSON.stringify({ t: stamp(), event, ...fields }));
}

const stretch = () => ({
  since: performance.now(),
  sums: { started: 0, ok: 0, dropped: 0, late: 0, replies: {}, errors: {} },
});

// Counts twice: since the last report, and since the start or a reset.
export class Totals {
  #window = stretch();
  #total = stretch();
  #firstReplies = {};
  #second = 0;
  #errors = 0;
  inFlight = 0;

  count(change) {
    change(this.#window.sums);
    change(this.#total.sums);
  }

  // Whether it is the first reply ever from this pod.
  replied(pod) {
    this.count((sums) => {
      sums.ok += 1;
      sums.replies[pod] = (sums.replies[pod] ?? 0) + 1;
    });
    if (pod in this.#firstReplies) return false;
    this.#firstReplies[pod] = stamp();
    return true;
  }

  // An outage at a high rate must not fill the node's log; the sums are complete.
  failed(code, afterMs, message) {
    this.count((sums) => {
      sums.errors[code] = (sums.errors[code] ?? 0) + 1;
    });
    const second = Math.floor(Date.now() / 1000);
    if (second !== this.#second) [this.#second, this.#errors] = [second, 0];
    this.#errors += 1;
    if (this.#errors > MAX_ERRORS_PER_SECOND) return;
    const short = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message;
    line('error', { code, after_ms: afterMs, message: short });
  }

  #report({ since, sums }) {
    return { since_ms: Math.floor(performance.now() - since), ...sums, in_flight: this.inFlight };
  }

  window() {
    const report = this.#report(this.#window);
    this.#window = stretch();
    return report;
  }

  // With a reset, sums begin anew in the same instant.
  total(reset = false) {
    const report = { ...this.#report(this.#total), first_replies: { ...this.#firstReplies } };
    if (reset) this.#total = stretch();
    return report;
  }
}

// GET /totals, POST /reset, GET /healthz.
export function serveTotals(address, totals) {
  const answers = {
    'GET /totals': () => totals.total(),
    'POST /reset': () => totals.total(true),
    'GET /healthz': () => ({}),
  };
  const server = http.createServer((request, response) => {
    const answer = answers[`${request.method} ${request.url}`];
    if (!answer) {
      response.writeHead(404).end();
      return;
    }
    const body = JSON.stringify({ t: stamp(), ...answer() });
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(body);
  });
  const [host, port] = [address.slice(0, address.lastIndexOf(':')), address.slice(address.lastIndexOf(':') + 1)];
  server.listen({ host: host || undefined, port: Number(port) });
}
