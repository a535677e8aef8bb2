// Calls Echo at a steady rate, balanced over all pods, and says on standard output who answered.
import { parseArgs } from 'node:util';
import grpc from '@grpc/grpc-js';
import { Echo } from './echo.js';
import { Totals, line, serveTotals } from './report.js';

// How long calls may go on once no more are started.
const END_BOUND_MS = 2_000;

const RETRY = {
  name: [{}],
  retryPolicy: {
    maxAttempts: 5, initialBackoff: '0.1s', maxBackoff: '1s', backoffMultiplier: 2, retryableStatusCodes: ['UNAVAILABLE'],
  },
};

// What makes a channel balance: without it all calls of a client go to one pod.
function channelOptions(flags) {
  const config = { loadBalancingConfig: [{ [flags.policy]: {} }], methodConfig: flags.retry ? [RETRY] : [] };
  const options = {
    'grpc.service_config': JSON.stringify(config),
    'grpc.service_config_disable_resolution': 1,
    'grpc.enable_http_proxy': 0,
    // Channels to one target would share their connections otherwise.
    'grpc.use_local_subchannel_pool': 1,
  };
  if (flags.dnsMinInterval) options['grpc.dns_min_time_between_resolutions_ms'] = flags.dnsMinInterval;
  return options;
}

const UNITS = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

// A duration such as 2s, 100ms or 1m30s.
function milliseconds(flag, text) {
  if (!/^([0-9.]+(ms|h|m|s))+$/.test(text)) {
    console.error(`--${flag}: ${text} is not a duration such as 2s or 100ms`);
    process.exit(2);
  }
  return [...text.matchAll(/([0-9.]+)(ms|h|m|s)/g)].reduce((sum, [, number, unit]) => sum + number * UNITS[unit], 0);
}

function parse() {
  const text = (value) => ({ type: 'string', default: value });
  const { values } = parseArgs({
    options: {
      target: { type: 'string' }, // such as dns:///echo-headless.default.svc.cluster.local:8080
      policy: text('round_robin'),
      rate: text('50'), // calls started per second
      'max-in-flight': text('1000'),
      deadline: text('2s'), // of each call; 0s is none
      duration: text('0s'), // 0s is until SIGTERM
      connections: text('1'), // independent channels, used in turn
      'report-every': text('1s'),
      'dns-min-interval': text('0s'), // 0s is the library's own 30 s
      retry: { type: 'boolean', default: false }, // try a call that ends UNAVAILABLE again
      http: { type: 'string' }, // address of GET /totals, POST /reset and GET /healthz, such as :8090
    },
  });
  if (!values.target) {
    console.error('--target is required');
    process.exit(2);
  }
  const time = (flag) => milliseconds(flag, values[flag]);
  return {
    ...values,
    rate: Number(values.rate),
    connections: Number(values.connections),
    maxInFlight: Number(values['max-in-flight']),
    deadline: time('deadline'),
    duration: time('duration'),
    reportEvery: time('report-every'),
    dnsMinInterval: time('dns-min-interval'),
  };
}

const flags = parse();
const totals = new Totals();
if (flags.http) serveTotals(flags.http, totals);
const clients = Array.from(
  { length: flags.connections },
  () => new Echo(flags.target, grpc.credentials.createInsecure(), channelOptions(flags)),
);

function start(number) {
  if (totals.inFlight >= flags.maxInFlight) {
    totals.count((sums) => { sums.dropped += 1; });
    return;
  }
  totals.inFlight += 1;
  totals.count((sums) => { sums.started += 1; });
  const begun = performance.now();
  const deadline = flags.deadline ? Date.now() + flags.deadline : Infinity;
  clients[number % clients.length].Echo({ message: 'echo' }, { deadline }, (error, reply) => {
    totals.inFlight -= 1;
    if (error) {
      totals.failed(grpc.status[error.code], Math.round(performance.now() - begun), error.details);
    } else if (totals.replied(reply.pod)) {
      line('first_reply', { backend: reply.pod, version: reply.version, connection_age: reply.connection_age });
    }
  });
}

const { target, policy, rate, connections } = flags;
line('start', { target, policy, method: 'echo', rate, connections });
// By the clock, not by the end of earlier calls: waiting would hide an outage from its own figures.
const begin = performance.now();
let started = 0;
const pace = setInterval(() => {
  const due = Math.floor(((performance.now() - begin) / 1000) * rate);
  // What a stopped process missed is not made up for, but for a second's worth.
  const late = due - started - Math.floor(rate) - 1;
  if (late > 0) {
    totals.count((sums) => { sums.late += late; });
    started += late;
  }
  for (; started < due; started += 1) start(started);
}, Math.max(1000 / rate, 5));
const reports = setInterval(() => line('report', totals.window()), flags.reportEvery);

function finish() {
  clearInterval(pace);
  clearInterval(reports);
  const ended = performance.now();
  // Those that last longer are given up, and stay in in_flight.
  const wait = setInterval(() => {
    if (totals.inFlight > 0 && performance.now() - ended < END_BOUND_MS) return;
    clearInterval(wait);
    line('end', totals.total());
    process.exit(0);
  }, 10);
}
if (flags.duration) setTimeout(finish, flags.duration);
process.once('SIGTERM', finish);
process.once('SIGINT', finish);
