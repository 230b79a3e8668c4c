// SPDX-License-Identifier: Apache-2.0
// exportd's shipping module under Node: hello, GPU parts, the self series, spans and log records as the published OTLP definitions read
// them, and who may ask what. What goes wrong is exportd-losses.test.ts.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { senderId } from '../../runtime/node/index.js';
import { sourceCode, streamCode } from '../../runtime/bridge/protocol.js';
import { request } from '../bridge/wire.js';
import { FLUSH, NONCE, WALL, addsUp, flush, otlpOf, run, stats, world, type FakeSeries } from './exportd-world.js';
import { spanIdOf, traceIdOf } from './metricsd-frames.js';

interface Decoder { decode(bytes: Uint8Array): unknown; toObject(message: unknown, options: object): unknown }
const published = (createRequire(import.meta.url)('@opentelemetry/otlp-transformer/build/src/generated/root.js') as {
  opentelemetry: { proto: { collector: Record<'metrics' | 'trace' | 'logs', { v1: Record<string, Decoder> }> } };
}).opentelemetry.proto.collector;
const DECODERS = {
  metrics: published.metrics.v1['ExportMetricsServiceRequest']!, traces: published.trace.v1['ExportTraceServiceRequest']!,
  log_records: published.logs.v1['ExportLogsServiceRequest']!,
};
interface Attribute { key: string; value: { stringValue?: string; intValue?: string } }
const attributes = (list: Attribute[] | undefined): Record<string, string> =>
  Object.fromEntries((list ?? []).map(({ key, value }) => [key, value.stringValue ?? value.intValue ?? '?']));
/* eslint-disable-next-line @typescript-eslint/no-explicit-any */
type Any = any;
const decoded = (type: keyof typeof DECODERS, bytes: Uint8Array): Any =>
  DECODERS[type].toObject(DECODERS[type].decode(bytes), { longs: String, enums: Number, bytes: String });

const proof = { profile: 'proof', nonce: NONCE };
const boot = 1_000_000_000n;
/** The wall time of a guest time: the host's clock at the hello, and guest time since. */
const wallAt = (guestNs: bigint): bigint => WALL - boot + guestNs;

test('ready with a port, or without the device; not ready when portd refuses', () => {
  for (const [openStatus, ready] of [[0, true], [8, true], [3, true], [4, false], [5, false]] as const) {
    const w = world();
    w.end.openStatus = openStatus;
    run(w, function* (host) {
      const ping = Buffer.from((yield* host.call('init-lite', request('IN', 2, 1)))!);
      assert.equal(ping.readUInt8(8) === 0, ready, `portd said ${openStatus}`);
      assert.deepEqual(host.console, ready ? ['exportd: ready'] : []);
    });
  }
});

test('profile run: says hello first, then works by the clock; other profiles never', () => {
  const w = world();
  w.dcgmd.scrape = 7n;
  w.dcgmd.parts = [Buffer.from('first part'), Buffer.from('second')];
  run(w, function* (host) {
    assert.equal(w.end.got.length, 0);
    yield* host.idle();
    yield* host.idle();
    assert.deepEqual(w.end.got.map(({ type, seq }) => [type, seq]), [['hello', 0n], ['metrics', 1n], ['metrics', 2n]]);
    const s = yield* stats(host);
    assert.deepEqual([s.acked, s.sessions, s.queueFrames, s.wallOffset], [[2n, 0n, 0n, 0n], 1n, 0n, WALL - boot]);
  });
  const [hello, first, second] = w.end.got;
  assert.equal(hello!.payload.readUInt16LE(0), 1);
  assert.equal(hello!.payload.readUInt16LE(2), 1);
  assert.equal(hello!.payload.readBigUInt64LE(4), 0x0123_4567_89ab_0001n, 'the boot and the start');
  assert.deepEqual([...first!.payload.subarray(0, 8)], [streamCode('gpu'), sourceCode('replay'), 0, 0, 2, 0, 0, 0]);
  assert.deepEqual([...second!.payload.subarray(0, 8)], [streamCode('gpu'), sourceCode('replay'), 1, 0, 2, 0, 0, 0]);
  assert.equal(first!.payload.readBigUInt64LE(8), 7n);
  assert.deepEqual([otlpOf(first!).toString(), otlpOf(second!).toString()], ['first part', 'second']);
  for (const profile of ['proof', 'soak', 'crash']) {
    const still = world({ profile, nonce: NONCE });
    run(still, function* (host) { for (let i = 0; i < 5; i++) yield* host.idle(); });
    assert.deepEqual(still.end.got, [], profile);
  }
});

