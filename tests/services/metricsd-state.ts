// SPDX-License-Identifier: Apache-2.0
// A stand-in for statefsd for the tests of metricsd's retention, written from docs/format/wire-statefsd.md: what it acknowledged is in
// `values` and outlives the metricsd under test, as a disk does. It can refuse, be silent, or be away. And retention's own layouts, written
// from docs/format/retention.md and not from the code under test.
import type { Peer } from '../../runtime/node/index.js';
import { Host, buildModule, senderId, type HostOptions } from '../../runtime/node/index.js';
import { LogPeer, RECIPES, head, recipeWith, type Metricsd } from './metricsd-frames.js';

const u16 = (n: number): Buffer => { const b = Buffer.alloc(2); b.writeUInt16LE(n); return b; };
const u32 = (n: number): Buffer => { const b = Buffer.alloc(4); b.writeUInt32LE(n >>> 0); return b; };
const u64 = (n: bigint | number): Buffer => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt.asUintN(64, BigInt(n))); return b; };
const SF_NOT_FOUND = 1;
const LIST_PAGE_BYTES = 4096;

export const FOLDER = '/state/observability/metricsd/';

export class StatePeer {
  readonly values = new Map<string, Buffer>();
  /** Keys in the order in which they were put, and deleted. */
  readonly puts: string[] = [];
  readonly dels: string[] = [];
  /** Status for every write that follows (0: none), for SYNC (the store's own state), and for reads. */
  refuseWrites = 0;
  storeState = 0;
  refuseReads = 0;
  /** Takes writes and commits them, but never answers. */
  silent = false;
  /** Away: every message meets a dead capability. */
  dead = false;
  /** Status for GET alone; answers nothing at all. */
  refuseGets = 0;
  mute = false;
  gets = 0;
  syncs = 0;
  private sequence = 0n;

  private answer(frame: Buffer): Buffer | null {
    const op = frame[3]!;
    const reply = (status: number, ...body: Buffer[]): Buffer =>
      Buffer.concat([Buffer.from([0x53, 0x46, 2, op | 0x80, status]), frame.subarray(4, 12), ...body]);
    const body = frame.subarray(12);
    if (op === 2) {
      this.gets += 1;
      const key = body.toString('latin1', 8);
      const value = this.values.get(key);
      if (this.refuseReads + this.refuseGets !== 0) return reply(this.refuseReads || this.refuseGets);
      if (value === undefined) return reply(SF_NOT_FOUND);
      const offset = body.readUInt32LE(2);
      const piece = value.subarray(offset, offset + body.readUInt16LE(6));
      return reply(0, u32(value.length), u32(offset), u16(piece.length), u64(7), piece);
    }
    if (op === 4) return this.refuseReads !== 0 ? reply(this.refuseReads) : reply(0, this.list(body));
    if (op === 11) {
      if (this.refuseWrites !== 0) return reply(this.refuseWrites);
      this.commit(body);
      return this.silent ? null : reply(0, u64(++this.sequence));
    }
    if (op === 5) this.syncs += 1;
    if (op === 5) return reply(this.storeState, ...(this.storeState === 0 ? [u64(this.sequence)] : []));
    throw new Error(`statefsd: op ${op}`);
  }

