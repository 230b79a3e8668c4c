// SPDX-License-Identifier: Apache-2.0
// MT frames for tests, written from docs/format/wire-metricsd.md and not from the code under test; and a peer that stands where
// logd stands: it keeps what it accepts, answers QUERY by record id, and can be told to refuse. That the real logd accepts the same
// frames is a test of its own (metricsd-export.test.ts).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Host, buildModule, senderId, type HostOptions, type Outcome, type Peer, type Script, type Step } from '../../runtime/node/index.js';
import { ROOT } from '../../scripts/lib/paths.js';

export const OP = {
  counter: 1, gauge: 2, histogram: 3, spanStart: 4, spanEnd: 5, ping: 6, register: 7, batch: 8, snapshot: 9, stats: 10, limits: 11, flush: 12,
  range: 13,
} as const;
export const STATUS = ['ok', 'invalid_args', 'over_limit', 'rate_limited', 'not_found', 'denied', 'stale_handle', 'unavailable'] as const;
export type Status = (typeof STATUS)[number];
export const QUERY_BADGE = 17;

const u8 = (n: number): Buffer => Buffer.from([n]);
const u16 = (n: number): Buffer => { const b = Buffer.alloc(2); b.writeUInt16LE(n); return b; };
const u32 = (n: number): Buffer => { const b = Buffer.alloc(4); b.writeUInt32LE(n >>> 0); return b; };
const u64 = (n: bigint | number): Buffer => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt.asUintN(64, BigInt(n))); return b; };
const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');

export function head(op: number, nonce = 7): Buffer {
  return Buffer.concat([ascii('MT'), u8(1), u8(op), u32(nonce)]);
}
export function update(op: number, name: string, value: bigint | number, labels = '', nonce = 7): Buffer {
  return Buffer.concat([head(op, nonce), u8(name.length), u16(labels.length), u64(value), ascii(name), ascii(labels)]);
}
export const counter = (name: string, value: bigint | number, labels = ''): Buffer => update(OP.counter, name, value, labels);
export const gauge = (name: string, value: bigint | number, labels = ''): Buffer => update(OP.gauge, name, value, labels);
export const histogram = (name: string, value: bigint | number, labels = ''): Buffer => update(OP.histogram, name, value, labels);
export function register(kind: number, unit: number, name: string, labels = ''): Buffer {
  return Buffer.concat([head(OP.register), u8(kind), u8(unit), u8(name.length), u8(0), u16(labels.length), ascii(name), ascii(labels)]);
}
export function batch(items: [handle: number, value: bigint | number][], count = items.length): Buffer {
  return Buffer.concat([head(OP.batch), u16(count), u16(0), ...items.map(([handle, value]) => Buffer.concat([u32(handle), u64(value)]))]);
}
export interface SpanStart {
  span: bigint;
  trace: bigint;
  parent?: bigint;
  start_ns?: bigint;
  name?: string;
  attrs?: string;
}
export function spanStart({ span, trace, parent = 0n, start_ns = 100n, name = 'work', attrs = '' }: SpanStart): Buffer {
  return Buffer.concat([
    head(OP.spanStart), u64(span), u64(trace), u64(parent), u64(start_ns), u8(name.length), u16(attrs.length), ascii(name), ascii(attrs),
  ]);
}
export function spanEnd(span: bigint, end_ns = 180n, status = 0, attrs = ''): Buffer {
  return Buffer.concat([head(OP.spanEnd), u64(span), u64(end_ns), u8(status), u16(attrs.length), ascii(attrs)]);
}
export const plain = (op: number): Buffer => head(op);
export const snapshot = (cursor: number, count = 0): Buffer => Buffer.concat([head(OP.snapshot), u32(cursor), u16(count)]);

export const LOW32 = 0xffffffffn;
/** Ids as a well-behaved client makes them. */
export function spanIdOf(sender: string, counterValue: number): bigint {
  return ((senderId(sender) & LOW32) << 32n) | BigInt(counterValue);
}
export function traceIdOf(sender: string, counterValue: number): bigint {
  return (((senderId(sender) ^ 0x5443525f4944n) & LOW32) << 32n) | BigInt(counterValue);
}

