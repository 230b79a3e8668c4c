// SPDX-License-Identifier: Apache-2.0
// The world of exportd (the shipping wasm) for tests: portd with a host behind it, dcgmd, metricsd, logd and samgrd, each as a test says.
// Written from docs/format, not from the code under test. Not a test by itself.
import assert from 'node:assert/strict';
import { FrameDecoder, encodeFrame, type Frame } from '../../runtime/bridge/codec.js';
import { statusCode, typeCode } from '../../runtime/bridge/protocol.js';
import { Host, buildModule, senderId, type HostOptions, type Outcome, type Peer, type PeerAnswer, type PeerMessage, type Script, type Step } from '../../runtime/node/index.js';
import { answer, logAnswer, reply, request, u16, u32, u64, u8 } from '../bridge/wire.js';

export const wasm = await buildModule('exportd');
export const WALL = 1_800_000_000_000_000_000n;
export const NONCE = '0123456789abcdef';

/** What the host got: one request of the export port, decoded. */
export interface Got { readonly type: 'hello' | 'metrics' | 'traces' | 'log_records'; readonly seq: bigint; readonly payload: Buffer }
export const otlpOf = ({ payload }: Got): Buffer => payload.subarray(24);
const TYPES = ['hello', 'metrics', 'traces', 'log_records'] as const;

/** portd with the host's end of the export port behind it. */
export class FakeHost {
  readonly got: Got[] = [];
  private decoder = new FrameDecoder();
  private outgoing = Buffer.alloc(0);
  connections = 1;
  /** a hello came on this connection; before it the host takes nothing */
  private greeted = false;
  opens = 0;
  openStatus = 0;
  /** status of a WRITE that reaches nobody: 7 disconnected, 6 again, ... */
  writeStatus = 0;
  /** by how much the host's clock was set since the guest's 1 s of guest time, when it says WALL; and where it stands still */
  set = 0n;
  stands: bigint | null = null;
  private nowNs = 0n;
  /** what the host says to each request that is no hello; default ok */
  judge: (got: Got) => string = () => 'ok';
  /** what goes out instead of the encoded reply */
  mangle: (frame: Frame) => Buffer = (frame) => encodeFrame(frame);
  dead = false;

  of(type: Got['type']): Got[] { return this.got.filter((each) => each.type === type); }
  /** The host's side goes and comes again: what it had half read is gone. */
  reconnect(): void { this.greeted = false; this.connections += 1; this.decoder = new FrameDecoder(); this.outgoing = Buffer.alloc(0); this.writeStatus = 0; }

  get wall(): bigint { return this.stands ?? WALL + this.nowNs - 1_000_000_000n + this.set; }

  private take(frame: Frame): void {
    const type = TYPES.find((name) => typeCode(name) === frame.type);
    assert.ok(type, `type ${frame.type}`);
    assert.deepEqual([frame.wallNs, frame.monoNs], [0n, 0n], 'the guest stamps no time');
    const { payload } = frame;
    const got: Got = { type, seq: type === 'hello' ? 0n : payload.readBigUInt64LE(type === 'metrics' ? 16 : 0), payload };
    if (type === 'hello') this.greeted = true;
    if (this.greeted) this.got.push(got);
    const status = u8(statusCode(type === 'hello' ? 'ok' : this.greeted ? this.judge(got) : 'not_connected'));
    const body = type === 'hello' ? Buffer.concat([status, u16(1), u32(0)]) : status;
    this.outgoing = Buffer.concat([this.outgoing, this.mangle({ type: frame.type | 0x80, nonce: frame.nonce, wallNs: this.wall, monoNs: 5n, payload: body })]);
  }

  readonly peer: Peer = (message: PeerMessage): PeerAnswer => {
    if (this.dead) return { error: 'dead' };
    this.nowNs = message.host.now_ns;
    const bytes = Buffer.from(message.bytes);
    const op = bytes.readUInt8(3);
    if (op === 1) {
      this.opens += 1;
      assert.equal(bytes.subarray(9).toString(), 'org.vigil.export');
      return answer(bytes, this.openStatus, this.openStatus === 0 ? Buffer.concat([u32(1), u8(1)]) : undefined);
    }
    if (op === 2) {
      if (this.writeStatus !== 0) return answer(bytes, this.writeStatus);
      assert.equal(bytes.readUInt32LE(8), 1);
      for (const frame of this.decoder.push(bytes.subarray(12))) this.take(frame);
      return answer(bytes, 0);
    }
    assert.equal(op, 3);
    if (this.writeStatus === 7) return answer(bytes, 7);
    const until = bytes.readBigUInt64LE(14);
    const out = this.outgoing.subarray(0, bytes.readUInt16LE(12));
    this.outgoing = this.outgoing.subarray(out.length);
    return { bytes: answer(bytes, 0, Buffer.concat([u32(this.connections), out])), delay_ns: out.length === 0 ? until - message.host.now_ns : 0n };
  };
}