test('a scrape is taken once; a number jumped over is missed; a restarted dcgmd begins anew', () => {
  const w = world(proof);
  run(w, function* (host) {
    w.dcgmd.parts = [Buffer.alloc(16_000, 1)];
    for (const [scrape, frames, missed, restarts] of [[0n, 0n, 0n, 0n], [5n, 1n, 0n, 0n], [5n, 1n, 0n, 0n], [6n, 2n, 0n, 0n], [9n, 3n, 2n, 0n], [1n, 4n, 2n, 1n]] as const) {
      w.dcgmd.scrape = scrape;
      assert.equal((yield* flush(host, FLUSH.gpu | FLUSH.send)).waiting, 0);
      const s = yield* stats(host);
      assert.deepEqual([s.acked[0], s.missed, s.dcgmdRestarts], [frames, missed, restarts], `scrape ${scrape}`);
    }
    w.dcgmd.scrape = 2n;
    w.dcgmd.partStatus = 5;
    yield* flush(host, FLUSH.gpu | FLUSH.send);
    assert.equal((yield* stats(host)).missed, 3n, 'superseded before it could be read');
    w.dcgmd.partStatus = 0;
    w.dcgmd.scrape = 3n;
    w.dcgmd.parts = [Buffer.alloc(16_001)];
    yield* flush(host, FLUSH.gpu | FLUSH.send);
    assert.deepEqual([(yield* stats(host)).missed, (yield* stats(host)).acked[0]], [4n, 4n], 'a part over the limit');
    w.dcgmd.dead = true;
    w.dcgmd.scrape = 4n;
    w.dcgmd.parts = [Buffer.from('back')];
    yield* flush(host, FLUSH.gpu);
    yield* flush(host, FLUSH.gpu | FLUSH.send);
    assert.deepEqual(w.lookups, ['dcgmd', 'dcgmd']);
    assert.equal(otlpOf(w.end.of('metrics').at(-1)!).toString(), 'back');
  });
});

test('dcgmd ends: the new one\'s scrape is exported even where its number is the old one\'s, and only what it really skipped is missed', () => {
  // [numbers of the old one, number of the new one, scrapes missed in all]
  for (const [old, scrape, missed] of [[[1n], 1n, 0n], [[1n, 2n], 2n, 1n], [[1n], 2n, 1n], [[5n], 1n, 0n], [[3n, 4n], 9n, 8n]] as const) {
    for (const during of ['between scrapes', 'in a part'] as const) {
      const label = `${old.join()} then ${scrape}, ${during}`;
      const w = world(proof);
      run(w, function* (host) {
        for (const number of old) {
          w.dcgmd.scrape = number;
          w.dcgmd.parts = [Buffer.from(`old ${number}`)];
          yield* flush(host, FLUSH.gpu | FLUSH.send);
        }
        let lost = 0n;
        if (during === 'in a part') {
          // LATEST still answers, the part does not.
          lost = 1n;
          w.dcgmd.scrape = old.at(-1)! + 1n;
          w.dcgmd.deadInPart = true;
        } else {
          w.dcgmd.dead = true;
        }
        yield* flush(host, FLUSH.gpu | FLUSH.send);
        assert.equal((yield* stats(host)).dcgmdRestarts, 1n, label);
        w.dcgmd.deadInPart = false;
        w.dcgmd.scrape = scrape;
        w.dcgmd.parts = [Buffer.from('new')];
        yield* flush(host, FLUSH.gpu | FLUSH.send);
        yield* flush(host, FLUSH.gpu | FLUSH.send);
        const s = yield* stats(host);
        assert.deepEqual([s.acked[0], s.missed, s.dcgmdRestarts], [BigInt(old.length) + 1n, missed + lost, 1n], label);
      });
      assert.deepEqual(w.end.of('metrics').map((got) => [got.payload.readBigUInt64LE(8), otlpOf(got).toString()]),
        [...old.map((number) => [number, `old ${number}`]), [scrape, 'new']], label);
    }
  }
});

