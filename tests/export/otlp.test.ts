// SPDX-License-Identifier: Apache-2.0
// The OTLP schema against the published definitions, the model's refusals, and the poster against a real HTTP server.
import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { EnvError, targetsFrom, type Target } from '../../runtime/export/otlp/env.js';
import { MODEL_LIMITS, ModelError, decodeMetrics, pointCount } from '../../runtime/export/otlp/model.js';
import { POSTER_LIMITS, Poster, retryAfterMs, type PosterOptions } from '../../runtime/export/otlp/poster.js';
import { messageType } from '../../runtime/export/otlp/schema.js';
import { GPU0, NOW_NS, gpuRequest, published } from './requests.js';

const one = gpuRequest([{ attributes: GPU0, metrics: [{ name: 'hw.power', unit: 'W', points: [{ value: 70.5 }] }] }]);

test('every field number agrees with the published definitions, in both directions', () => {
  const samples: ['metrics' | 'trace' | 'logs', string, object][] = [
    ['metrics', 'ExportMetricsServiceRequest', {
      resourceMetrics: [{
        resource: { attributes: [
          { key: 's', value: { stringValue: 'v' } }, { key: 'b', value: { boolValue: true } }, { key: 'd', value: { doubleValue: 0.5 } },
          { key: 'a', value: { arrayValue: { values: [{ stringValue: 'x' }] } } },
          { key: 'k', value: { kvlistValue: { values: [{ key: 'n', value: { stringValue: 'y' } }] } } },
        ] },
        scopeMetrics: [{
          scope: { name: 'n', version: '2' },
          metrics: [
            { name: 'g', description: 'd', unit: 'W', gauge: { dataPoints: [{ asDouble: 1.5, flags: 1, attributes: [{ key: 'l', value: { stringValue: '3' } }] }] } },
            { name: 's', unit: 'By', sum: { aggregationTemporality: 2, isMonotonic: true, dataPoints: [{ asDouble: 7 }] } },
            { name: 'h', unit: 's', histogram: { aggregationTemporality: 2, dataPoints: [{ sum: 3.5, explicitBounds: [1, 2], min: 0.5, max: 2.5 }] } },
          ],
        }],
        schemaUrl: 'u',
      }],
    }],
    ['trace', 'ExportTraceServiceRequest', { resourceSpans: [{ scopeSpans: [{ spans: [{
      traceId: Buffer.alloc(16, 1), spanId: Buffer.alloc(8, 2), parentSpanId: Buffer.alloc(8, 3), name: 'n', kind: 2,
      attributes: [{ key: 'l', value: { stringValue: '3' } }], status: { message: 'm', code: 2 } }] }] }] }],
    ['logs', 'ExportLogsServiceRequest', { resourceLogs: [{ scopeLogs: [{ logRecords: [{
      severityNumber: 9, severityText: 'INFO', body: { stringValue: 'hello' }, attributes: [{ key: 'l', value: { stringValue: '3' } }],
      traceId: Buffer.alloc(16, 1), spanId: Buffer.alloc(8, 2) }] }] }] }],
    ['metrics', 'ExportMetricsServiceResponse', { partialSuccess: { errorMessage: 'no' } }],
  ];
  for (const [signal, name, message] of samples) {
    const theirs = published(signal, name);
    const mine = messageType(name);
    const [a, b] = [Buffer.from(theirs.encode(message).finish()), Buffer.from(mine.encode(mine.fromObject(message)).finish())];
    assert.equal(a.toString('hex'), b.toString('hex'), name);
    const plain = { longs: String, bytes: String };
    assert.deepEqual(JSON.parse(JSON.stringify(mine.toObject(mine.decode(a), plain))), JSON.parse(JSON.stringify(theirs.toObject(theirs.decode(b), plain))), name);
  }
});

test('a request becomes plain values with exact times', () => {
  const [resource] = decodeMetrics(one);
  const metric = resource!.scopes[0]!.metrics[0]!;
  assert.equal(resource!.attributes.get('hw.id'), 'GPU-0000');
  assert.deepEqual([metric.name, metric.unit, metric.kind, metric.points[0]!.value, metric.points[0]!.timeNs], ['hw.power', 'W', 'gauge', 70.5, NOW_NS]);
});

