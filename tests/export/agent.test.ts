// SPDX-License-Identifier: Apache-2.0
// The agent, driven through the handler that the export port calls, with a real HTTP receiver: what is taken, refused, posted, dropped, shown.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { after, test } from 'node:test';
import { PROGRESS_MS, startAgent, type Agent, type AgentOptions, type AgentSource } from '../../runtime/export/agent.js';
import type { Verdict } from '../../runtime/export/link.js';
import { POSTER_LIMITS } from '../../runtime/export/otlp/poster.js';
import { targetsFrom } from '../../runtime/export/otlp/env.js';
import { PARTS_MAX } from '../../runtime/export/scrapes.js';
import { selfMetrics } from '../../runtime/export/self-metrics.js';
import { Collector, flatten, until } from './collector.js';
import { GPU0, NOW_NS, gpuRequest, published, type TestMetric } from './requests.js';

const agents: Agent[] = [];
const collectors: Collector[] = [];
after(async () => {
  await Promise.all(agents.map((agent) => agent.close(0)));
  await Promise.all(collectors.map((collector) => collector.close()));
});

const NONE = targetsFrom({});
const READY: AgentSource = { label: 'replay', name: 'ready', detail: '' };
/** `stepNs`: how far the wall clock was set. */
const time = { now: NOW_NS, stepNs: 0n };
const clock = { wallNs: () => time.now + time.stepNs, monoNs: () => time.now };
function agentWith(options: Partial<AgentOptions> = {}): Agent {
  Object.assign(time, { now: NOW_NS, stepNs: 0n });
  const agent = startAgent({ otlp: NONE, source: () => READY, hostName: 'node-a', clock, poster: { random: () => 0 }, ...options });
  agents.push(agent);
  agent.handler.hello(1n);
  return agent;
}
async function collector(): Promise<Collector> {
  const made = new Collector();
  collectors.push(made);
  await made.listen();
  return made;
}

const power = (value: number, timeNs = NOW_NS): TestMetric[] => [{ name: 'hw.power', unit: 'W', points: [{ value, timeNs }] }];
const request = (value: number, id = 'GPU-0000', timeNs = NOW_NS): Buffer => Buffer.from(gpuRequest([{ attributes: { ...GPU0, 'hw.id': id, 'host.name': '' }, metrics: power(value, timeNs) }]));
const bare = (value: number): Buffer => {
  const { 'host.name': _, ...attributes } = GPU0;
  return Buffer.from(gpuRequest([{ attributes, metrics: power(value) }]));
};
let seq = 0n;
const send = (agent: Agent, bytes: Buffer, { scrape = 1n, part = 0, parts = 1, stream = 'gpu' as 'gpu' | 'self', at = ++seq, source = 'replay' } = {}): Verdict =>
  agent.handler.metrics({ stream, source: stream === 'gpu' ? source : '', part, parts, scrape, seq: at, request: bytes });
const spans = (names: string[]): Buffer => Buffer.from(published('trace', 'ExportTraceServiceRequest').encode({
  resourceSpans: [{ resource: { attributes: [] }, scopeSpans: [{ spans: names.map((name) => ({ name, traceId: Buffer.alloc(16, 1), spanId: Buffer.alloc(8, 2) })) }] }],
}).finish());
const logs = (bodies: string[]): Buffer => Buffer.from(published('logs', 'ExportLogsServiceRequest').encode({
  resourceLogs: [{ scopeLogs: [{ logRecords: bodies.map((text) => ({ body: { stringValue: text } })) }] }],
}).finish());
const shownPower = (agent: Agent): number[] => {
  const metrics = agent.resources().flatMap(({ scopes }) => scopes.flatMap((scope) => scope.metrics));
  return metrics.filter(({ name }) => name === 'hw.power').flatMap(({ points }) => points.map(({ value }) => Number(value)));
};
/** The value of an own series. */
function own(agent: Agent, name: string, labels: Record<string, string> = {}): number | undefined {
  const metric = agent.resources().at(-1)!.scopes[0]!.metrics.find((row) => row.name === name);
  const point = metric?.points.find(({ attributes }) => Object.entries(labels).every(([key, value]) => String(attributes.get(key)) === value));
  return point === undefined ? undefined : Number(point.value);
}