/** dcgmd's LATEST and PART. */
export class FakeDcgmd {
  scrape = 0n;
  source = 1;
  parts: Buffer[] = [];
  /** a status instead of a part */
  partStatus = 0;
  /** it ends between LATEST and PART */
  deadInPart = false;
  dead = false;
  readonly peer: Peer = ({ bytes }) => {
    if (this.dead) return { error: 'dead' };
    const asked = Buffer.from(bytes);
    if (asked.readUInt8(3) === 3) {
      return answer(asked, 0, Buffer.concat([u64(this.scrape), u16(this.parts.length), u32(9), u8(this.source), u64(WALL)]));
    }
    assert.equal(asked.readUInt8(3), 4);
    if (this.deadInPart) return { error: 'dead' };
    if (this.partStatus !== 0) return answer(asked, this.partStatus);
    const [object, offset, max] = [asked.readBigUInt64LE(8), asked.readUInt32LE(16), asked.readUInt16LE(20)];
    assert.equal(object / 64n, this.scrape);
    const part = this.parts[Number(object % 64n)]!;
    const piece = part.subarray(offset, offset + max);
    return answer(asked, 0, Buffer.concat([u32(part.length), u32(offset), u16(piece.length), piece]));
  };
}

export interface FakeSeries {
  name: string; kind: 1 | 2 | 3; unit?: number; labels?: string; sender?: string | bigint; value: bigint; count?: bigint; buckets?: [bigint, bigint][];
}
/** metricsd's SNAPSHOT in pages, and REGISTER and BATCH as far as they go. */
export class FakeMetricsd {
  series: FakeSeries[] = [];
  generation = 1;
  status = 0;
  /** pages that the bucket still has */
  room = Infinity;
  snapshots = 0;
  /** exportd's own, by what they are registered as */
  readonly own = new Map<string, bigint>();
  private readonly registered: string[] = [];
  mangle: (page: Buffer) => Buffer = (page) => page;
  dead = false;
  readonly peer: Peer = ({ bytes }) => {
    if (this.dead) return { error: 'dead' };
    const asked = Buffer.from(bytes);
    const op = asked.readUInt8(3);
    if (op === 7) {
      const [nameLen, labelsLen] = [asked.readUInt8(10), asked.readUInt16LE(12)];
      this.registered.push(`${asked.toString('latin1', 14, 14 + nameLen)}{${asked.toString('latin1', 14 + nameLen, 14 + nameLen + labelsLen).replace('\n', ',')}}`);
      return answer(asked, 0, u32(this.registered.length));
    }
    if (op === 8) {
      for (let at = 12; at < asked.length; at += 12) {
        const key = this.registered[asked.readUInt32LE(at) - 1]!;
        this.own.set(key, (key.includes('queue') ? 0n : (this.own.get(key) ?? 0n)) + asked.readBigUInt64LE(at + 4));
      }
      return answer(asked, 0);
    }
    assert.equal(op, 9);
    this.snapshots += 1;
    if (this.status !== 0) return answer(asked, this.status);
    if (this.room <= 0) return answer(asked, 3);
    this.room -= 1;
    const records: Buffer[] = [];
    let cursor = asked.readUInt32LE(8);
    let bytesUsed = 19;
    for (; cursor < this.series.length; cursor++) {
      const record = this.record(cursor);
      if (bytesUsed + record.length > 4096) break;
      bytesUsed += record.length;
      records.push(record);
    }
    const next = cursor === this.series.length ? 0xffffffff : cursor;
    return answer(asked, 0, this.mangle(Buffer.concat([u32(next), u32(this.series.length), u16(records.length), ...records])));
  };
  private record(index: number): Buffer {
    const { name, kind, unit = 0, labels = '', sender = 'timed', value, count = 1n, buckets = [] } = this.series[index]!;
    return Buffer.concat([u32((index | (this.generation << 16)) >>> 0), u8(kind, unit, buckets.length, name.length), u16(labels.length), u64(senderId(sender)),
      u64(BigInt.asUintN(64, value)), u64(count), ...buckets.map(([bound, n]) => Buffer.concat([u64(bound), u64(n)])), Buffer.from(name), Buffer.from(labels)]);
  }
}