test('what is malformed, too large or over a limit is refused by name', () => {
  const refused = (bytes: Uint8Array, reason: string): void => {
    assert.throws(() => decodeMetrics(bytes), (error: unknown) => error instanceof ModelError && error.reason === reason);
  };
  refused(one.subarray(0, one.length - 3), 'malformed');
  refused(new Uint8Array(MODEL_LIMITS.requestBytes + 1), 'too_large');
  const points = (count: number): Uint8Array => gpuRequest([{ attributes: {}, metrics: [{ name: 'm', points: Array.from({ length: count }, () => ({ value: 1 })) }] }]);
  assert.equal(pointCount(decodeMetrics(points(MODEL_LIMITS.points))), MODEL_LIMITS.points);
  refused(points(MODEL_LIMITS.points + 1), 'over_limit');
  const attributes = (count: number): Uint8Array => gpuRequest([{ attributes: Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, 'v'])), metrics: [] }]);
  assert.equal(decodeMetrics(attributes(MODEL_LIMITS.attributes))[0]!.attributes.size, MODEL_LIMITS.attributes);
  refused(attributes(MODEL_LIMITS.attributes + 1), 'over_limit');
});

test('the standard variables: a signal wins over the common one, and what cannot be honoured is named', () => {
  const all = targetsFrom({
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318/base/', OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'https://m/own',
    OTEL_EXPORTER_OTLP_HEADERS: 'X-Key=a%20b, y=2', OTEL_EXPORTER_OTLP_COMPRESSION: 'none', OTEL_EXPORTER_OTLP_METRICS_TIMEOUT: '500',
  });
  assert.deepEqual([all.metrics!.url, all.metrics!.timeoutMs, all.traces!.url, all.traces!.timeoutMs], ['https://m/own', 500, 'http://c:4318/base/v1/traces', 10_000]);
  assert.deepEqual(all.logs!.headers, { 'x-key': 'a b', y: '2' });
  assert.equal(all.logs!.gzip, false);
  assert.deepEqual(targetsFrom({}), { metrics: null, traces: null, logs: null });
  const bad: [Record<string, string>, RegExp][] = [
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'nonsense' }, /^OTEL_EXPORTER_OTLP_ENDPOINT: "nonsense" is no URL/],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'grpc://h' }, /scheme/],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://u:p@h' }, /HEADERS/],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://h', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, /^OTEL_EXPORTER_OTLP_PROTOCOL: "grpc"/],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://h', OTEL_EXPORTER_OTLP_COMPRESSION: 'zstd' }, /COMPRESSION/],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://h', OTEL_EXPORTER_OTLP_TIMEOUT: '0' }, /TIMEOUT/],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://h', OTEL_EXPORTER_OTLP_TIMEOUT: '60001' }, /TIMEOUT/],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://h', OTEL_EXPORTER_OTLP_HEADERS: 'novalue' }, /HEADERS/],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://h', OTEL_EXPORTER_OTLP_HEADERS: 'a=%zz' }, /percent/],
  ];
  for (const [env, message] of bad) assert.throws(() => targetsFrom(env), (error: unknown) => error instanceof EnvError && message.test(error.message), JSON.stringify(env));
});

