// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that dcgmd (the shipping wasm), talking to the real bridge code over a simulated portd, makes the right series, records,
// requests and counts of a capture, drops every kind of blank, and survives a host that refuses, lies or stalls.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeFrame, type Frame } from '../../runtime/bridge/codec.js';
import { SourceError, type Sample, type Source } from '../../runtime/bridge/source.js';
import { ReplaySource } from '../../runtime/bridge/sources/replay.js';
import { ScriptedSource } from '../../runtime/bridge/sources/scripted.js';
import { gpuPoints, gpuGroups } from '../../runtime/export/gpu-metrics.js';
import { catalogField, hasField } from '../../runtime/bridge/catalog.js';
import {
  DENIED, Edited, KINDS, MALFORMED, NOT_FOUND, OK, UNAVAILABLE, capture, latest, part, ping, run, scrape, stats, world,
} from './dcgmd-world.js';

/** Fields that are watched unless the configuration says otherwise, on a node without switches. */
const on = new Set(gpuGroups.filter((group) => group.default === 'enabled').map(({ name }) => name));
const watched = gpuPoints.filter(({ group }) => on.has(group)).flatMap(({ field, last }) => Array.from({ length: (last ?? field) - field + 1 }, (_, i) => field + i));
const perGpu = watched.filter((id) => hasField(1, catalogField(id)!)).length;
const SAMPLES = perGpu * capture.entities.length;
/** The order of series: by UUID within a kind. */
const byUuid = [...capture.entities].sort((a, b) => (a.uuid < b.uuid ? -1 : 1));
const SERIES = capture.samples.filter(({ fieldId }) => watched.includes(fieldId)).length;

test('proof: ready, then a scrape makes the capture\'s series, a request for exportd and eight temperature records, labelled replay', () => {
  const w = world();
  run(w, function* () {
    assert.equal(yield* ping(w), true);
    assert.deepEqual(yield* scrape(w), { status: OK, entities: 8, samples: SAMPLES, series: SERIES, blanks: SAMPLES - SERIES, lost: 0, source: 1 });
    assert.deepEqual(w.host.console, ['dcgmd: ready', 'dcgmd: source replay']);
    assert.deepEqual(w.port.requests, [8, 1, 6, 3, 4, ...w.port.requests.slice(5)], 'config, connect, version, enumerate, watch, then values');
    assert.ok(w.port.requests.slice(5).every((type) => type === 5));
    const watch = w.port.payloads.get(4)!;
    const fields = Array.from({ length: watch.readUInt16LE(12) }, (_, i) => watch.readUInt16LE(16 + i * 2));
    assert.deepEqual(fields, [...new Set(watched)].sort((a, b) => a - b), 'sorted, each once');
    assert.deepEqual([watch.readBigUInt64LE(0), watch.readUInt32LE(8)], [7_500_000n, 40], 'update every half interval, keep two and 10 s');
  });
  assert.deepEqual(w.logged('gpu sample').map((fields) => [fields['hw.id'], fields['value'], fields['source'], fields['unit']]),
    byUuid.map((entity) => [entity.uuid, String(capture.samples.find((s) => s.entityId === entity.id && s.fieldId === 150)!.value), 'replay', 'Cel']));
  assert.deepEqual(w.logged('gpu scrape'), [{ scrape: '1', entities: '8', samples: String(SAMPLES), series: String(SERIES), blanks: String(SAMPLES - SERIES),
    stale: '0', errors: '0', dropped: '0', source: 'replay' }]);
  assert.deepEqual(w.logged('gpu config'), [{ bytes: '0', collection_interval_ms: '15000', initial_delay_ms: '1000', fields: String(new Set(watched).size) }]);
  assert.deepEqual(w.logged('gpu receiver up'), [{ port_status: '0', generation: '1' }]);
  const power = w.metrics.of('hw.power');
  const milliwatts = [113611n, 68347n, 65709n, 67316n, 68717n, 65742n, 67328n, 66997n];
  assert.deepEqual(power.map(({ labels, value }) => [labels, value]),
    byUuid.map(({ id, uuid }) => [`hw.gpu.index=${id}\nhw.id=${uuid}\nsource=replay\nunit=mW`, milliwatts[id]]));
  assert.equal(w.metrics.of('hw.gpu.utilization')[0]!.labels, `hw.gpu.index=${byUuid[0]!.id}\nhw.id=${byUuid[0]!.uuid}\nhw.gpu.task=general\nsource=replay\nunit=%`);
  assert.ok(w.metrics.gpu.length === SERIES && w.metrics.gpu.every(({ kind, value, labels }) => kind === 2 && value !== undefined && labels.length <= 192));
  assert.deepEqual(w.metrics.spans, [{ name: 'dcgmd.scrape', status: 0, attrs: 'kind=none\nsource=replay' }]);
});

