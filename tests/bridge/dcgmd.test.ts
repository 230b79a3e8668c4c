// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that dcgmd (the shipping wasm), talking to the real bridge code over a simulated portd, makes the right series
// and records of a capture, drops every kind of blank, and survives a host that refuses, lies, stalls, leaves or restarts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameDecoder, encodeFrame, type Frame } from '../../runtime/bridge/codec.js';
import { defaultFixture } from '../../runtime/bridge/index.js';
import { Dialogue, type Clock } from '../../runtime/bridge/session.js';
import { SourceError, type Sample, type Source } from '../../runtime/bridge/source.js';
import { ReplaySource, loadCapture } from '../../runtime/bridge/sources/replay.js';
import { Host, buildModule, type Outcome, type Peer, type PeerAnswer, type PeerMessage, type Script, type Step } from '../../runtime/node/index.js';
import { answer, logAnswer, reply, request, u32, u64, u8 } from './wire.js';

const wasm = await buildModule('dcgmd');
const [SCRAPE, STATS] = [1, 2];
const [OK, , , DENIED, UNAVAILABLE] = [0, 1, 2, 3, 4];
const clock: Clock = { wallNs: () => 1_800_000_000_000_000_000n, monoNs: () => 5n };

/** portd with a bridge behind it; `mangle` sees each reply frame before dcgmd does. */
class FakePort {
  readonly decoder = new FrameDecoder();
  outgoing: Buffer[] = [];
  connections = 1;
  requests: number[] = [];
  openStatus = 0;
  writeStatus = 0;
  onWrite: (nowNs: bigint) => void = () => undefined;
  mangle: (frame: Frame) => Buffer[] = (frame) => [encodeFrame(frame)];
  private dialogue: Dialogue | null = null;
  constructor(private current: Source) {}
  get source(): Source { return this.current; }
  set source(source: Source) { this.current = source; this.dialogue = null; }
  private answerHost(frame: Frame): Frame {
    this.dialogue ??= new Dialogue(this.current, clock, () => undefined);
    return this.dialogue.answerNow(frame);
  }

  readonly peer: Peer = (message: PeerMessage): PeerAnswer => {
    const bytes = Buffer.from(message.bytes);
    const op = bytes.readUInt8(3);
    if (op === 1) {
      assert.equal(bytes.subarray(9).toString(), 'org.vigil.dcgm');
      return answer(bytes, this.openStatus, this.openStatus === 0 ? Buffer.concat([u32(0), u8(1)]) : undefined);
    }
    if (op === 2) {
      this.onWrite(message.host.now_ns);
      if (this.writeStatus !== 0) return answer(bytes, this.writeStatus);
      for (const frame of this.decoder.push(bytes.subarray(12))) {
        this.requests.push(frame.type);
        this.outgoing.push(...this.mangle(this.answerHost(frame)));
      }
      return answer(bytes, 0);
    }
    if (op !== 3) return answer(bytes, 2);
    const max = bytes.readUInt16LE(12);
    const until = bytes.readBigUInt64LE(14);
    const all = Buffer.concat(this.outgoing);
    this.outgoing = all.length > max ? [all.subarray(max)] : [];
    const delay_ns = all.length === 0 ? until - message.host.now_ns : 0n;
    return { bytes: answer(bytes, 0, Buffer.concat([u32(this.connections), all.subarray(0, max)])), delay_ns };
  };
}

/** metricsd as far as REGISTER and BATCH go. */
class FakeMetrics {
  readonly series: { name: string; labels: string; value: bigint | undefined }[] = [];
  readonly peer: Peer = ({ bytes }) => {
    const asked = Buffer.from(bytes);
    if (asked.readUInt8(3) === 7) {
      const [nameLen, labelsLen] = [asked.readUInt8(10), asked.readUInt16LE(12)];
      assert.equal(asked.readUInt8(8), 2, 'a gauge');
      assert.equal(asked.length, 14 + nameLen + labelsLen);
      this.series.push({ name: asked.subarray(14, 14 + nameLen).toString(), labels: asked.subarray(14 + nameLen).toString(), value: undefined });
      return answer(asked, 0, u32(this.series.length));
    }
    assert.equal(asked.readUInt8(3), 8);
    for (let at = 12; at < asked.length; at += 12) this.series[asked.readUInt32LE(at) - 1]!.value = asked.readBigInt64LE(at + 4);
    return answer(asked, 0);
  };
}

interface World { host: Host; port: FakePort; metrics: FakeMetrics; records: { message: string; fields: Map<string, string> }[] }

