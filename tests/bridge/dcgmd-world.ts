// SPDX-License-Identifier: Apache-2.0
// Owns: dcgmd (the shipping wasm) in a world of fakes: portd with the real bridge code behind it, metricsd, logd, policyd; and the requests
// that its tests make. Invariant: what a fake does not know is an error, not an answer. Limits: one module, one port, one clock.
import assert from 'node:assert/strict';
import { FrameDecoder, encodeFrame, type Frame } from '../../runtime/bridge/codec.js';
import { defaultFixture } from '../../runtime/bridge/index.js';
import { encodeConfigReply } from '../../runtime/bridge/messages.js';
import { typeCode } from '../../runtime/bridge/protocol.js';
import { Dialogue, type Clock } from '../../runtime/bridge/session.js';
import type { Sample, Source } from '../../runtime/bridge/source.js';
import { ReplaySource, loadCapture } from '../../runtime/bridge/sources/replay.js';
import { Host, buildModule, type Outcome, type Peer, type PeerAnswer, type PeerMessage, type Script, type Step } from '../../runtime/node/index.js';
import { answer, logAnswer, policyAnswer, reply, request, u16, u32, u64, u8 } from './wire.js';

export const wasm = await buildModule('dcgmd');
export const [SCRAPE, STATS, LATEST, PART] = [1, 2, 3, 4] as const;
export const [OK, MALFORMED, UNSUPPORTED, DENIED, UNAVAILABLE, NOT_FOUND] = [0, 1, 2, 3, 4, 5] as const;
/** Rows of [[receiver_kind]]. */
export const KINDS = ['init', 'connect', 'watch', 'mig', 'enumerate', 'read', 'cardinality', 'downstream', 'panic'] as const;
export const capture = loadCapture(defaultFixture);
const EPOCH_NS = 1_800_000_000_000_000_000n;

/** portd with a bridge behind it; `mangle` sees each reply frame before dcgmd does. */
export class FakePort {
  readonly decoder = new FrameDecoder();
  outgoing: Buffer[] = [];
  connections = 1;
  /** Types of the requests that came through, in order. */
  requests: number[] = [];
  /** Payload of the last request of each type. */
  readonly payloads = new Map<number, Buffer>();
  openStatus = 0;
  writeStatus = 0;
  onWrite: (nowNs: bigint) => void = () => undefined;
  mangle: (frame: Frame) => Buffer[] = (frame) => [encodeFrame(frame)];
  /** Host time minus guest time. */
  wallNs = EPOCH_NS;
  private dialogue: Dialogue | null = null;
  private nowNs = 0n;
  private readonly clock: Clock = { wallNs: () => this.wallNs + this.nowNs, monoNs: () => 5n + this.nowNs };
  constructor(private current: Source, public config = '') {}
  get source(): Source { return this.current; }
  set source(source: Source) { this.current = source; this.dialogue = null; }

  private answerHost(frame: Frame): Frame {
    this.dialogue ??= new Dialogue(this.current, this.clock, () => undefined);
    if (frame.type !== typeCode('config')) return this.dialogue.answerNow(frame);
    return { ...frame, type: frame.type | 0x80, wallNs: this.clock.wallNs(), monoNs: this.clock.monoNs(), payload: encodeConfigReply(this.config) };
  }