test('what it says of itself: emissions, samples by outcome, duration, activity; nothing else was ever sent', () => {
  const w = world();
  run(w, function* () { yield* scrape(w); yield* scrape(w); });
  const { metrics } = w;
  assert.equal(metrics.own('vigil.receiver.emissions'), 2n);
  assert.equal(metrics.own('vigil.receiver.samples', 'status=ok'), BigInt(2 * SERIES));
  assert.equal(metrics.own('vigil.receiver.samples', 'status=no_data'), BigInt(2 * (SAMPLES - SERIES)));
  assert.equal(metrics.own('vigil.receiver.last_activity', 'unit=s'), 1_800_000_001n);
  assert.equal(metrics.own('vigil.receiver.series.not_retained'), 0n);
  assert.equal(metrics.own('vigil.receiver.degraded'), 0n);
  for (const kind of KINDS) assert.equal(metrics.own('vigil.receiver.errors', `kind=${kind}`), 0n, kind);
  const names = [...new Set(metrics.series.map(({ name }) => name).filter((name) => !name.startsWith('hw.')))].sort();
  assert.deepEqual(names, ['vigil.receiver.degraded', 'vigil.receiver.emissions', 'vigil.receiver.errors', 'vigil.receiver.last_activity', 'vigil.receiver.samples', 'vigil.receiver.scrape.duration',
    'vigil.receiver.series.not_retained']);
});

test('before any scrape the receiver says that it is not degraded, and has no error of any kind', () => {
  const w = world({ profile: 'run', config: 'initial_delay_ms=60000\n' });
  run(w, function* () { yield* w.host.idle(); });
  assert.equal(w.metrics.own('vigil.receiver.degraded'), 0n);
  for (const kind of KINDS) assert.equal(w.metrics.own('vigil.receiver.errors', `kind=${kind}`), 0n, kind);
  assert.deepEqual([...new Set(w.metrics.series.map(({ name }) => name))].sort(), ['vigil.receiver.degraded', 'vigil.receiver.errors']);
});

test('a second scrape keeps the session and the series', () => {
  const w = world();
  run(w, function* () {
    yield* scrape(w);
    const after = w.port.requests.length;
    assert.equal((yield* scrape(w)).series, SERIES);
    assert.ok(w.port.requests.slice(after).every((type) => type === 5), 'only latest_values');
    assert.equal(w.metrics.gpu.length, SERIES);
    assert.deepEqual(w.host.console, ['dcgmd: source replay'], 'said once');
  });
});

const blanks: [string, number, bigint | number, number, 'blanks' | 'lost'][] = [
  ['int64 blank', 150, 0x7ffffffffffffff0n, 0, 'blanks'], ['int64 not supported', 150, 0x7ffffffffffffff2n, 0, 'blanks'],
  ['int64 largest', 150, 0x7fffffffffffffffn, 0, 'blanks'], ['int32 blank in an int64', 150, 0x7ffffff0n, 0, 'blanks'],
  ['int32 not permitted in an int64', 150, 0x7ffffff3n, 0, 'blanks'], ['double blank', 155, 2 ** 47, 0, 'blanks'],
  ['double not found', 155, 2 ** 47 + 1, 0, 'blanks'], ['infinity', 155, Infinity, 0, 'lost'], ['NaN', 155, NaN, 0, 'lost'],
  ['minus infinity', 155, -Infinity, 0, 'lost'], ['a status with a plausible value', 150, 31n, -6, 'blanks'],
  ['not watched', 150, 31n, -16, 'blanks'], ['not permitted', 150, 31n, -17, 'blanks'], ['an engine that failed', 150, 31n, -3, 'lost'],
  ['a GPU that is lost', 150, 31n, -18, 'lost'], ['stale by status', 150, 31n, -15, 'lost'],
];
for (const [name, fieldId, value, status, where] of blanks) {
  test(`no series from ${name}`, () => {
    const w = world({ source: new Edited((sample) => (sample.fieldId === fieldId && sample.entityId === 3 ? { ...sample, value, status } : sample)) });
    run(w, function* () {
      const got = yield* scrape(w);
      assert.deepEqual([got.status, got.series, got.blanks - (SAMPLES - SERIES), got.lost], [OK, SERIES - 1, where === 'blanks' ? 1 : 0, where === 'lost' ? 1 : 0]);
      const { degraded, kinds } = yield* stats(w);
      assert.equal(degraded, false, 'a sample degrades nothing');
      assert.equal(kinds.read, status === -3 || status === -18 || status === -15 ? 1n : 0n);
    });
    assert.ok(w.metrics.gpu.every(({ value: v }) => v! < 200_000n));
  });
}