export interface Answer {
  status: Status;
  op: number;
  nonce: number;
  body: Buffer;
}
export function answer(bytes: Uint8Array | null): Answer {
  if (!bytes) throw new Error('no answer');
  const b = Buffer.from(bytes);
  if (b.length < 9 || b.toString('latin1', 0, 2) !== 'MT' || b[2] !== 1) throw new Error(`no MT reply: ${b.toString('hex')}`);
  const status = STATUS[b[4]!];
  if (!status) throw new Error(`status ${b[4]}`);
  return { status, op: b[3]!, nonce: b.readUInt32LE(5), body: b.subarray(9) };
}

/** A record that logd keeps. */
export interface LogRecord {
  id: bigint;
  sender: bigint;
  scope: string;
  message: string;
  fields: string;
}
export const fieldsOf = (record: LogRecord): Record<string, string> =>
  Object.fromEntries(record.fields.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));

/** The stand-in for logd. `refuse` (a LO status) or `silent` makes it fail. */
export class LogPeer {
  readonly records: LogRecord[] = [];
  readonly appends: Buffer[] = [];
  refuse = 0;
  silent = false;
  /** how many more records it takes before it answers rate_limited; Infinity: no limit */
  room = Infinity;

  readonly peer: Peer = ({ bytes, from }) => {
    const frame = Buffer.from(bytes);
    const op = frame[3]!;
    const nonce = frame.readBigUInt64LE(4);
    if (this.silent) return null;
    const reply = (status: number, body: Buffer): Buffer => Buffer.concat([ascii('LO'), u8(2), u8(op | 0x80), u8(status), u64(nonce), body]);
    if (op === 1) {
      if (this.refuse !== 0) return reply(this.refuse, Buffer.concat([u64(0), u64(0)]));
      if (this.room <= 0) return reply(6, Buffer.concat([u64(0), u64(0)]));
      this.room -= 1;
      this.appends.push(frame);
      const [scope, message, fields] = [frame[13]!, frame.readUInt16LE(14), frame.readUInt16LE(16)];
      if (scope > 64 || message > 256 || fields > 512 || frame.length !== 18 + scope + message + fields) return reply(5, Buffer.concat([u64(0), u64(0)]));
      const at = (start: number, length: number): string => frame.toString('latin1', start, start + length);
      const record = {
        id: BigInt(this.records.length + 1), sender: from, scope: at(18, scope), message: at(18 + scope, message), fields: at(18 + scope + message, fields),
      };
      this.records.push(record);
      return reply(0, Buffer.concat([u64(record.id), u64(0)]));
    }
    const after = frame.readBigUInt64LE(22);
    const found = this.records.filter(({ id }) => id > after).slice(0, frame.readUInt16LE(20) || 1);
    const body = found.map((r) => Buffer.concat([
      u64(r.id), u64(1), u8(2), u64(r.sender), u8(r.scope.length), u16(r.message.length), u16(r.fields.length), ascii(r.scope + r.message + r.fields),
    ]));
    return reply(0, Buffer.concat([u64(this.records.length), u64(0), u16(found.length), ...body]));
  };
  /** Records of a kind, newest last. */
  snapshots(name: string): Record<string, string>[] {
    return this.records.map(fieldsOf).filter((fields) => fields.name === name);
  }
}

export const RECIPES = 'recipes/observability';
export function recipeFile(name: string): Buffer {
  return readFileSync(join(ROOT, 'image', RECIPES, `${name}.toml`));
}
/** The default recipe with some lines replaced: `max_labels` -> 2. Retention is off unless a change says otherwise. */
export function recipeWith(changes: Record<string, string>, extra = ''): Buffer {
  let text = recipeFile('metrics').toString('utf8');
  for (const [key, value] of Object.entries({ enabled: '0', ...changes })) {
    const line = new RegExp(`^${key} = .*$`, 'm');
    if (!line.test(text)) throw new Error(`no key ${key} in the default recipe`);
    text = text.replace(line, `${key} = ${value}`);
  }
  return Buffer.from(text + extra);
}
/** No rate limit that a test could meet. */
export const UNHURRIED = { max_events_per_window: '1_000_000', max_bytes_per_window: '67_108_864' };

export interface Metricsd {
  host: Host;
  log: LogPeer;
}
/** A metricsd on the given recipe, behind a stand-in for logd. */
export async function metricsd(recipe: Buffer = recipeWith({}), options: Partial<HostOptions> = {}): Promise<Metricsd> {
  const log = new LogPeer();
  const host = new Host({
    name: 'metricsd', wasm: await buildModule('metricsd'), files: { [`${RECIPES}/metrics.toml`]: recipe }, peers: { logd: log.peer, ...options.peers },
    ...Object.fromEntries(Object.entries(options).filter(([key]) => key !== 'peers')),
  });
  return { host, log };
}

