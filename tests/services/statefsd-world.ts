// SPDX-License-Identifier: Apache-2.0
// statefsd's shipping module under Node, on a simulated disk: what its tests share. Every answer, write and flush goes into one list of
// events in the order in which it happened, so that "answered after the flush" can be checked rather than believed.
// Invariant: frames are built apart from the guest's codec (tests/statefs/sim/frames.ts, and `frame` for what must be malformed).
// Limits: an answer that does not come within ROUNDS_MAX receives is an error.
import assert from 'node:assert/strict';
import { Host, type HostOptions, type Outcome, type Peer, type Script, type Step } from '../../runtime/node/index.js';
import { BLK_FLUSH, BLK_IN, BLK_OUT, BlkDevice } from '../statefs/sim/device.js';
import { SimDisk } from '../statefs/sim/disk.js';
import { OP, readPage, readPiece, readReply, type Reply } from '../statefs/sim/frames.js';
import { frame, mute, policyd, u16, u32, u64, u8, type Part } from './frames.js';

export type Steps<T> = Generator<Step, T, Outcome>;
export const allow: Peer = policyd(() => true);
const ROUNDS_MAX = 4096;
/** Sectors of a test's disk: 2 MiB. */
export const SECTORS = 4096;

export interface Event { kind: 'write' | 'flush' | 'read' | 'answer'; nonce: number }

/** A request frame from parts; the nonce is the test's number of it. */
export function sf(op: number, nonce: number, ...body: Part[]): Buffer {
  return frame('SF', u8(2), u8(op), u64(nonce), ...body);
}
export const put = (key: string, value: Uint8Array | string) => (nonce: number): Buffer =>
  sf(OP.put, nonce, u16(key.length), u32(value.length), key, value);
export const del = (key: string) => (nonce: number): Buffer => sf(OP.del, nonce, u16(key.length), key);
export const get = (key: string, offset = 0, max = 8000) => (nonce: number): Buffer =>
  sf(OP.get, nonce, u16(key.length), u32(offset), u16(max), key);
export const list = (prefix: string, after = '', max = 0) => (nonce: number): Buffer =>
  sf(OP.list, nonce, u16(prefix.length), u16(after.length), u16(max), prefix, after);
export const bare = (op: number) => (nonce: number): Buffer => sf(op, nonce);
export const prefixed = (op: number, prefix: string) => (nonce: number): Buffer => sf(op, nonce, u16(prefix.length), prefix);
export const batch = (changes: [key: string, value: string | null][], flags = 0) => (nonce: number): Buffer =>
  sf(OP.batch, nonce, u16(changes.length), u16(flags), ...changes.flatMap(([key, value]): Part[] =>
    [u8(value === null ? OP.del : OP.put), u8(key.length), u16(value?.length ?? 0), key, value ?? '']));
export const txnPut = (txn: number, key: string, total: number, offset: number, piece: Uint8Array | string) => (nonce: number): Buffer =>
  sf(OP.txnPut, nonce, u32(txn), u16(key.length), u32(total), u32(offset), u16(piece.length), key, piece);
export const txnDel = (txn: number, key: string) => (nonce: number): Buffer => sf(OP.txnDel, nonce, u32(txn), u16(key.length), key);
export const txnEnd = (op: number, txn: number) => (nonce: number): Buffer => sf(op, nonce, u32(txn));

export interface WorldOptions {
  wasm: Uint8Array;
  device?: BlkDevice;
  policy?: Peer;
  mutant?: number;
  host?: Partial<HostOptions>;
  /** false: no PING at the start */
  ping?: boolean;
}

export class World {
  readonly device: BlkDevice;
  readonly host: Host;
  readonly events: Event[] = [];
  private readonly answers = new Map<number, Reply>();
  private nonce = 0;
  private readonly issued = new Set<number>();