test('a stale sample, a wrong type and an unknown entity are counted and set nothing; kind read once a scrape, not degraded, silent the next time', () => {
  const edit = (sample: Sample): Sample => {
    if (sample.fieldId !== 150) return sample;
    if (sample.entityId === 0 || sample.entityId === 4) return { ...sample, tsUs: sample.tsUs - 40_000_001n };
    if (sample.entityId === 1) return { ...sample, type: 100, value: 30 };
    if (sample.entityId === 5) return { ...sample, tsUs: sample.tsUs - 40_000_000n };
    return sample.entityId === 2 ? { ...sample, entityId: 77 } : sample;
  };
  const w = world({ source: new Edited(edit) });
  run(w, function* () {
    for (let i = 1; i <= 3; i++) {
      const got = yield* scrape(w);
      assert.deepEqual([got.status, got.series, got.lost], [OK, SERIES - 4, 4]);
      const { degraded, kinds, stale } = yield* stats(w);
      assert.deepEqual([degraded, kinds.read, stale], [false, BigInt(i), BigInt(2 * i)]);
    }
  });
  assert.deepEqual(w.logged('gpu failure'), [{ kind: 'read', detail: '2', silent: '0' }]);
  assert.deepEqual(w.logged('gpu degraded'), []);
  assert.equal(w.metrics.own('vigil.receiver.samples', 'status=stale'), 6n);
  assert.equal(w.metrics.own('vigil.receiver.samples', 'status=homeless'), 3n);
  assert.equal(w.metrics.own('vigil.receiver.samples', 'status=bad'), 3n);
  assert.equal(w.metrics.own('vigil.receiver.errors', 'kind=read'), 3n);
});

test('refusals and lies of the host: unavailable, no line, and the next scrape works', () => {
  const of = (type: number, bytes: (payload: Buffer) => Buffer) => (frame: Frame): Buffer[] =>
    [encodeFrame(frame.type === (type | 0x80) ? { ...frame, payload: bytes(frame.payload) } : frame)];
  const lies: ((frame: Frame) => Buffer[])[] = [
    () => [],
    (frame) => [encodeFrame({ ...frame, nonce: frame.nonce + 1 })],
    (frame) => [encodeFrame({ ...frame, type: frame.type ^ 1 })],
    (frame) => [encodeFrame({ ...frame, payload: Buffer.alloc(0) })],
    (frame) => [encodeFrame({ ...frame, payload: Buffer.from([8]) })],
    (frame) => [encodeFrame({ ...frame, payload: Buffer.concat([frame.payload, Buffer.from([0])]) })],
    (frame) => [encodeFrame(frame).subarray(0, 20)],
    (frame) => { const bytes = encodeFrame(frame); bytes[bytes.length - 1]! ^= 1; return [bytes]; },
    of(1, (payload) => Buffer.concat([Buffer.from([0, 9]), payload.subarray(2)])),
    of(3, (payload) => Buffer.concat([payload.subarray(0, 4), Buffer.from([0, 0, 0, 9]), payload.subarray(8)])),
    of(3, (payload) => payload.subarray(0, payload.length - 1)),
    of(5, (payload) => Buffer.concat([payload.subarray(0, 2), Buffer.from([1, 0]), payload.subarray(4)])),
    of(6, (payload) => Buffer.concat([Buffer.from([0, 3]), payload.subarray(2)])),
    of(6, () => Buffer.from([9])),
    of(8, () => Buffer.from([0, 5, 0, 0x61])),
    of(8, () => Buffer.from([10])),
  ];
  for (const lie of lies) {
    const w = world();
    run(w, function* () {
      const honest = w.port.mangle;
      w.port.mangle = lie;
      assert.equal((yield* scrape(w)).status, UNAVAILABLE, String(lie));
      assert.equal((yield* stats(w)).degraded, true);
      assert.equal((yield* latest(w)).scrape, 0n, 'nothing was published');
      assert.deepEqual(w.host.console, []);
      w.port.mangle = honest;
      w.port.outgoing = [];
      assert.equal((yield* scrape(w)).status, OK, String(lie));
      assert.equal((yield* stats(w)).degraded, false);
    });
  }
});