function world(source: Source = new ReplaySource(loadCapture(defaultFixture)), profile = 'proof'): World {
  const port = new FakePort(source);
  const metrics = new FakeMetrics();
  const records: World['records'] = [];
  const logd: Peer = ({ bytes }) => {
    const asked = Buffer.from(bytes);
    const [scope, message, fields] = [asked.readUInt8(13), asked.readUInt16LE(14), asked.readUInt16LE(16)];
    assert.equal(asked.length, 18 + scope + message + fields);
    assert.equal(asked.subarray(18, 18 + scope).toString(), 'dcgmd');
    const text = asked.subarray(18 + scope + message).toString();
    records.push({ message: asked.subarray(18 + scope, 18 + scope + message).toString(),
      fields: new Map(text.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)])) });
    return logAnswer(asked, 0, Buffer.concat([u64(BigInt(records.length)), u64(0n)]));
  };
  const host = new Host({ name: 'dcgmd', wasm, bootArgs: { profile }, peers: { portd: port.peer, metricsd: metrics.peer, logd } });
  return { host, port, metrics, records };
}

let nonce = 0;
interface Scraped { status: number; entities: number; samples: number; series: number; blanks: number; lost: number; source: number }
function* scrape(host: Host): Generator<Step, Scraped, Outcome> {
  nonce += 1;
  const { status, body } = reply(yield* host.call('selftest', request('DG', SCRAPE, nonce)), 'DG', SCRAPE, nonce);
  if (status === DENIED) return { status, entities: 0, samples: 0, series: 0, blanks: 0, lost: 0, source: 0 };
  const [entities, samples, series, blanks, lost] = [0, 4, 8, 12, 16].map((at) => body.readUInt32LE(at)) as [number, number, number, number, number];
  return { status, entities, samples, series, blanks, lost, source: body.readUInt8(20) };
}

function run(w: World, body: () => Generator<Step, void, Outcome>): void {
  let ended = false;
  w.host.run(function* (): Script { yield* body(); ended = true; });
  assert.ok(ended, 'the script ran to its end');
}

test('proof: ready, then a scrape makes 30 series and eight temperature records, labelled replay', () => {
  const w = world();
  run(w, function* () {
    assert.equal(Buffer.from((yield* w.host.call('init-lite', request('IN', 2, 1)))!).readUInt8(8), 0);
    assert.deepEqual(yield* scrape(w.host), { status: OK, entities: 8, samples: 40, series: 30, blanks: 10, lost: 0, source: 1 });
    assert.deepEqual(w.host.console, ['dcgmd: ready', 'dcgmd: source replay']);
  });
  const capture = loadCapture(defaultFixture);
  const temperatures = w.records.filter(({ message }) => message === 'gpu sample');
  assert.deepEqual(temperatures.map(({ fields }) => [fields.get('hw.id'), fields.get('value'), fields.get('source'), fields.get('unit')]),
    capture.entities.map((entity) => [entity.uuid, String(capture.samples.find((s) => s.entityId === entity.id && s.fieldId === 150)!.value), 'replay', 'Cel']));
  assert.equal(w.records.filter(({ message }) => message === 'gpu scrape').length, 1);
  const power = w.metrics.series.filter(({ name }) => name === 'hw.power');
  assert.deepEqual(power.map(({ value }) => value), [113611n, 68347n, 65709n, 67316n, 68717n, 65742n, 67328n, 66997n]);
  assert.equal(power[0]!.labels, `hw.gpu.index=0\nhw.id=${capture.entities[0]!.uuid}\nhw.type=gpu\nsource=replay\nunit=mW`);
  assert.equal(w.metrics.series.filter(({ name }) => name === 'hw.gpu.memory.copy.utilization').length, 6);
  assert.ok(w.metrics.series.every(({ value, labels }) => value !== undefined && labels.length <= 160));
});

test('a second scrape keeps the session and the series', () => {
  const w = world();
  run(w, function* () {
    yield* scrape(w.host);
    const after = w.port.requests.length;
    assert.equal((yield* scrape(w.host)).series, 30);
    assert.deepEqual(w.port.requests.slice(after), [5], 'only latest_values');
    assert.equal(w.metrics.series.length, 30);
  });
});