test('a scrape is shown and posted whole: its parts as one request, with host.name, byte for byte else', async () => {
  const peer = await collector();
  const agent = agentWith({ otlp: peer.targets() });
  assert.equal(send(agent, bare(10), { scrape: 7n, part: 0, parts: 2 }), 'ok');
  assert.deepEqual(shownPower(agent), []);
  assert.equal(send(agent, request(11, 'GPU-1'), { scrape: 7n, part: 1, parts: 2 }), 'ok');
  assert.deepEqual(shownPower(agent), [10, 11]);
  await until('the request', () => peer.received.length === 1);
  const [{ headers }] = peer.received as [Collector['received'][number]];
  assert.deepEqual([headers['content-encoding'], headers['content-type']], ['gzip', 'application/x-protobuf']);
  const points = flatten(peer.of('/v1/metrics'));
  assert.deepEqual(points.map(({ value, resource }) => [value, resource['hw.id'], resource['vigil.source'], resource['host.name']]), [
    [10, 'GPU-0000', 'replay', 'node-a'], [11, 'GPU-1', 'replay', ''], // a name that the guest gave stays
  ]);
  assert.equal(own(agent, 'vigil.export.scrapes', { stream: 'gpu' }), 1);
  assert.equal(own(agent, 'vigil.export.items', { signal: 'gpu' }), 2);
  await until('counted', () => own(agent, 'vigil.otlp.requests', { signal: 'metrics', outcome: 'sent' }) === 1);
});

test('repeats change nothing; parts out of range and what does not decode are refused by name; unfinished scrapes are counted', () => {
  const agent = agentWith();
  send(agent, request(1), { scrape: 1n, at: 100n });
  assert.equal(send(agent, request(2), { scrape: 2n, at: 100n }), 'ok');
  assert.deepEqual(shownPower(agent), [1]);
  assert.equal(send(agent, request(3), { part: 1, parts: 1, at: 101n }), 'bad_request');
  assert.equal(send(agent, request(3), { part: 0, parts: PARTS_MAX + 1, at: 102n }), 'bad_request');
  assert.equal(send(agent, request(3).subarray(0, 20), { at: 103n }), 'bad_request');
  assert.equal(own(agent, 'vigil.export.refused', { signal: 'gpu', reason: 'part' }), 2);
  assert.equal(own(agent, 'vigil.export.refused', { signal: 'gpu', reason: 'malformed' }), 1);
  for (let part = 0; part < PARTS_MAX; part++) send(agent, request(part), { scrape: 5n, part, parts: PARTS_MAX, at: BigInt(200 + part) });
  assert.equal(shownPower(agent).length, PARTS_MAX);
  send(agent, request(9), { scrape: 6n, part: 0, parts: 2, at: 300n });
  send(agent, request(20), { scrape: 7n, at: 301n });
  assert.deepEqual([shownPower(agent), own(agent, 'vigil.export.scrapes.incomplete', { stream: 'gpu' })], [[20], 1]);
  send(agent, request(21), { scrape: 1n, at: 302n }); // dcgmd started anew
  assert.deepEqual(shownPower(agent), [21]);
  send(agent, request(22), { scrape: 1n, at: 303n }); // and again, with the same number
  assert.deepEqual(shownPower(agent), [22]);
});

test('a resource that goes on in the next part is one resource, and one entity to those who copy it', () => {
  const user = new Map([['k8s.pod.name', 'a']]);
  const agent = agentWith({ attribution: { attributes: () => [user, new Map([['k8s.pod.name', 'b']])] }, seriesMax: 3 });
  send(agent, request(1), { part: 0, parts: 2 });
  send(agent, request(2), { part: 1, parts: 2 });
  assert.deepEqual(agent.resources().map(({ attributes }) => attributes.get('hw.id')), ['GPU-0000', undefined]);
  // Two points and room for one: no half of an entity is copied.
  assert.deepEqual([shownPower(agent), own(agent, 'vigil.attribution.dropped')], [[1, 2], 2]);
});