test('garbage, a late reply and a split before the right reply do not matter', () => {
  const w = world();
  w.port.mangle = (frame) => [Buffer.from('noise VGLB'), encodeFrame({ ...frame, nonce: 9999 }), encodeFrame(frame).subarray(0, 21), encodeFrame(frame).subarray(21)];
  run(w, function* () { assert.equal((yield* scrape(w)).series, SERIES); });
});

test('LATEST and PART: exportd alone, by its identity and policyd\'s word, which is asked for once a minute; the last two scrapes and no other', () => {
  const w = world();
  run(w, function* () {
    assert.deepEqual(yield* latest(w), { status: OK, scrape: 0n, parts: 0, points: 0, source: 0, wallNs: 0n });
    assert.equal((yield* part(w, 1n, 0)).status, NOT_FOUND);
    yield* scrape(w);
    const first = yield* latest(w);
    assert.deepEqual([first.scrape, first.parts, first.points, first.source], [1n, 1, SERIES, 1]);
    assert.ok(first.wallNs > 1_800_000_000_000_000_000n);
    const one = yield* part(w, 1n, 0);
    assert.deepEqual((yield* part(w, 1n, 0, 7)).bytes, one.bytes, 'in small pieces');
    assert.ok(one.bytes.includes('hw.temperature') && one.bytes.includes('vigil.source') && one.bytes.includes('replay'));
    assert.equal((yield* part(w, 1n, 1)).status, NOT_FOUND, 'a part behind the last');
    w.host.advance(1_000_000_000n);
    yield* scrape(w);
    const two = yield* part(w, 2n, 0);
    assert.notDeepEqual(two.bytes, one.bytes);
    assert.deepEqual((yield* part(w, 1n, 0)).bytes, one.bytes, 'the one before is still there');
    yield* scrape(w);
    assert.equal((yield* part(w, 1n, 0)).status, NOT_FOUND);
    assert.deepEqual((yield* part(w, 2n, 0)).bytes, two.bytes);
    assert.deepEqual(w.asked, ['gpu.export']);
    for (const stranger of ['selftest', 'portd', 'metricsd']) {
      assert.equal((yield* latest(w, stranger)).status, DENIED);
      assert.equal((yield* part(w, 3n, 0, 8000, stranger)).status, DENIED);
    }
    w.host.advance(61_000_000_000n);
    w.policy = false;
    assert.equal((yield* latest(w)).status, DENIED);
    w.policy = null;
    assert.equal((yield* latest(w)).status, DENIED, 'silence');
    w.policy = true;
    assert.equal((yield* latest(w)).scrape, 3n);
  });
});

test('a failed scrape leaves the last finished one as it is', () => {
  const w = world();
  run(w, function* () {
    yield* scrape(w);
    const { bytes } = yield* part(w, 1n, 0);
    w.port.mangle = (frame) => (frame.type === 0x85 ? [encodeFrame({ ...frame, payload: Buffer.from([8]) })] : [encodeFrame(frame)]);
    assert.equal((yield* scrape(w)).status, UNAVAILABLE);
    assert.equal((yield* latest(w)).scrape, 1n);
    assert.deepEqual((yield* part(w, 1n, 0)).bytes, bytes);
  });
});