/** A replay whose samples a test replaces. */
class Edited implements Source {
  readonly label = 'replay';
  private readonly inner = new ReplaySource(loadCapture(defaultFixture));
  constructor(private readonly edit: (sample: Sample) => Sample) {}
  connect(): void { this.inner.connect(); }
  startEmbedded(): void { this.inner.startEmbedded(); }
  enumerate() { return this.inner.enumerate(); }
  watch(request: Parameters<Source['watch']>[0]): number { return this.inner.watch(request); }
  latestValues(id: number, wallNs: bigint): readonly Sample[] { return this.inner.latestValues(id, wallNs).map(this.edit); }
  version(): string { return this.inner.version(); }
  close(): void { this.inner.close(); }
}

const blanks: [string, number, bigint | number, number, 'blanks' | 'lost'][] = [
  ['int64 blank', 150, 0x7ffffffffffffff0n, 0, 'blanks'], ['int64 not supported', 150, 0x7ffffffffffffff2n, 0, 'blanks'],
  ['int64 largest', 150, 0x7fffffffffffffffn, 0, 'blanks'], ['int32 blank in an int64', 150, 0x7ffffff0n, 0, 'blanks'],
  ['int32 not permitted in an int64', 150, 0x7ffffff3n, 0, 'blanks'], ['double blank', 155, 2 ** 47, 0, 'blanks'],
  ['double not found', 155, 2 ** 47 + 1, 0, 'blanks'], ['infinity', 155, Infinity, 0, 'blanks'], ['NaN', 155, NaN, 0, 'lost'],
  ['minus infinity', 155, -Infinity, 0, 'lost'], ['a status with a plausible value', 150, 31n, -6, 'blanks'],
  ['not watched', 150, 31n, -16, 'blanks'],
];
for (const [name, fieldId, value, status, where] of blanks) {
  test(`no gauge from ${name}`, () => {
    const w = world(new Edited((sample) => (sample.fieldId === fieldId && sample.entityId === 3 ? { ...sample, value, status } : sample)));
    run(w, function* () {
      const got = yield* scrape(w.host);
      assert.deepEqual([got.status, got.series, got.blanks, got.lost], [OK, 29, where === 'blanks' ? 11 : 10, where === 'lost' ? 1 : 0]);
    });
    assert.ok(w.metrics.series.every(({ value: v }) => v! < 200_000n));
  });
}

test('values at the edge of a blank are values', () => {
  const w = world(new Edited((sample) => (sample.fieldId === 203 ? { ...sample, value: 0x7fffffefn } : sample)));
  run(w, function* () { assert.equal((yield* scrape(w.host)).series, 30); });
  assert.equal(w.metrics.series.find(({ name }) => name === 'hw.gpu.utilization')!.value, 0x7fffffefn);
});

test('a stale sample, a wrong type and an unknown entity are counted and set nothing', () => {
  const w = world(new Edited((sample) => {
    if (sample.fieldId !== 150) return sample;
    if (sample.entityId === 0) return { ...sample, tsUs: sample.tsUs - 11_000_000n };
    if (sample.entityId === 1) return { ...sample, type: 100, value: 30 };
    return sample.entityId === 2 ? { ...sample, entityId: 77 } : sample;
  }));
  run(w, function* () {
    const got = yield* scrape(w.host);
    assert.deepEqual([got.series, got.lost], [27, 3]);
  });
});

test('refusals and lies of the host: unavailable, no line, and the next scrape works', () => {
  const lies: ((frame: Frame) => Buffer[])[] = [
    () => [],
    (frame) => [encodeFrame({ ...frame, nonce: frame.nonce + 1 })],
    (frame) => [encodeFrame({ ...frame, type: frame.type ^ 1 })],
    (frame) => [encodeFrame({ ...frame, payload: Buffer.alloc(0) })],
    (frame) => [encodeFrame({ ...frame, payload: Buffer.from([8]) })],
    (frame) => [encodeFrame({ ...frame, payload: Buffer.concat([frame.payload, Buffer.from([0])]) })],
    (frame) => [encodeFrame(frame).subarray(0, 20)],
    (frame) => { const bytes = encodeFrame(frame); bytes[bytes.length - 1]! ^= 1; return [bytes]; },
    (frame) => (frame.type === 0x81 ? [encodeFrame({ ...frame, payload: Buffer.concat([Buffer.from([0, 9]), frame.payload.subarray(2)]) })] : [encodeFrame(frame)]),
    (frame) => (frame.type === 0x83 ? [encodeFrame({ ...frame, payload: Buffer.concat([frame.payload.subarray(0, 4), Buffer.from([0, 0, 0, 9]), frame.payload.subarray(8)]) })] : [encodeFrame(frame)]),
  ];
  for (const lie of lies) {
    const w = world();
    run(w, function* () {
      const honest = w.port.mangle;
      w.port.mangle = lie;
      assert.equal((yield* scrape(w.host)).status, UNAVAILABLE, String(lie));
      assert.deepEqual(w.host.console, []);
      w.port.mangle = honest;
      w.port.outgoing = [];
      assert.equal((yield* scrape(w.host)).status, OK, String(lie));
    });
  }
});