test("the image's own series get words, units and seconds on their way out, for /metrics and the collector alike", async () => {
  const peer = await collector();
  const agent = agentWith({ otlp: peer.targets() });
  const type = published('metrics', 'ExportMetricsServiceRequest');
  const timeUnixNano = { low: Number(BigInt.asIntN(32, NOW_NS)), high: Number(NOW_NS >> 32n), unsigned: true };
  const gauge = (name: string, asDouble: number, unit?: string): object =>
    ({ name, gauge: { dataPoints: [{ asDouble, timeUnixNano, attributes: unit === undefined ? [] : [{ key: 'unit', value: { stringValue: unit } }] }] } });
  const bounds = { count: 3, sum: 2.5e9, explicitBounds: [1e6, 1e9], bucketCounts: [1, 1, 1] };
  const metrics = [
    gauge('vigil.receiver.last_activity', 7, 's'), gauge('some.thing', 1), gauge('some.other', 5, 'ns'),
    { name: 'vigil.receiver.scrape.duration', unit: 'ns', histogram: { aggregationTemporality: 2, dataPoints: [{ ...bounds, timeUnixNano }] } },
  ];
  const resource = { attributes: [{ key: 'vigil.producer', value: { stringValue: 'dcgmd' } }] };
  send(agent, Buffer.from(type.encode({ resourceMetrics: [{ resource, scopeMetrics: [{ metrics }] }] }).finish()), { stream: 'self' });
  await until('the request', () => peer.received.length === 1);
  const shown = agent.resources()[0]!.scopes[0]!.metrics;
  const brief = (name: string): string => selfMetrics.find((row) => row.name === name)!.brief;
  assert.deepEqual(shown.map(({ name, unit, description }) => [name, unit, description]), [
    ['vigil.receiver.last_activity', 's', brief('vigil.receiver.last_activity')], ['some.thing', '', 'some.thing, as dcgmd counts it'],
    ['some.other', 's', 'some.other, as dcgmd counts it'], ['vigil.receiver.scrape.duration', 's', brief('vigil.receiver.scrape.duration')],
  ]);
  assert.deepEqual(shown.flatMap(({ points }) => points.map(({ value, attributes }) => [value, attributes.size])), [[7, 0], [1, 0], [5e-9, 0]]);
  assert.deepEqual([shown[3]!.histograms[0]!.sum, shown[3]!.histograms[0]!.bounds, shown[3]!.histograms[0]!.buckets], [2.5, [0.001, 1], [1n, 1n, 1n]]);
  const sent = JSON.stringify(peer.of('/v1/metrics'));
  for (const part of ['"unit":"s"', '"sum":2.5', '"explicitBounds":[0.001,1]', '"bucketCounts":["1","1","1"]', brief('vigil.receiver.scrape.duration')]) assert.ok(sent.includes(part), part);
  assert.ok(!sent.includes('"ns"') && !sent.includes('"key":"unit"'));
});

test('a new generation begins its numbers again; what is shown stays until it is too old; a new connection alone changes nothing', () => {
  const agent = agentWith();
  send(agent, request(1), { at: 1000n });
  agent.handler.hello(1n);
  assert.equal(send(agent, request(2), { scrape: 2n, at: 1000n }), 'ok');
  assert.deepEqual(shownPower(agent), [1]);
  agent.handler.hello(2n);
  assert.deepEqual(shownPower(agent), [1]);
  send(agent, request(3), { scrape: 1n, at: 1n });
  assert.deepEqual(shownPower(agent), [3]);
  assert.equal(own(agent, 'vigil.export.generations'), 2);
});