export type Steps<T> = Generator<Step, T, Outcome>;
/** Script step: a call whose answer is taken apart. */
export function* ask(host: Host, from: string | bigint, frame: Uint8Array, badge = 1): Steps<Answer> {
  return answer(yield* host.call(from, frame, { badge }));
}
/** Script step: asks and checks the status. */
export function* expect(host: Host, from: string | bigint, frame: Uint8Array, status: Status, why = '', badge = 1): Steps<Answer> {
  const got = yield* ask(host, from, frame, badge);
  if (got.status !== status) throw new Error(`${why || frame.toString()}: expected ${status}, got ${got.status}`);
  return got;
}
export function* flush(host: Host): Steps<{ exported: number; waiting: number; failed: number }> {
  const { body } = yield* expect(host, 'portd', plain(OP.flush), 'ok', 'flush', QUERY_BADGE);
  return { exported: body.readUInt32LE(0), waiting: body.readUInt32LE(4), failed: body.readUInt32LE(8) };
}
export const STAT = {
  accepted: 0, invalid_args: 1, over_limit: 2, rate_limited: 3, not_found: 4, denied: 5, stale_handle: 6, series: 7, liveSpans: 8, exported: 9,
  exportFailed: 10, deferred: 11, pending: 12, quarantines: 13, expired: 14, redactions: 15, senders: 16, generation: 17, updates: 18,
  retention: 19, why: 20, rawWritten: 21, rollupsWritten: 22, keysDeleted: 23, writeFailures: 24, writeStatus: 25, writesLost: 26, samplesDropped: 27,
  writesWaiting: 28, retentionNs: 29, offsetNs: 30, segment: 31, segmentRecords: 32, segmentsDropped: 33, recovered: 34, recoveredBad: 35,
  restored: 36, entriesRefused: 37, unavailable: 38,
} as const;
export function* stats(host: Host): Steps<Record<keyof typeof STAT, bigint>> {
  const { body } = yield* expect(host, 'portd', plain(OP.stats), 'ok', 'stats');
  if (body.length !== 39 * 8) throw new Error(`stats body of ${body.length} bytes`);
  return Object.fromEntries(Object.entries(STAT).map(([name, word]) => [name, body.readBigUInt64LE(8 * word)])) as Record<keyof typeof STAT, bigint>;
}
export interface SnapshotRecord {
  handle: number;
  kind: number;
  unit: number;
  sender: bigint;
  value: bigint;
  count: bigint;
  buckets: [bound: bigint, count: bigint][];
  name: string;
  labels: string;
}
/** Every series, page by page. */
export function* registry(host: Host, countMax = 0): Steps<{ records: SnapshotRecord[]; pages: number }> {
  const records: SnapshotRecord[] = [];
  let cursor = 0;
  for (let pages = 1; pages <= 1000; pages++) {
    const { body } = yield* expect(host, 'portd', snapshot(cursor, countMax), 'ok', 'snapshot', QUERY_BADGE);
    cursor = body.readUInt32LE(0);
    let at = 10;
    for (let n = body.readUInt16LE(8); n > 0; n--) {
      const [buckets, nameLen, labelsLen] = [body[at + 6]!, body[at + 7]!, body.readUInt16LE(at + 8)];
      const text = at + 34 + buckets * 16;
      records.push({
        handle: body.readUInt32LE(at), kind: body[at + 4]!, unit: body[at + 5]!, sender: body.readBigUInt64LE(at + 10), value: body.readBigUInt64LE(at + 18),
        count: body.readBigUInt64LE(at + 26),
        buckets: Array.from({ length: buckets }, (_none, i) => [body.readBigUInt64LE(at + 34 + 16 * i), body.readBigUInt64LE(at + 42 + 16 * i)]),
        name: body.toString('latin1', text, text + nameLen), labels: body.toString('latin1', text + nameLen, text + nameLen + labelsLen),
      });
      at = text + nameLen + labelsLen;
    }
    if (at !== body.length) throw new Error('a page with bytes to spare');
    if (cursor === 0xffffffff) return { records, pages };
  }
  throw new Error('more than 1000 pages');
}
/** Runs a script whose steps may fail with an Error. */
export function run(m: Metricsd, script: (host: Host) => Steps<void>): void {
  m.host.run(script as (host: Host) => Script);
}