test('a whole node: every series reaches exportd, and metricsd while there is room; over the cap the lowest tiers go, counted by group', () => {
  const w = world({ source: new ScriptedSource('h100x8', 'steady', () => 1000) });
  run(w, function* () {
    const got = yield* scrape(w);
    assert.equal(got.status, OK);
    assert.equal(w.metrics.gpu.length, got.series);
    assert.ok(got.series > 400 && got.series < 1024, String(got.series));
    const full = yield* latest(w);
    assert.equal(full.points, got.series);
    assert.ok(full.parts > 1);
    let bytes = 0;
    for (let i = 0; i < full.parts; i++) bytes += (yield* part(w, 1n, i)).bytes.length;
    assert.ok(bytes > 20_000);
    assert.equal((yield* stats(w)).kinds.cardinality, 0n);
    const capped = yield* scrape(w, got.series - 10);
    assert.deepEqual([capped.series, capped.lost], [got.series - 10, 10]);
    const after = yield* stats(w);
    assert.deepEqual([after.kinds.cardinality, after.dropped, after.degraded], [1n, 10n, false]);
  });
  assert.equal(w.metrics.own('vigil.receiver.series.dropped', 'group=ecc_aggregate'), 10n);
  assert.deepEqual(w.logged('gpu failure'), [{ kind: 'cardinality', detail: '10', silent: '0' }]);
});

test('metricsd gets 1,036 series and no more; the rest is counted as not retained and still reaches exportd', () => {
  const config = ['max_series_per_scrape=4096', ...['pipes', 'nvlink_errors', 'row_remap', 'pcie_errors', 'limits', 'memory_copy'].map((name) => `group.${name}=enabled`)];
  const w = world({ source: new ScriptedSource('h100x8', 'steady', () => 1000), config: config.map((line) => `${line}\n`).join('') });
  run(w, function* () {
    const got = yield* scrape(w);
    assert.ok(got.series > 1_036, String(got.series));
    assert.equal((yield* latest(w)).points, got.series);
    assert.equal(w.metrics.gpu.length, 1_036);
    assert.equal((yield* stats(w)).notCopied, BigInt(got.series - 1_036));
    assert.equal(w.metrics.own('vigil.receiver.series.not_retained'), BigInt(got.series - 1_036));
    assert.equal(w.metrics.of('hw.power').filter(({ labels }) => !labels.includes('rail')).length, 8, 'the useful ones first');
    assert.ok(w.metrics.series.length <= 1_100);
  });
});

test('metricsd refuses: kind downstream, not degraded, and exportd still gets everything', () => {
  const w = world();
  run(w, function* () {
    w.metrics.refuse = 2; // over_limit
    assert.equal((yield* scrape(w)).status, OK);
    const { degraded, kinds, lost } = yield* stats(w);
    assert.deepEqual([degraded, kinds.downstream > 0n, lost > 0n], [false, true, true]);
    assert.equal((yield* latest(w)).points, SERIES);
  });
});

test('SCRAPE: malformed bodies, and no cap of 0 or over the table', () => {
  const w = world();
  run(w, function* () {
    for (const cap of [0, 4097]) assert.equal((yield* scrape(w, cap)).status, MALFORMED);
    assert.equal((yield* scrape(w, 4096)).status, OK);
    assert.equal((yield* scrape(w, 1)).series, 1);
  });
});

test('a source that refuses as the stub does is never called replay', () => {
  const refuse = (): never => { throw new SourceError('unavailable', 'no engine'); };
  const stub: Source = { label: 'stub', connect: refuse, startEmbedded: refuse, enumerate: refuse, watch: refuse, latestValues: refuse, version: refuse, close: () => undefined };
  const w = world({ source: stub });
  run(w, function* () {
    assert.equal((yield* scrape(w)).status, UNAVAILABLE);
    assert.deepEqual(w.host.console, []);
    assert.equal((yield* stats(w)).kind, 'connect');
  });
});

test('another source under the same series is refused, said so, and forgotten when the first is back', () => {
  const w = world();
  run(w, function* () {
    yield* scrape(w);
    const other = new ReplaySource(capture);
    w.port.source = new Proxy(other, { get: (target, key) => (key === 'label' ? 'nvml' : Reflect.get(target, key, target) as unknown) });
    w.port.connections += 1;
    for (let i = 0; i < 2; i++) assert.equal((yield* scrape(w)).status, UNAVAILABLE);
    assert.equal((yield* stats(w)).kind, 'connect');
    assert.ok(w.logged('gpu failure').some(({ kind, detail }) => kind === 'connect' && detail === '-210'));
    w.port.source = new ReplaySource(capture);
    w.port.connections += 1;
    yield* scrape(w);
    assert.equal((yield* scrape(w)).status, OK);
  });
});