test('a dcgmd that is not there yet, or has no scrape, is neither missed nor a restart', () => {
  const w = world(proof);
  run(w, function* (host) {
    w.dcgmd.scrape = 0n;
    yield* flush(host, FLUSH.gpu | FLUSH.send);
    w.dcgmd.scrape = 4n;
    w.dcgmd.parts = [Buffer.from('first seen')];
    yield* flush(host, FLUSH.gpu | FLUSH.send);
    const s = yield* stats(host);
    assert.deepEqual([s.acked[0], s.missed, s.dcgmdRestarts], [1n, 0n, 0n]);
  });
});

const FEW: FakeSeries[] = [
  { name: 'timed.fired', kind: 1, value: 12n, sender: 'timed' },
  { name: 'timed.fired', kind: 1, labels: 'qos=idle\nwhy=a=b', value: 3n, sender: 'timed' },
  { name: 'timed.late', kind: 2, unit: 1, value: -5n, sender: 'timed' },
  { name: 'timed.delta_ns', kind: 3, unit: 1, value: 30n, count: 4n, buckets: [[10n, 1n], [20n, 3n], [0xffff_ffff_ffff_ffffn, 0n]], sender: 'timed' },
  { name: 'hw.power', kind: 2, value: 1n, sender: 'dcgmd' },
  { name: 'vigil.receiver.emissions', kind: 1, value: 8n, sender: 'dcgmd' },
  { name: 'hw.lookalike', kind: 1, value: 2n, sender: 'execd' },
  { name: 'child.count', kind: 1, unit: 2, value: 2n ** 64n - 1n, sender: 0xabcn },
];

test('self: counters, gauges and histograms of each producer, with units, times, and without dcgmd\'s hw.*', () => {
  const w = world(proof);
  w.metricsd.series = FEW;
  run(w, function* (host) {
    yield* flush(host, FLUSH.self | FLUSH.send);
    const s = yield* stats(host);
    assert.deepEqual([s.acked[1], s.snapshotsFailed, s.seriesCut], [1n, 0n, 0n]);
  });
  const [frame] = w.end.of('metrics');
  assert.deepEqual([...frame!.payload.subarray(0, 8)], [streamCode('self'), 0, 0, 0, 1, 0, 0, 0]);
  assert.equal(frame!.payload.readBigUInt64LE(8), 1n);
  const { resourceMetrics } = decoded('metrics', otlpOf(frame!));
  assert.deepEqual(resourceMetrics.map((entry: Any) => attributes(entry.resource.attributes)), ['timed', 'dcgmd', 'execd', 'id-0000000000000abc'].map((producer) =>
    ({ 'service.name': 'vigil', 'service.instance.id': NONCE, 'vigil.producer': producer })));
  const metrics = resourceMetrics.map((entry: Any) => entry.scopeMetrics.flatMap((scope: Any) => scope.metrics));
  assert.deepEqual(metrics.map((list: Any[]) => list.map(({ name }) => name)), [
    ['timed.fired', 'timed.late', 'timed.delta_ns'], ['vigil.receiver.emissions'], ['hw.lookalike'], ['child.count'],
  ]);
  const [fired, late, delta] = metrics[0];
  const time = String(wallAt(boot));
  assert.deepEqual([fired.unit, fired.sum.aggregationTemporality, fired.sum.isMonotonic], ['', 2, true]);
  const points = fired.sum.dataPoints;
  assert.deepEqual(points.map((p: Any) => [p.asInt, p.timeUnixNano, p.startTimeUnixNano]), [['12', time, String(WALL - boot)], ['3', time, String(WALL - boot)]]);
  assert.deepEqual(points.map((p: Any) => attributes(p.attributes)), [{}, { qos: 'idle', why: 'a=b' }]);
  assert.deepEqual([late.unit, late.gauge.dataPoints.length, late.gauge.dataPoints[0].asInt, late.gauge.dataPoints[0].timeUnixNano], ['ns', 1, '-5', time]);
  assert.ok(['0', undefined].includes(late.gauge.dataPoints[0].startTimeUnixNano), 'a gauge has no start');
  const [histogram] = delta.histogram.dataPoints;
  assert.equal(delta.histogram.aggregationTemporality, 2);
  assert.deepEqual([histogram.count, histogram.sum, histogram.bucketCounts, histogram.explicitBounds], ['4', 30, ['1', '3', '0'], [10, 20]]);
  assert.equal(metrics[3][0].sum.dataPoints[0].asInt, String(2n ** 63n - 1n), 'a counter beyond i64 stays at its end');
  assert.equal(metrics[3][0].unit, 'By');
});