  readonly peer: Peer = (message: PeerMessage): PeerAnswer => {
    const bytes = Buffer.from(message.bytes);
    const op = bytes.readUInt8(3);
    this.nowNs = message.host.now_ns;
    if (op === 1) {
      assert.equal(bytes.subarray(9).toString(), 'org.vigil.dcgm');
      return answer(bytes, this.openStatus, this.openStatus === 0 ? Buffer.concat([u32(0), u8(1)]) : undefined);
    }
    if (op === 2) {
      this.onWrite(message.host.now_ns);
      if (this.writeStatus !== 0) return answer(bytes, this.writeStatus);
      for (const frame of this.decoder.push(bytes.subarray(12))) {
        this.requests.push(frame.type);
        this.payloads.set(frame.type, frame.payload);
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

export interface FakeSeries { kind: number; name: string; labels: string; value: bigint | undefined }

/** metricsd as far as REGISTER, BATCH and spans go. */
export class FakeMetrics {
  readonly series: FakeSeries[] = [];
  readonly spans: { name: string; status: number | undefined; attrs: string }[] = [];
  /** Status of every answer instead of ok. */
  refuse = 0;
  private readonly live = new Map<bigint, number>();
  readonly peer: Peer = ({ bytes }) => {
    const asked = Buffer.from(bytes);
    if (this.refuse !== 0) return answer(asked, this.refuse);
    const op = asked.readUInt8(3);
    if (op === 7) {
      const [nameLen, labelsLen] = [asked.readUInt8(10), asked.readUInt16LE(12)];
      assert.equal(asked.length, 14 + nameLen + labelsLen);
      const [name, labels] = [asked.subarray(14, 14 + nameLen).toString(), asked.subarray(14 + nameLen).toString()];
      const kind = asked.readUInt8(8);
      const old = this.series.findIndex((series) => series.kind === kind && series.name === name && series.labels === labels);
      if (old >= 0) return answer(asked, 0, u32(old + 1));
      this.series.push({ kind, name, labels, value: undefined });
      return answer(asked, 0, u32(this.series.length));
    }
    if (op === 4) {
      const [nameLen, attrsLen] = [asked.readUInt8(40), asked.readUInt16LE(41)];
      assert.equal(asked.length, 43 + nameLen + attrsLen);
      this.live.set(asked.readBigUInt64LE(8), this.spans.length);
      this.spans.push({ name: asked.subarray(43, 43 + nameLen).toString(), status: undefined, attrs: '' });
      return answer(asked, 0);
    }
    if (op === 5) {
      const span = this.spans[this.live.get(asked.readBigUInt64LE(8))!]!;
      span.status = asked.readUInt8(24);
      span.attrs = asked.subarray(27).toString();
      return answer(asked, 0);
    }
    assert.equal(op, 8, `op ${op}`);
    for (let at = 12; at < asked.length; at += 12) {
      const series = this.series[asked.readUInt32LE(at) - 1]!;
      const value = asked.readBigInt64LE(at + 4);
      series.value = series.kind === 1 ? (series.value ?? 0n) + value : value;
    }
    return answer(asked, 0);
  };
  /** What the receiver copied of the GPUs. */
  get gpu(): FakeSeries[] { return this.series.filter(({ name }) => name.startsWith('hw.')); }
  of(name: string): FakeSeries[] { return this.series.filter((series) => series.name === name); }
  /** Value of one of the receiver's own series; undefined where it was never sent. */
  own(name: string, label = ''): bigint | undefined { return this.series.find((series) => series.name === name && series.labels === label)?.value; }
}

export interface LogEntry { level: number; message: string; fields: Map<string, string> }
export interface World {
  readonly host: Host; readonly port: FakePort; readonly metrics: FakeMetrics; readonly records: LogEntry[];
  /** Whether policyd allows what it is asked; null: silence. And what it was asked. */
  policy: boolean | null; readonly asked: string[];
  /** Records of one message, as objects. */
  logged(message: string): Record<string, string>[];
}
export interface WorldOptions { source?: Source; profile?: string; config?: string; generation?: number }

export function world(options: WorldOptions = {}): World {
  const port = new FakePort(options.source ?? new ReplaySource(capture), options.config ?? '');
  const metrics = new FakeMetrics();
  const records: LogEntry[] = [];
  const logd: Peer = ({ bytes }) => {
    const asked = Buffer.from(bytes);
    const [scope, message, fields] = [asked.readUInt8(13), asked.readUInt16LE(14), asked.readUInt16LE(16)];
    assert.equal(asked.length, 18 + scope + message + fields);
    assert.equal(asked.subarray(18, 18 + scope).toString(), 'dcgmd');
    const text = asked.subarray(18 + scope + message).toString();
    records.push({ level: asked.readUInt8(12), message: asked.subarray(18 + scope, 18 + scope + message).toString(),
      fields: new Map(text.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)])) });
    return logAnswer(asked, 0, Buffer.concat([u64(BigInt(records.length)), u64(0n)]));
  };
  const asked: string[] = [];
  const policyd: Peer = ({ bytes }) => (made.policy === null ? null
    : policyAnswer(bytes, (_, capability) => { asked.push(capability); return made.policy === true; }));
  const host = new Host({ name: 'dcgmd', wasm, bootArgs: { profile: options.profile ?? 'proof' },
    peers: { portd: port.peer, metricsd: metrics.peer, logd, policyd }, counters: { own_generation: BigInt(options.generation ?? 1) } });
  const made: World = { host, port, metrics, records, policy: true, asked,
    logged: (message) => records.filter((record) => record.message === message).map(({ fields }) => Object.fromEntries(fields)) };
  return made;
}

let nonce = 0;
export interface Scraped { status: number; entities: number; samples: number; series: number; blanks: number; lost: number; source: number }
export function* scrape(w: World, cap?: number): Generator<Step, Scraped, Outcome> {
  nonce += 1;
  const { status, body } = reply(yield* w.host.call('selftest', request('DG', SCRAPE, nonce, cap === undefined ? undefined : u32(cap))), 'DG', SCRAPE, nonce);
  if (status === DENIED || status === MALFORMED) return { status, entities: 0, samples: 0, series: 0, blanks: 0, lost: 0, source: 0 };
  const [entities, samples, series, blanks, lost] = [0, 4, 8, 12, 16].map((at) => body.readUInt32LE(at)) as [number, number, number, number, number];
  return { status, entities, samples, series, blanks, lost, source: body.readUInt8(20) };
}

export interface Stats {
  state: number; source: number; degraded: boolean; kind: string;
  scrapes: bigint; failures: bigint; sessions: bigint; latest: bigint; samples: bigint; values: bigint; blanks: bigint; stale: bigint; errors: bigint;
  dropped: bigint; lost: bigint; notCopied: bigint; kinds: Record<(typeof KINDS)[number], bigint>;
}
export function* stats(w: World): Generator<Step, Stats, Outcome> {
  nonce += 1;
  const { status, body } = reply(yield* w.host.call('selftest', request('DG', STATS, nonce)), 'DG', STATS, nonce);
  assert.equal(status, OK);
  assert.equal(body.length, 8 + (12 + 9) * 8);
  const word = (at: number): bigint => body.readBigUInt64LE(8 + at * 8);
  const [scrapes, failures, sessions, latest, samples, values, blanks, stale, errors, dropped, lost, notCopied] =
    Array.from({ length: 12 }, (_, at) => word(at)) as [bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint];
  return { state: body.readUInt8(0), source: body.readUInt8(1), degraded: body.readUInt8(2) === 1, kind: KINDS[body.readUInt8(3) - 1] ?? 'none',
    scrapes, failures, sessions, latest, samples, values, blanks, stale, errors, dropped, lost, notCopied,
    kinds: Object.fromEntries(KINDS.map((kind, i) => [kind, word(12 + i)])) as Stats['kinds'] };
}

export interface Latest { status: number; scrape: bigint; parts: number; points: number; source: number; wallNs: bigint }
export function* latest(w: World, from = 'exportd'): Generator<Step, Latest, Outcome> {
  nonce += 1;
  const { status, body } = reply(yield* w.host.call(from, request('DG', LATEST, nonce)), 'DG', LATEST, nonce);
  if (status !== OK) return { status, scrape: 0n, parts: 0, points: 0, source: 0, wallNs: 0n };
  assert.equal(body.length, 23);
  return { status, scrape: body.readBigUInt64LE(0), parts: body.readUInt16LE(8), points: body.readUInt32LE(10), source: body.readUInt8(14), wallNs: body.readBigUInt64LE(15) };
}
/** One whole part, in pieces of `max` bytes; its status where it was refused. */
export function* part(w: World, scrapeNumber: bigint, index: number, max = 8000, from = 'exportd'): Generator<Step, { status: number; bytes: Buffer }, Outcome> {
  const pieces: Buffer[] = [];
  for (let at = 0, total = 1; at < total;) {
    nonce += 1;
    const asked = Buffer.concat([u64(scrapeNumber * 64n + BigInt(index)), u32(at), u16(max)]);
    const { status, body } = reply(yield* w.host.call(from, request('DG', PART, nonce, asked)), 'DG', PART, nonce);
    if (status !== OK) return { status, bytes: Buffer.alloc(0) };
    total = body.readUInt32LE(0);
    assert.equal(body.readUInt32LE(4), at);
    const length = body.readUInt16LE(8);
    assert.ok(length > 0 && length <= max && body.length === 10 + length);
    pieces.push(body.subarray(10));
    at += length;
  }
  return { status: OK, bytes: Buffer.concat(pieces) };
}

/** Asks dcgmd as init-lite does; true when it is ready. */
export function* ping(w: World): Generator<Step, boolean, Outcome> {
  return Buffer.from((yield* w.host.call('init-lite', request('IN', 2, 1)))!).readUInt8(8) === 0;
}

export function run(w: World, body: () => Generator<Step, void, Outcome>): void {
  let ended = false;
  w.host.run(function* (): Script { yield* body(); ended = true; });
  assert.ok(ended, 'the script ran to its end');
}

/** A replay whose samples a test replaces. */
export class Edited implements Source {
  readonly label = 'replay';
  private readonly inner = new ReplaySource(capture);
  constructor(private readonly edit: (sample: Sample) => Sample) {}
  connect(): void { this.inner.connect(); }
  startEmbedded(): void { this.inner.startEmbedded(); }
  enumerate() { return this.inner.enumerate(); }
  watch(request: Parameters<Source['watch']>[0]): number { return this.inner.watch(request); }
  latestValues(id: number, wallNs: bigint): readonly Sample[] { return this.inner.latestValues(id, wallNs).map(this.edit); }
  version(): string { return this.inner.version(); }
  close(): void { this.inner.close(); }
}
