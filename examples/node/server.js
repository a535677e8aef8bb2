// An Echo server whose connections have an age, and whose metrics say how many RPCs it served.
import os from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import grpc from '@grpc/grpc-js';
import health from 'grpc-health-check';
import { Echo } from './echo.js';
import { countRpcs, serveMetrics } from './metrics.js';

// After SIGTERM: serve on while endpoints and DNS forget this pod, then let calls finish.
const DRAIN_MS = 5_000;
const FINISH_MS = 20_000;

// A whole number from the environment; absent, empty and zero are none.
function milliseconds(variable) {
  const value = process.env[variable] || '0';
  if (!/^\d+$/.test(value) || Number(value) >= 2 ** 31) {
    console.error(`${variable}: ${value} is not a whole number of milliseconds`);
    process.exit(1);
  }
  return Number(value);
}

function log(event, fields = {}) {
  console.log(JSON.stringify({ t: new Date().toISOString(), event, ...fields }));
}

const age = milliseconds('MAX_CONNECTION_AGE_MILLISECONDS');
const grace = milliseconds('MAX_CONNECTION_AGE_GRACE_MILLISECONDS');
const self = {
  pod: process.env.POD_NAME || os.hostname(),
  version: process.env.VERSION || '',
  connection_age: age ? `${age / 1000}s` : 'none',
};
const reply = (message) => ({ message, ...self });

const echo = {
  Echo: (call, answer) => answer(null, reply(call.request.message)),
  async Watch(call) {
    const { message, count, interval_ms: interval } = call.request;
    for (let sent = 0; !call.cancelled; ) {
      call.write(reply(message));
      sent += 1;
      if (sent === count) break;
      await sleep(interval || 1000);
    }
    call.end();
  },
  Chat(call) {
    call.on('data', ({ message }) => call.write(reply(message)));
    call.on('end', () => call.end());
  },
};

const server = new grpc.Server({
  // gRPC spreads the age by a tenth, and without a grace lets calls go on for ever.
  ...(age && { 'grpc.max_connection_age_ms': age }),
  ...(grace && { 'grpc.max_connection_age_grace_ms': grace }),
  interceptors: [countRpcs(Echo.service, health.service)],
});
server.addService(Echo.service, echo);
const status = new health.HealthImplementation({ '': 'SERVING' });
status.addToServer(server);
serveMetrics(Number(process.env.METRICS_PORT || 9090));
const address = `[::]:${process.env.PORT || 8080}`;
server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
  log('start', { pod: self.pod, version: self.version, max_connection_age: self.connection_age });
});

process.on('SIGTERM', async () => {
  log('draining');
  status.setStatus('', 'NOT_SERVING');
  await sleep(DRAIN_MS);
  const exit = () => {
    log('stopped');
    process.exit(0);
  };
  setTimeout(exit, FINISH_MS);
  server.tryShutdown(exit);
});