test('self: thousands of series make parts that each decode, that say how many they are, and that hold every series once', () => {
  const w = world(proof);
  w.metricsd.series = Array.from({ length: 1200 }, (_none, i): FakeSeries => ({
    name: `series.${i % 7 === 0 ? i : i - (i % 7)}`, kind: i % 3 === 0 ? 2 : 1, value: BigInt(i), labels: `at=${i}\npad=${'x'.repeat(i % 90)}`, sender: i % 200 < 100 ? 'timed' : 'execd',
  }));
  run(w, function* (host) {
    yield* flush(host, FLUSH.self | FLUSH.send);
    yield* flush(host, FLUSH.self | FLUSH.send);
    const s = yield* stats(host);
    assert.deepEqual([s.seriesCut, s.snapshotsFailed, s.dropped[1]], [0n, 0n, 0n]);
  });
  const frames = w.end.of('metrics');
  assert.ok(frames.length > 8, `${frames.length}`);
  for (const snapshot of [1n, 2n]) {
    const parts = frames.filter(({ payload }) => payload.readBigUInt64LE(8) === snapshot);
    assert.deepEqual(parts.map(({ payload }) => [payload.readUInt16LE(2), payload.readUInt16LE(4)]), parts.map((_part, i) => [i, parts.length]));
    const seen = new Map<string, string>();
    for (const part of parts) {
      assert.ok(otlpOf(part).length <= 16_000);
      for (const { resource, scopeMetrics } of decoded('metrics', otlpOf(part)).resourceMetrics) {
        for (const metric of scopeMetrics.flatMap((scope: Any) => scope.metrics)) {
          for (const point of (metric.sum ?? metric.gauge).dataPoints) {
            const { at } = attributes(point.attributes);
            assert.ok(!seen.has(at!), `series ${at} twice`);
            seen.set(at!, `${attributes(resource.attributes)['vigil.producer']} ${metric.name} ${metric.sum ? 1 : 2} ${point.asInt}`);
          }
        }
      }
    }
    assert.deepEqual([...seen].sort(), w.metricsd.series.map((s, i): [string, string] => [String(i), `${s.sender} ${s.name} ${s.kind} ${s.value}`]).sort());
  }
});

test('self: start times stay while metricsd lives, and move to the last snapshot before its restart', () => {
  const w = world(proof);
  w.metricsd.series = [{ name: 'c', kind: 1, value: 1n }];
  const starts: string[] = [];
  run(w, function* (host) {
    for (const generation of [1, 1, 2, 2, 3]) {
      w.metricsd.generation = generation;
      yield* flush(host, FLUSH.self | FLUSH.send);
      starts.push(decoded('metrics', otlpOf(w.end.of('metrics').at(-1)!)).resourceMetrics[0].scopeMetrics[0].metrics[0].sum.dataPoints[0].startTimeUnixNano);
      host.advance(1_000_000_000n);
    }
  });
  assert.deepEqual(starts, [0n, 0n, boot + 1_000_000_000n, boot + 1_000_000_000n, boot + 3_000_000_000n].map((guest) => String(wallAt(guest))));
});

const span = (id: bigint, more: Record<string, string>): string => Object.entries({
  'duration_ns': '100', 'end_ns': '5000', kind: 'span', name: 'execd.exec', parent: '0'.repeat(16), producer: senderId('execd').toString(16).padStart(16, '0'),
  span: id.toString(16).padStart(16, '0'), status: 'ok', trace: traceIdOf('execd', 1).toString(16).padStart(16, '0'), ...more,
}).filter(([, value]) => value !== '-').map(([key, value]) => `${key}=${value}`).join('\n');
const ended = (fields: string): { sender: string; scope: string; message: string; fields: string } =>
  ({ sender: 'metricsd', scope: 'metricsd', message: 'tracing span end name=execd.exec status=ok', fields });