  private list(body: Buffer): Buffer {
    const [prefixLen, afterLen] = [body.readUInt16LE(0), body.readUInt16LE(2)];
    const prefix = body.toString('latin1', 6, 6 + prefixLen);
    const after = body.toString('latin1', 6 + prefixLen, 6 + prefixLen + afterLen);
    const found = [...this.values.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
    const items: Buffer[] = [];
    let bytes = 4;
    for (const key of found) {
      bytes += 6 + key.length;
      if (bytes > LIST_PAGE_BYTES) break;
      items.push(u16(key.length), u32(this.values.get(key)!.length), Buffer.from(key));
    }
    const count = items.length / 3;
    return Buffer.concat([u16(count), Buffer.from([count < found.length ? 1 : 0, 0]), ...items]);
  }

  private commit(body: Buffer): void {
    let at = 4;
    for (let n = body.readUInt16LE(0); n > 0; n--) {
      const [op, keyLen, valueLen] = [body[at]!, body[at + 1]!, body.readUInt16LE(at + 2)];
      const key = body.toString('latin1', at + 4, at + 4 + keyLen);
      at += 4 + keyLen;
      if (op === 1) {
        this.values.set(key, Buffer.from(body.subarray(at, at + valueLen)));
        this.puts.push(key);
      } else {
        this.values.delete(key);
        this.dels.push(key);
      }
      at += valueLen;
    }
    if (at !== body.length) throw new Error('a BATCH with bytes to spare');
  }

  readonly peer: Peer = ({ bytes, call, host, replyEndpoint }) => {
    if (this.dead) return { error: 'dead' };
    if (this.mute) return null;
    const reply = this.answer(Buffer.from(bytes));
    if (call) return reply;
    if (reply !== null) host.deliver(replyEndpoint, 'statefsd', reply);
    return null;
  };

  keys(folder: string): string[] {
    return [...this.values.keys()].filter((key) => key.startsWith(FOLDER + folder)).map((key) => key.slice(FOLDER.length)).sort();
  }
  value(key: string): Buffer {
    const found = this.values.get(FOLDER + key);
    if (found === undefined) throw new Error(`no ${key} among ${[...this.values.keys()].join(' ')}`);
    return found;
  }
}

/** Answers LOOKUP of statefsd with a capability to it, any other name with not_found. */
export const samgrd = (present: () => boolean): Peer => ({ bytes }) => {
  const frame = Buffer.from(bytes);
  const found = frame.toString('latin1', 9) === 'statefsd' && present();
  const reply = Buffer.concat([Buffer.from([0x53, 0x4d, 1, frame[3]! | 0x80, found ? 0 : 3]), frame.subarray(4, 8)]);
  return found ? { bytes: reply, movedPeer: 'statefsd' } : reply;
};

/** policyd: metrics.history for those named, nothing else. */
export const policyd = (...allowed: string[]): Peer => ({ bytes }) => {
  const frame = Buffer.from(bytes);
  const capability = frame.toString('latin1', 17);
  const yes = capability === 'metrics.history' && allowed.some((name) => senderId(name) === frame.readBigUInt64LE(8));
  return Buffer.concat([Buffer.from([0x50, 0x4f, 2, frame[3]! | 0x80]), frame.subarray(4, 8), Buffer.from([yes ? 0 : 1, 0])]);
};

export interface Boot extends Metricsd {
  state: StatePeer;
}
/** One life of metricsd on a disk. `now_ns`: guest time at its start. */
export async function booted(
  state: StatePeer, changes: Record<string, string> = {}, options: Partial<HostOptions> = {}, recipe = recipeWith({ enabled: '1', ...UNLIMITED, ...changes }),
): Promise<Boot> {
  const log = new LogPeer();
  const host = new Host({
    name: 'metricsd', wasm: await buildModule('metricsd'), now_ns: 50_000_000n, files: { [`${RECIPES}/metrics.toml`]: recipe },
    ...options,
    peers: { logd: log.peer, statefsd: state.peer, samgrd: samgrd(() => !state.dead), policyd: policyd('selftest'), ...options.peers },
  });
  return { host, log, state };
}
/** No rate limit that a test could meet. */
export const UNLIMITED = { max_events_per_window: '1_000_000', max_bytes_per_window: '67_108_864' };

export interface Point {
  start: bigint;
  width: bigint;
  sender: bigint;
  kind: number;
  unit: number;
  flags: number;
  count: bigint;
  sum: bigint;
  min: bigint;
  max: bigint;
  last: bigint;
  buckets: bigint[];
  labels: string;
}
export interface RangeAsk {
  level?: number;
  name?: string;
  handle?: number;
  labels?: string | null;
  sender?: string;
  kind?: number;
  from?: bigint;
  to?: bigint;
}
export function rangeFrame(ask: RangeAsk, cursor = 0n): Buffer {
  const { level = 0, name = '', handle, labels = null, sender, kind = 0, from = 0n, to = 1n << 62n } = ask;
  const start = Buffer.concat([head(13), Buffer.from([level, handle === undefined ? 0 : 1, 0, 0]), u64(from), u64(to), u64(cursor)]);
  if (handle !== undefined) return Buffer.concat([start, u32(handle)]);
  return Buffer.concat([
    start, u64(sender === undefined ? 0n : senderId(sender)), Buffer.from([kind, name.length]), u16(labels === null ? 0xffff : labels.length),
    Buffer.from(name + (labels ?? '')),
  ]);
}
export interface RangePage {
  next: bigint;
  clock: bigint;
  offset: bigint;
  flags: number;
  points: Point[];
}
export function rangePage(body: Buffer): RangePage {
  const points: Point[] = [];
  let at = 28;
  for (let n = body.readUInt16LE(24); n > 0; n--) {
    const word = (i: number): bigint => body.readBigUInt64LE(at + 8 * i);
    const [buckets, labelsLen] = [body[at + 26]!, body.readUInt16LE(at + 28)];
    const text = at + 72 + 8 * buckets;
    points.push({
      start: word(0), width: word(1), sender: word(2), kind: body[at + 24]!, unit: body[at + 25]!, flags: body[at + 27]!, count: word(4), sum: word(5),
      min: word(6), max: word(7), last: word(8), buckets: Array.from({ length: buckets }, (_none, i) => word(9 + i)),
      labels: body.toString('latin1', text, text + labelsLen),
    });
    at = text + labelsLen;
  }
  if (at !== body.length) throw new Error('a RANGE page with bytes to spare');
  return { next: body.readBigUInt64LE(0), clock: body.readBigUInt64LE(8), offset: body.readBigUInt64LE(16), flags: body.readUInt16LE(26), points };
}