test('garbage, a late reply and a split before the right reply do not matter', () => {
  const w = world();
  w.port.mangle = (frame) => [Buffer.from('noise VGLB'), encodeFrame({ ...frame, nonce: 9999 }), encodeFrame(frame).subarray(0, 21), encodeFrame(frame).subarray(21)];
  run(w, function* () { assert.equal((yield* scrape(w.host)).series, 30); });
});

test('the bridge restarts: the session is taken up anew, the series stay', () => {
  const w = world();
  run(w, function* () {
    yield* scrape(w.host);
    w.port.source.close();
    w.port.connections += 1;
    assert.equal((yield* scrape(w.host)).status, UNAVAILABLE);
    assert.equal((yield* scrape(w.host)).status, OK);
    assert.equal(w.metrics.series.length, 30);
    nonce += 1;
    const stats = reply(yield* w.host.call('selftest', request('DG', STATS, nonce)), 'DG', STATS, nonce).body;
    assert.deepEqual([2, 10, 18].map((at) => stats.readBigUInt64LE(at)), [3n, 1n, 2n], 'scrapes, failures, sessions');
  });
});

test('dcgmd restarted while the host still has its session: closed and connected again', () => {
  const source = new ReplaySource(loadCapture(defaultFixture));
  source.connect();
  const w = world(source);
  run(w, function* () {
    assert.equal((yield* scrape(w.host)).status, OK);
    assert.deepEqual(w.port.requests.slice(0, 3), [1, 7, 1]);
  });
});

test('no host, no port, no policy: degraded but up where there is no device, not ready where policy denies', () => {
  for (const [openStatus, ready] of [[8, 0], [3, 0], [4, 1]] as const) {
    const w = world();
    w.port.openStatus = openStatus;
    run(w, function* () {
      assert.equal(Buffer.from((yield* w.host.call('init-lite', request('IN', 2, 1)))!).readUInt8(8), ready);
      assert.equal((yield* scrape(w.host)).status, UNAVAILABLE);
    });
  }
  const gone = world();
  gone.port.writeStatus = 7;
  run(gone, function* () { assert.equal((yield* scrape(gone.host)).status, UNAVAILABLE); });
});

test('a source that refuses as the stub does is never called replay', () => {
  const refuse = (): never => { throw new SourceError('unavailable', 'no engine'); };
  const stub: Source = { label: 'stub', connect: refuse, startEmbedded: refuse, enumerate: refuse, watch: refuse, latestValues: refuse, version: refuse, close: () => undefined };
  const w = world(stub);
  run(w, function* () {
    assert.equal((yield* scrape(w.host)).status, UNAVAILABLE);
    assert.deepEqual(w.host.console, []);
  });
});

test('profile run: scrapes by its own clock, backs off while the host is silent, refuses SCRAPE, logs no samples', () => {
  const w = world(undefined, 'run');
  run(w, function* () {
    assert.equal((yield* scrape(w.host)).status, DENIED);
    yield* w.host.idle();
    assert.equal(w.metrics.series.length, 30);
    w.port.writeStatus = 7;
    let last = w.host.now_ns;
    const gapsS: bigint[] = [];
    w.port.onWrite = (nowNs) => { gapsS.push((nowNs - last) / 1_000_000_000n); last = nowNs; };
    for (let i = 0; i < 12; i++) yield* w.host.idle();
    assert.deepEqual(gapsS.slice(0, 7), [1n, 2n, 4n, 8n, 16n, 32n, 32n]);
    assert.deepEqual(w.records.map(({ message }) => message), ['gpu scrape']);
    assert.deepEqual(w.host.console, []);
  });
});

test('proof: no scrape by the clock, before or after the asked one', () => {
  const w = world(undefined, 'proof');
  run(w, function* () {
    yield* w.host.idle();
    assert.equal(w.port.requests.length, 0);
    yield* scrape(w.host);
    for (let i = 0; i < 3; i++) yield* w.host.idle();
    assert.equal(w.port.requests.filter((type) => type === 5).length, 1);
    assert.deepEqual(w.host.console, ['dcgmd: source replay']);
  });
});