test('traces: ids, times, kind, status and attributes; spans in two records; one whose first part is missing', () => {
  const w = world(proof);
  const id = (n: number): bigint => spanIdOf('execd', n);
  w.logd.records = [
    ended(span(id(1), { 'attr.image': 'child', 'attr.same': 'start', 'end.code': '0', 'end.same': 'end' })),
    ended(span(id(2), { parent: id(1).toString(16).padStart(16, '0'), status: 'error' })),
    ended(span(id(3), { status: 'timeout' })),
    ended(span(id(4), { part: '1', 'attr.a': '1', 'duration_ns': '-', 'end_ns': '-', status: '-', parent: '-', 'start_ns': '4900' })),
    ended(span(id(4), { part: '2', 'end.b': '2' })),
    ended(span(id(5), { part: '2', 'end.b': '2' })),
    { ...ended(span(id(6), {})), sender: 'execd' },
    ended(span(0n, {})),
  ];
  run(w, function* (host) {
    yield* flush(host, FLUSH.records | FLUSH.send);
    const s = yield* stats(host);
    assert.deepEqual([s.cursor, s.spans, s.spanParts, s.spansHalf, s.logs, s.recordsCut], [8n, 5n, 1n, 1n, 2n, 0n]);
    assert.deepEqual(s.itemsAcked, [0n, 0n, 5n, 2n]);
  });
  const [frame] = w.end.of('traces');
  assert.deepEqual([frame!.payload.readUInt32LE(8), frame!.payload.readUInt32LE(12), frame!.payload.readBigUInt64LE(16)], [5, 0, 0n]);
  const { resourceSpans } = decoded('traces', otlpOf(frame!));
  assert.deepEqual(resourceSpans.map((entry: Any) => attributes(entry.resource.attributes)), [{ 'service.name': 'execd' }]);
  const spans = resourceSpans[0].scopeSpans[0].spans;
  const hex = (base64: string): string => Buffer.from(base64, 'base64').toString('hex');
  assert.deepEqual(spans.map((s: Any) => hex(s.spanId)), [1, 2, 3, 4, 5].map((n) => id(n).toString(16).padStart(16, '0')));
  assert.ok(spans.every((s: Any) => hex(s.traceId) === NONCE + traceIdOf('execd', 1).toString(16).padStart(16, '0') && s.kind === 1 && s.name === 'execd.exec'));
  assert.deepEqual(spans.map((s: Any) => hex(s.parentSpanId ?? '')), ['', id(1).toString(16).padStart(16, '0'), '', '', '']);
  assert.deepEqual(spans.map((s: Any) => [s.status.code, s.status.message ?? '']), [[1, ''], [2, ''], [2, 'timeout'], [1, ''], [1, '']]);
  assert.deepEqual([spans[0].startTimeUnixNano, spans[0].endTimeUnixNano], [String(wallAt(4900n)), String(wallAt(5000n))]);
  assert.deepEqual(spans.map((s: Any) => attributes(s.attributes)), [{ image: 'child', same: 'start', code: '0' }, {}, {}, { a: '1', b: '2' }, { b: '2' }]);
  assert.equal(spans[0].attributes.length, 3, 'keys are unique');
});