test('traces and logs reach the collector, are counted, and without one are said to have gone nowhere', async () => {
  const peer = await collector();
  const agent = agentWith({ otlp: peer.targets() });
  assert.equal(agent.handler.traces({ seq: 1n, items: 2, lost: 0n, request: spans(['scrape', 'read']) }), 'ok');
  assert.equal(agent.handler.logs({ seq: 2n, items: 1, lost: 5n, request: logs(['hello']) }), 'ok');
  assert.equal(agent.handler.logs({ seq: 3n, items: 1, lost: 7n, request: Buffer.from([0xff, 0xff]) }), 'bad_request');
  assert.equal(agent.handler.logs({ seq: 4n, items: 1, lost: 7n, request: logs(['more']) }), 'ok');
  await until('three requests', () => peer.received.length === 3);
  assert.match(JSON.stringify(peer.of('/v1/traces')), /"host\.name".*"node-a".*"name":"scrape".*"name":"read"/);
  assert.match(JSON.stringify(peer.of('/v1/logs')), /"stringValue":"node-a".*"stringValue":"hello".*"stringValue":"more"/);
  assert.deepEqual([own(agent, 'vigil.export.items', { signal: 'traces' }), own(agent, 'vigil.export.items', { signal: 'logs' })], [2, 2]);
  assert.equal(own(agent, 'vigil.export.lost'), 7);
  assert.equal(own(agent, 'vigil.export.refused', { signal: 'logs', reason: 'malformed' }), 1);
  const alone = agentWith();
  assert.equal(alone.handler.logs({ seq: 1n, items: 1, lost: 0n, request: logs(['x']) }), 'ok');
  assert.equal(own(alone, 'vigil.otlp.requests', { signal: 'logs', outcome: 'not_configured' }), 1);
});

test('429 and 503 with Retry-After, a slow server and a partial success, end to end', async () => {
  const peer = await collector();
  const times: number[] = [];
  const partial = Buffer.from(published('metrics', 'ExportMetricsServiceResponse').encode({ partialSuccess: { rejectedDataPoints: 1, errorMessage: 'too old' } }).finish());
  peer.reply = async (nth, response) => {
    times.push(performance.now());
    if (nth === 1) response.writeHead(429, { 'retry-after': '1' }).end();
    else if (nth === 2) response.writeHead(503).end();
    else if (nth === 3) await new Promise((resolve) => { response.once('close', resolve); }); // until the poster hangs up
    else if (nth === 4) response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end(partial);
    else return false;
    return true;
  };
  const lines: string[] = [];
  const agent = agentWith({ otlp: peer.targets({ OTEL_EXPORTER_OTLP_TIMEOUT: '2000' }), log: (line) => lines.push(line) });
  send(agent, request(1), { scrape: 1n });
  send(agent, request(2), { scrape: 2n });
  await until('both requests', () => own(agent, 'vigil.otlp.requests', { signal: 'metrics', outcome: 'sent' }) === 2, 30_000);
  assert.ok(times[1]! - times[0]! >= 990, 'waited as Retry-After says');
  assert.deepEqual([own(agent, 'vigil.otlp.retries', { signal: 'metrics' }), own(agent, 'vigil.otlp.items.rejected', { signal: 'metrics' })], [3, 1]);
  assert.deepEqual(flatten(peer.of('/v1/metrics')).map(({ value }) => value), [2]); // the first was taken by the answer that said "partial"
  assert.deepEqual(lines, ['otlp metrics: HTTP 429', 'otlp metrics: HTTP 503', 'otlp metrics: TimeoutError', 'otlp metrics: 1 refused: too old']);
});