/** A collector that answers as `reply` says, and keeps what it was sent. */
type Reply = (nth: number, response: ServerResponse, request: IncomingMessage) => void;
async function collector(reply: Reply): Promise<{ server: Server; target: Target; bodies: Buffer[]; headers: IncomingMessage['headers'][] }> {
  const bodies: Buffer[] = [];
  const headers: IncomingMessage['headers'][] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      headers.push(request.headers);
      const body = Buffer.concat(chunks);
      bodies.push(request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body);
      reply(bodies.length, response, request);
    });
  });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/metrics`;
  return { server, target: { url, headers: { 'x-key': 'v' }, timeoutMs: 2000, gzip: true }, bodies, headers };
}
const quick: PosterOptions = { random: () => 0 };
const shut = (server: Server): void => { server.closeAllConnections(); server.close(); };

test('a request arrives byte for byte, gzipped, as protobuf, with its headers', async () => {
  const { server, target, bodies, headers } = await collector((_, response) => response.writeHead(200).end());
  const poster = new Poster('metrics', target, quick);
  poster.post(one);
  poster.post(one);
  await poster.close(3000);
  shut(server);
  assert.equal(poster.counters.sent, 2);
  assert.deepEqual(bodies[0], Buffer.from(one));
  assert.deepEqual([headers[0]!['content-type'], headers[0]!['content-encoding'], headers[0]!['x-key']], ['application/x-protobuf', 'gzip', 'v']);
  const theirs = published('metrics', 'ExportMetricsServiceRequest');
  assert.match(JSON.stringify(theirs.toObject(theirs.decode(bodies[0]!), { longs: String })), /hw\.power/);
});

test('503 and a lost connection are tried again, 400 is final, partial success is counted and not repeated', async () => {
  const partial = Buffer.from(published('metrics', 'ExportMetricsServiceResponse').encode({ partialSuccess: { rejectedDataPoints: 3, errorMessage: 'too old' } }).finish());
  const { server, target, bodies } = await collector((nth, response, request) => {
    if (nth === 1) response.writeHead(503, { 'retry-after': '0' }).end();
    else if (nth === 2) request.socket.destroy();
    else if (nth === 3) response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end(partial);
    else response.writeHead(400).end();
  });
  const poster = new Poster('metrics', target, quick);
  poster.post(one);
  poster.post(one);
  await poster.close(5000);
  shut(server);
  const { sent, rejected, rejectedItems, retries, dropped } = poster.counters;
  assert.deepEqual({ sent, rejected, rejectedItems, retries, dropped }, { sent: 1, rejected: 1, rejectedItems: 3, retries: 2, dropped: 0 });
  assert.equal(bodies.length, 4);
});

test('the queue is bounded, the oldest waiting goes first, and everything is in one counter', async () => {
  const target: Target = { url: 'http://127.0.0.1:9/', headers: {}, timeoutMs: 100, gzip: false };
  const hang: typeof fetch = (_, init) => new Promise((__, reject) => {
    init!.signal!.addEventListener('abort', () => { reject(new Error('aborted')); });
  });
  const poster = new Poster('metrics', target, { fetch: hang });
  for (let i = 0; i < POSTER_LIMITS.requests; i++) {
    assert.equal(poster.hasRoom(1), true);
    poster.post(Uint8Array.of(i));
  }
  assert.deepEqual([poster.counters.dropped, poster.hasRoom(1)], [0, false]);
  poster.post(Uint8Array.of(1));
  assert.equal(poster.counters.dropped, 1);
  poster.post(new Uint8Array(POSTER_LIMITS.bytes + 1));
  assert.equal(poster.counters.dropped, 2);
  await poster.close(10);
  const { sent, rejected, dropped, queued, queuedBytes, droppedBy } = poster.counters;
  assert.deepEqual(droppedBy, { queue_full: 1, too_large: 1, gave_up: 0, closed: POSTER_LIMITS.requests });
  assert.deepEqual({ sent, rejected, dropped, queued, queuedBytes }, { sent: 0, rejected: 0, dropped: POSTER_LIMITS.requests + 2, queued: 0, queuedBytes: 0 });
});

test('a dead collector ends each request after its attempts, and is one line in the log', async () => {
  const lines: string[] = [];
  const refuse: typeof fetch = () => Promise.reject(Object.assign(new TypeError('fetch failed'), { cause: { code: 'ECONNREFUSED' } }));
  const poster = new Poster('metrics', { url: 'http://127.0.0.1:9/', headers: {}, timeoutMs: 100, gzip: false }, { fetch: refuse, random: () => -1, log: (line) => lines.push(line) });
  poster.post(one);
  while (poster.counters.queued > 0) await new Promise((resolve) => { setTimeout(resolve, 2); });
  await poster.close(100);
  assert.deepEqual([poster.counters.dropped, poster.counters.droppedBy.gave_up], [1, 1]);
  assert.equal(poster.counters.retries, POSTER_LIMITS.attempts - 1);
  assert.deepEqual(lines, ['otlp metrics: ECONNREFUSED', `otlp metrics: dropped a request: gave up after ${POSTER_LIMITS.attempts} attempts: ECONNREFUSED`]);
});

test('Retry-After in seconds, as a date, and as nonsense', () => {
  assert.equal(retryAfterMs('3'), 3000);
  assert.equal(retryAfterMs('Thu, 01 Jan 1970 00:00:10 GMT', 4000), 6000);
  assert.equal(retryAfterMs('soon'), undefined);
  assert.equal(retryAfterMs(null), undefined);
});