test('log records: severity, body, attributes, sender, scope; metricsd\'s snapshots stay out', () => {
  const w = world(proof);
  w.logd.records = [
    ...[0, 1, 2, 3, 4].map((level) => ({ level, message: `level ${level}`, fields: 'a=1\nb=x=y\nno key\na=2', tsNs: 77n })),
    { sender: 'metricsd', scope: 'metricsd', message: 'metrics snapshot counter name=x value=1', fields: 'k=v' },
    { sender: 'metricsd', scope: 'metricsd', message: 'metricsd limits recipe=base', fields: '' },
    { sender: 'timed', scope: 't', message: 'metrics snapshot of another', fields: 'source=replay' },
    { sender: 0n, scope: '', message: '', fields: '' },
    { sender: 99n, scope: 's', message: 'caf\xe9\nline', fields: 'k=\xff' },
    { sender: 'dcgmd', scope: 'dcgmd', message: 'gpu scrape', fields: 'source=replay' },
  ];
  run(w, function* (host) {
    yield* flush(host, FLUSH.records | FLUSH.send);
    const s = yield* stats(host);
    assert.deepEqual([s.cursor, s.logs, s.snapshotsLeftOut, s.lost, s.itemsAcked[3]], [11n, 10n, 1n, 0n, 10n]);
  });
  const [frame] = w.end.of('log_records');
  const { resourceLogs } = decoded('log_records', otlpOf(frame!));
  const rows = resourceLogs.flatMap((entry: Any) => entry.scopeLogs.flatMap((scope: Any) => scope.logRecords.map((record: Any) =>
    ({ service: attributes(entry.resource.attributes)['service.name'], scope: scope.scope.name, ...record }))));
  assert.deepEqual(rows.slice(0, 5).map((r: Any) => [r.severityNumber, r.severityText]), [[17, 'ERROR'], [13, 'WARN'], [9, 'INFO'], [5, 'DEBUG'], [1, 'TRACE']]);
  assert.deepEqual(rows.map((r: Any) => `${r.service}/${r.scope}`), [...Array<string>(5).fill('execd/execd'), 'metricsd/metricsd', 'timed/t', 'kernel/', 'id-0000000000000063/s', 'dcgmd/dcgmd']);
  assert.deepEqual([6, 9].map((at) => attributes(rows[at].attributes)['vigil.source']), [undefined, 'replay'], 'dcgmd alone knows a source');
  assert.deepEqual(attributes(rows[0].attributes), { 'vigil.record.id': '1', a: '1', b: 'x=y', 'vigil.text': 'no key' });
  assert.equal(rows[0].attributes.length, 4, 'keys are unique');
  assert.deepEqual([rows[0].timeUnixNano, rows[0].observedTimeUnixNano, rows[0].body.stringValue], [String(wallAt(77n)), String(wallAt(boot)), 'level 0']);
  assert.deepEqual([rows[8].body.stringValue, attributes(rows[8].attributes)['k']], ['caf?\nline', '?'], 'text that is not ASCII');
});

test('many records: batches of whole items, every record once and in order', () => {
  const w = world(proof);
  w.logd.records = Array.from({ length: 500 }, (_none, i) => ({ message: `m${i}`, fields: `f=${'x'.repeat(i % 500)}`, sender: i % 3 === 0 ? 'timed' : 'execd' }));
  run(w, function* (host) {
    yield* flush(host, FLUSH.records | FLUSH.send);
    const s = yield* stats(host);
    assert.deepEqual([s.cursor, s.logs, s.recordsCut], [500n, 500n, 0n]);
    addsUp(s);
  });
  const bodies = w.end.of('log_records').flatMap((frame) => {
    const all = decoded('log_records', otlpOf(frame)).resourceLogs.flatMap((e: Any) => e.scopeLogs.flatMap((s: Any) => s.logRecords.map((r: Any) => r.body.stringValue)));
    assert.equal(frame.payload.readUInt32LE(8), all.length);
    return all as string[];
  });
  assert.deepEqual(bodies, w.logd.records.map(({ message }) => message));
});

test('FLUSH is selftest\'s alone, in profile proof; malformed and unknown frames are refused', () => {
  const w = world(proof);
  run(w, function* (host) {
    assert.equal((yield* flush(host, FLUSH.send, 'dcgmd')).status, 3);
    assert.equal((yield* flush(host, 0)).status, 1);
    assert.equal((yield* flush(host, 16)).status, 1);
    assert.equal(Buffer.from((yield* host.call('selftest', request('XP', 1, 9)))!).readUInt8(4), 1);
    assert.equal(Buffer.from((yield* host.call('selftest', request('XP', 2, 9, Buffer.alloc(1))))!).readUInt8(4), 1);
    assert.equal(Buffer.from((yield* host.call('selftest', request('XP', 9, 9)))!).readUInt8(4), 2);
    assert.equal(Buffer.from((yield* host.call('selftest', request('QQ', 1, 9)))!).readUInt8(4), 1);
    assert.equal((yield* flush(host, FLUSH.send)).status, 0);
  });
  const running = world();
  run(running, function* (host) { assert.equal((yield* flush(host, FLUSH.send)).status, 3); });
});