test('a collector that takes nothing: the queue is bounded, the oldest go, all are counted, and /metrics goes on', async () => {
  const closed = createServer();
  await new Promise<void>((resolve) => { closed.listen(0, '127.0.0.1', resolve); });
  const { port } = closed.address() as { port: number };
  await new Promise((resolve) => { closed.close(resolve); });
  const agent = agentWith({ otlp: targetsFrom({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` }) });
  const over = 5;
  for (let i = 1; i <= POSTER_LIMITS.requests + over; i++) assert.equal(send(agent, request(i), { scrape: BigInt(i) }), 'ok');
  assert.deepEqual(shownPower(agent), [POSTER_LIMITS.requests + over]);
  assert.equal(own(agent, 'vigil.exporter.dropped', { signal: 'metrics', reason: 'queue_full' }), over);
  assert.equal(own(agent, 'vigil.otlp.queue.requests', { signal: 'metrics' }), POSTER_LIMITS.requests);
  await until('a retry', () => own(agent, 'vigil.otlp.retries', { signal: 'metrics' })! > 0);
  await agent.close(0);
  assert.equal(own(agent, 'vigil.exporter.dropped', { signal: 'metrics', reason: 'closed' }), POSTER_LIMITS.requests);
});

test('a full queue of a collector that is taking: the guest is asked to wait, and nothing is lost', async () => {
  const peer = await collector();
  let open: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => { open = resolve; });
  peer.reply = async (nth) => { if (nth > 1) await gate; return false; };
  const agent = agentWith({ otlp: peer.targets() });
  agent.handler.logs({ seq: 1n, items: 1, lost: 0n, request: logs(['0']) });
  await until('the first', () => own(agent, 'vigil.otlp.requests', { signal: 'logs', outcome: 'sent' }) === 1);
  const batch = (i: number): Verdict => agent.handler.logs({ seq: BigInt(i + 1), items: 1, lost: 0n, request: logs([String(i)]) });
  for (let i = 1; i <= POSTER_LIMITS.requests; i++) assert.equal(batch(i), 'ok');
  assert.ok(PROGRESS_MS > 1000);
  assert.equal(batch(POSTER_LIMITS.requests + 1), 'over_limit');
  assert.equal(own(agent, 'vigil.export.answers', { signal: 'logs', verdict: 'over_limit' }), 1);
  open();
  await until('room', () => batch(POSTER_LIMITS.requests + 1) === 'ok');
  await until('all', () => peer.received.length === POSTER_LIMITS.requests + 2);
  assert.equal(own(agent, 'vigil.exporter.dropped', { signal: 'logs', reason: 'queue_full' }), 0);
});

test('several users of a GPU: its points once for each, within the cap; the excess is left out whole and counted', async () => {
  const peer = await collector();
  const users: Record<string, ReadonlyMap<string, string>[]> = {
    'GPU-0': [new Map([['k8s.pod.name', 'a']]), new Map([['k8s.pod.name', 'b']]), new Map([['k8s.pod.name', 'c']])], 'GPU-1': [new Map([['k8s.pod.name', 'd']])], 'GPU-2': [],
  };
  const attribution = {
    attributes: (entity: ReadonlyMap<string, unknown>) => users[String(entity.get('hw.id'))]!,
    states: () => [{ source: 'kubernetes', name: 'attributing', detail: '', attributing: true, sinceMs: 0, answerMs: 0 }],
  };
  const agent = agentWith({ otlp: peer.targets(), attribution, seriesMax: 7 });
  const energy: TestMetric = { name: 'hw.energy', unit: 'J', kind: 'counter', points: [{ value: 9, startNs: NOW_NS - 5n }] };
  const two = (id: string): Buffer => Buffer.from(gpuRequest([{ attributes: { ...GPU0, 'hw.id': id }, metrics: [...power(5), energy] }]));
  for (const [part, id] of Object.keys(users).entries()) send(agent, two(id), { part, parts: 3 });
  await until('the request', () => peer.received.length === 1);
  const points = flatten(peer.of('/v1/metrics')).map(({ name, resource, attributes }) => [resource['hw.id'], name, attributes['k8s.pod.name'] ?? '-']);
  // 6 points, room for one more: a copy of two does not fit.
  assert.deepEqual(points, [
    ['GPU-0', 'hw.power', 'a'], ['GPU-0', 'hw.energy', 'a'], ['GPU-1', 'hw.power', 'd'], ['GPU-1', 'hw.energy', 'd'], ['GPU-2', 'hw.power', '-'], ['GPU-2', 'hw.energy', '-'],
  ]);
  assert.deepEqual([own(agent, 'vigil.attribution.points'), own(agent, 'vigil.attribution.dropped')], [4, 4]);
  assert.equal(own(agent, 'vigil.attribution.up', { attribution: 'kubernetes', state: 'attributing' }), 1);
  const wide = agentWith({ attribution, seriesMax: 8 });
  for (const [part, id] of Object.keys(users).entries()) send(wide, two(id), { part, parts: 3 });
  assert.deepEqual([shownPower(wide).length, own(wide, 'vigil.attribution.dropped')], [4, 2]); // a and b, not c
});

test('with hashed identities the attribution is asked about the real GPU, and nobody else learns it', () => {
  const asked: string[] = [];
  const attribution = { attributes: (entity: ReadonlyMap<string, unknown>) => { asked.push(String(entity.get('hw.id'))); return [new Map([['k8s.pod.name', 'a']])]; } };
  const agent = agentWith({ attribution, rawIdentity: (name) => (name === 'hashed-1' ? 'GPU-real' : undefined) });
  send(agent, request(1, 'hashed-1'));
  assert.deepEqual(asked, ['GPU-real']);
  const told = agent.resources().flatMap(({ attributes, scopes }) => [attributes, ...scopes.flatMap(({ metrics }) => metrics.flatMap(({ points }) => points.map((point) => point.attributes)))]);
  assert.ok(told.length > 10 && told.every((attributes) => ![...attributes.values()].includes('GPU-real')));
});

test('ready: a fresh sample of the source, and nothing else', () => {
  let source: AgentSource = READY;
  const agent = agentWith({ source: () => source, intervalMs: 1000 });
  const why = (): string => agent.ready().why;
  assert.deepEqual(agent.ready(), { ready: false, why: 'no sample of the replay source was exported yet' });
  send(agent, request(1), { stream: 'self' });
  assert.match(why(), /^no sample/);
  send(agent, request(1));
  assert.deepEqual(agent.ready(), { ready: true, why: 'ok' });
  time.now = NOW_NS + 12_000_000_000n;
  assert.deepEqual([why(), own(agent, 'vigil.sample.age'), shownPower(agent).length], ['ok', 12, 2]);
  time.now += 1_000_000n;
  assert.deepEqual([why(), own(agent, 'vigil.ready')], ['the newest sample is 12.0 s old, at most 12 s', 0]);
  assert.deepEqual(agent.resources()[0]!.attributes.get('vigil.producer'), undefined); // the self stream of this test, with its own age
  time.now = NOW_NS;
  source = { label: 'replay', name: 'engine_down', detail: 'no answer' };
  assert.deepEqual([why(), own(agent, 'vigil.source.up', { source: 'replay' })], ['the replay source is engine_down: no answer', 0]);
  source = { label: 'dcgm', name: 'ready', detail: 'engine 4.6.0' };
  assert.equal(why(), 'the newest sample is of replay, the source is dcgm');
  send(agent, request(1), { source: 'dcgm' });
  assert.equal(why(), 'ok');
  assert.equal(own(agent, 'vigil.gpu.info', { 'hw.id': 'GPU-0000', 'dcgm.version': '4.6.0', 'hw.model': 'NVIDIA H100 80GB HBM3' }), 1);
  // The wall clock is set back an hour and the source dies: its last samples are of the future, and still too old.
  time.stepNs = -3_600_000_000_000n;
  assert.equal(why(), 'ok');
  time.now += 12_001_000_000n;
  assert.deepEqual([why(), shownPower(agent)], ['no scrape came for 12.0 s, at most 12 s', [1]]); // the self stream has its own age
  Object.assign(time, { now: NOW_NS, stepNs: 0n });
  agent.hold('panic, boot 2 in 4 s');
  assert.deepEqual([why(), shownPower(agent)], ['the guest is down: panic, boot 2 in 4 s', []]);
  agent.hold(null);
  assert.match(why(), /^no sample/);
});

test("the host's own series go to the collector too", async () => {
  const peer = await collector();
  const agent = agentWith({ otlp: peer.targets(), selfIntervalMs: 20 });
  await until('own series', () => peer.received.length > 0);
  const points = flatten(peer.of('/v1/metrics'));
  assert.ok(points.some(({ name, resource }) => name === 'vigil.build.info' && resource['vigil.producer'] === 'host' && resource['host.name'] === 'node-a'));
  await agent.close();
});