  constructor({ wasm, device = new BlkDevice(new SimDisk(SECTORS)), policy = allow, mutant, host = {} }: WorldOptions) {
    this.device = device;
    device.powerOn();
    const kinds: Record<number, Event['kind']> = { [BLK_IN]: 'read', [BLK_OUT]: 'write', [BLK_FLUSH]: 'flush' };
    device.watch = ({ type, number }) => { this.events.push({ kind: kinds[type]!, nonce: number }); };
    this.host = new Host({
      name: 'statefsd', wasm, peers: { policyd: policy, logd: mute, metricsd: mute, samgrd: mute }, sys: device.sys, mutant,
      onReply: (_handle, bytes) => this.note(bytes), ...host,
    });
  }
  private note(bytes: Uint8Array): void {
    const reply = readReply(bytes);
    if (reply === null || !this.issued.has(reply.nonce)) return;
    assert.ok(!this.answers.has(reply.nonce), `request ${reply.nonce} was answered twice`);
    this.answers.set(reply.nonce, reply);
    this.events.push({ kind: 'answer', nonce: reply.nonce });
  }
  count(kind: Event['kind']): number {
    return this.events.filter((event) => event.kind === kind).length;
  }
  /** The answer to a request, if there is one. */
  answer(nonce: number): Reply | undefined {
    return this.answers.get(nonce);
  }
  /** Hands a request over without waiting: its nonce. */
  *submit(make: (nonce: number) => Uint8Array, from = 'selftest'): Steps<number> {
    const nonce = ++this.nonce;
    this.issued.add(nonce);
    yield* this.host.call(from, make(nonce));
    return nonce;
  }
  /** Hands a request over and waits for its answer. */
  *ask(make: (nonce: number) => Uint8Array, from = 'selftest'): Steps<Reply> {
    const nonce = yield* this.submit(make, from);
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const found = this.answers.get(nonce);
      if (found !== undefined) return found;
      yield* this.host.idle();
    }
    throw new Error(`request ${nonce} was never answered`);
  }
  *status(make: (nonce: number) => Uint8Array, from = 'selftest'): Steps<number> {
    const reply = yield* this.ask(make, from);
    if (reply.status !== 0) assert.equal(reply.body.length, 0, 'a refusal carries nothing');
    return reply.status;
  }
  /** The whole value, or the status that it is refused with. */
  *value(key: string, from = 'selftest'): Steps<Buffer | number> {
    const pieces: Buffer[] = [];
    for (let at = 0, total = 1; at < total;) {
      const reply = yield* this.ask(get(key, at), from);
      if (reply.status !== 0) return reply.status;
      const piece = readPiece(reply.body);
      assert.equal(piece.offset, at);
      total = piece.total;
      at += piece.bytes.length;
      pieces.push(Buffer.from(piece.bytes));
      if (total === 0) break;
    }
    return Buffer.concat(pieces);
  }
  /** Every key below a prefix, by as many pages as it takes. */
  *keys(prefix: string, from = 'selftest', max = 0): Steps<string[]> {
    const found: string[] = [];
    for (let more = true; more;) {
      const reply = yield* this.ask(list(prefix, found.at(-1) ?? '', max), from);
      assert.equal(reply.status, 0);
      const page = readPage(reply.body);
      assert.ok(!page.more || page.keys.length > 0, 'an empty page that says more');
      found.push(...page.keys.map(({ key }) => key));
      more = page.more;
    }
    return found;
  }
  /** The counters, by index of assembly/lib/wire/statefsd.ts. */
  *stats(from = 'selftest'): Steps<number[]> {
    const { status, body } = yield* this.ask(bare(OP.stats), from);
    assert.equal(status, 0);
    assert.equal(body.length, 35 * 8);
    return Array.from({ length: 35 }, (_, i) => Number(body.readBigUInt64LE(8 * i)));
  }
  /** Opens a transaction. */
  *begin(from = 'selftest'): Steps<number> {
    const { status, body } = yield* this.ask(bare(OP.txnBegin), from);
    assert.equal(status, 0);
    return body.readUInt32LE(0);
  }
}

/** Boots the module, asks it as init-lite does, and runs the script. */
export function world(options: WorldOptions, script: (world: World) => Steps<void>): World {
  const made = new World(options);
  let done = false;
  made.host.run(function* (io): Script {
    if (options.ping !== false) {
      const reply = yield* io.call('init-lite', frame('IN', u8(1), u8(2), u32(1)));
      assert.equal(reply?.[8], 0, 'statefsd did not answer its PING');
    }
    yield* script(made);
    done = true;
  });
  assert.ok(done, 'statefsd ended by itself');
  return made;
}