export interface FakeRecord { level?: number; sender?: string | bigint; scope?: string; message: string; fields?: string; tsNs?: bigint }
/** logd's QUERY over a journal whose oldest may be dropped. */
export class FakeLogd {
  records: FakeRecord[] = [];
  /** ids 1 .. dropped are gone */
  dropped = 0;
  queries = 0;
  dead = false;
  readonly peer: Peer = ({ bytes, call }) => {
    if (this.dead) return { error: 'dead' };
    if (!call) return null;
    const asked = Buffer.from(bytes);
    assert.equal(asked.readUInt8(3), 2);
    this.queries += 1;
    const after = Number(asked.readBigUInt64LE(22));
    const page: Buffer[] = [];
    let used = 31;
    for (let i = Math.max(after, this.dropped); i < this.records.length; i++) {
      const { level = 2, sender = 'execd', scope = 'execd', message, fields = '', tsNs = BigInt(i + 1) * 1000n } = this.records[i]!;
      const [m, f] = [Buffer.from(message, 'latin1'), Buffer.from(fields, 'latin1')];
      const record = Buffer.concat([u64(BigInt(i + 1)), u64(tsNs), u8(level), u64(senderId(sender)), u8(scope.length), u16(m.length), u16(f.length), Buffer.from(scope), m, f]);
      if (used + record.length > 4096) break;
      used += record.length;
      page.push(record);
    }
    return logAnswer(asked, 0, Buffer.concat([u64(BigInt(this.records.length)), u64(BigInt(this.dropped)), u16(page.length), ...page]));
  };
}

export interface World { host: Host; end: FakeHost; dcgmd: FakeDcgmd; metricsd: FakeMetricsd; logd: FakeLogd; lookups: string[] }

export function world(bootArgs: Record<string, string> = { profile: 'run', nonce: NONCE }, more: Partial<HostOptions> = {}): World {
  const [end, dcgmd, metricsd, logd] = [new FakeHost(), new FakeDcgmd(), new FakeMetricsd(), new FakeLogd()];
  const lookups: string[] = [];
  const samgrd: Peer = ({ bytes }) => {
    const asked = Buffer.from(bytes);
    const name = asked.toString('latin1', 9, 9 + asked.readUInt8(8));
    lookups.push(name);
    for (const peer of [{ name: 'dcgmd', is: dcgmd }, { name: 'metricsd', is: metricsd }, { name: 'logd', is: logd }, { name: 'portd', is: end }]) {
      if (peer.name === name) peer.is.dead = false;
    }
    return { bytes: answer(asked, 0), movedPeer: name, movedRights: 17 };
  };
  const host = new Host({
    name: 'exportd', wasm, bootArgs, peers: { portd: end.peer, metricsd: metricsd.peer, logd: logd.peer, samgrd, dcgmd: dcgmd.peer }, ...more,
  });
  return { host, end, dcgmd, metricsd, logd, lookups };
}

type Steps<T> = Generator<Step, T, Outcome>;
export function run(w: World, body: (host: Host) => Steps<void>): void {
  let ended = false;
  w.host.run(function* (host): Script { yield* body(host); ended = true; });
  assert.ok(ended, 'the script ran to its end');
}

let nonce = 0;
export const FLUSH = { gpu: 1, self: 2, records: 4, send: 8, all: 15 } as const;
/** FLUSH of profile=proof: frames that wait, and the outcome of the last request to the host. */
export function* flush(host: Host, what: number, from = 'selftest'): Steps<{ status: number; waiting: number; outcome: number }> {
  nonce += 1;
  const { status, body } = reply(yield* host.call(from, request('XP', 1, nonce, u8(what))), 'XP', 1, nonce);
  return { status, waiting: status === 0 ? body.readUInt32LE(0) : -1, outcome: status === 0 ? body.readInt32LE(4) : 0 };
}
const WORDS = ['made', 'acked', 'refused', 'dropped', 'itemsAcked'] as const;
const SINGLE = [
  'retried', 'queueFrames', 'queueBytes', 'sessions', 'generation', 'wallOffset', 'clockSteps', 'missed', 'dcgmdRestarts', 'snapshotsFailed', 'seriesCut',
  'recordsCut', 'cursor', 'logs', 'spans', 'spanParts', 'snapshotsLeftOut', 'lost', 'logdRestarts', 'spansHalf',
] as const;
export type Stats = Record<(typeof WORDS)[number], [gpu: bigint, self: bigint, traces: bigint, logs: bigint]> & Record<(typeof SINGLE)[number], bigint>;
export function* stats(host: Host): Steps<Stats> {
  nonce += 1;
  const { status, body } = reply(yield* host.call('selftest', request('XP', 2, nonce)), 'XP', 2, nonce);
  assert.deepEqual([status, body.length], [0, 40 * 8]);
  const word = (at: number): bigint => body.readBigUInt64LE(at * 8);
  const by = Object.fromEntries(WORDS.map((name, at) => [name, [0, 1, 2, 3].map((stream) => word(at * 4 + stream))]));
  return { ...by, ...Object.fromEntries(SINGLE.map((name, at) => [name, word(20 + at)])) } as unknown as Stats;
}
/** Each frame is acknowledged, refused, dropped or waiting. */
export function addsUp(s: Stats): void {
  const sum = (words: readonly bigint[]): bigint => words.reduce((total, each) => total + each, 0n);
  assert.equal(sum(s.made), sum(s.acked) + sum(s.refused) + sum(s.dropped) + s.queueFrames);
}
