// SPDX-License-Identifier: Apache-2.0
// init-lite's recorder against a statefsd that answers, refuses, is silent, is full, is gone or is not yet there: what is written, in which
// slot and in which commit; how long it tries; that it never waits for a write; and that written + waiting + lost is what was taken.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { buildEntry, Host, type Peer } from '../../runtime/node/index.js';
import { decodeCrash, RAW_BYTES, type CrashRecord } from '../../runtime/crash/record.js';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { sha256 } from '../../scripts/lib/cache.js';

const abi = loadAbi();
const crash = (key: string): number => limit(abi, 'crash', key);
const [SLOTS, PENDING, ATTEMPTS] = [crash('slots'), crash('pending_max'), crash('attempts_max')];
const ANSWER_WAIT = BigInt(limit(abi, 'state_client', 'answer_wait_ns'));
const SF = { ok: 0, notFound: 1, denied: 2, io: 7, integrity: 9 };
const NAMES = ['init-lite', 'statefsd', 'probe-b', 'execd'];
const PROBE = 2;
const BUNDLE = 'ab'.repeat(32);
let wasm: Uint8Array;
before(async () => { wasm = await buildEntry('tests/crash/guest-recorder.ts'); });

/** How the fake statefsd behaves to a BATCH: a status, silence, or an error of the send. */
type Behaviour = number | 'silent' | 'full' | 'dead';
interface Put { key: string; value: Buffer }

class World {
  readonly host: Host;
  readonly commits: Put[][] = [];
  behaviour: Behaviour = SF.ok;
  next: bigint | null = null;
  getStatus = SF.ok;
  /** in place of `next`: bytes, or the status of a GET, by key */
  readonly there = new Map<string, Buffer | number | 'silent'>();
  generation = 0;
  gets = 0;
  constructor() {
    const statefsd: Peer = ({ bytes, call, replyEndpoint }) => {
      const at = Buffer.from(bytes);
      const head = (status: number): Buffer => Buffer.concat([Buffer.from([0x53, 0x46, 2, at[3]! | 0x80, status]), at.subarray(4, 12)]);
      const special = call ? this.there.get(at.toString('latin1', 20, 20 + at.readUInt16LE(12))) : undefined;
      if (special !== undefined) return this.getThere(head, special);
      if (call && this.there.size > 0) return head(SF.notFound);
      if (call) return this.get(head);
      if (this.behaviour === 'full' || this.behaviour === 'dead') return { error: this.behaviour };
      if (this.behaviour === 'silent') return null;
      if (this.behaviour === SF.ok) this.commits.push(puts(at));
      const body = this.behaviour === SF.ok ? Buffer.alloc(8, 1) : Buffer.alloc(0);
      this.host.deliver(replyEndpoint, 'statefsd', Buffer.concat([head(this.behaviour), body]));
      return null;
    };
    this.host = new Host({
      name: 'init-lite', wasm, bootArgs: { bundle: BUNDLE }, peers: { statefsd },
      services: Object.fromEntries(NAMES.map((name) => [name, Buffer.from(name)])),
      sys: {
        process_endpoint: (host) => BigInt(host.grantPeer('statefsd')),
        process_crash: (host, index, ptr) => {
          const raw = Buffer.alloc(RAW_BYTES);
          raw.writeUInt32LE(8, 0);
          raw.writeUInt32LE(++this.generation, 4);
          raw.writeUInt32LE(Number(index), 8);
          raw.writeBigUInt64LE(1n << 3n, 56);
          host.write(Number(ptr), raw);
          return BigInt(RAW_BYTES);
        },
      },
    });
    assert.equal(this.call('start'), NAMES.length);
  }
  private getThere(head: (status: number) => Buffer, value: Buffer | number | 'silent'): Uint8Array | null {
    this.gets++;
    if (value === 'silent') return null;
    if (typeof value === 'number') return head(value);
    const body = Buffer.alloc(18);
    body.writeUInt32LE(value.length, 0);
    body.writeUInt16LE(value.length, 8);
    return Buffer.concat([head(SF.ok), body, value]);
  }
  private get(head: (status: number) => Buffer): Uint8Array {
    this.gets++;
    if (this.getStatus !== SF.ok) return head(this.getStatus);
    if (this.next === null) return head(SF.notFound);
    const body = Buffer.alloc(26);
    body.writeUInt32LE(8, 0);
    body.writeUInt16LE(8, 8);
    body.writeBigUInt64LE(this.next, 18);
    return Buffer.concat([head(SF.ok), body]);
  }
  call(name: string, ...args: (number | bigint)[]): number | bigint { return this.host.fn(name)(...args); }
  get due(): bigint { return BigInt.asUintN(64, BigInt(this.call('due'))); }
  get waiting(): number { return Number(this.call('waiting')); }
  take(index = PROBE, restarts = 0): void { this.call('take', index, restarts); }
  /** Runs ticks as they fall due until nothing is left, at most `most`; the guest time that passed. A tick itself takes no time. */
  run(most = 2000): bigint {
    const start = this.host.now_ns;
    let ticks = 0;
    for (; this.due !== 0n; ticks++) {
      assert.ok(ticks < most, `still due after ${most} ticks`);
      if (this.due > this.host.now_ns) this.host.now_ns = this.due;
      const before = this.host.now_ns;
      this.call('tick', before);
      assert.equal(this.host.now_ns, before, 'a tick waited');
    }
    return this.host.now_ns - start;
  }
  get records(): CrashRecord[] { return this.commits.flatMap((puts) => puts.filter(({ key }) => !key.endsWith('next')).map(({ value }) => decodeCrash(value))); }
}
function puts(frame: Buffer): Put[] {
  assert.deepEqual([frame[3], frame.readUInt16LE(14)], [11, 0], 'a BATCH that is durable when it is answered');
  const found: Put[] = [];
  let at = 16;
  for (let n = frame.readUInt16LE(12); n > 0; n--) {
    assert.equal(frame[at], 1, 'a PUT');
    const [keyBytes, bytes] = [frame[at + 1]!, frame.readUInt16LE(at + 2)];
    found.push({ key: frame.toString('latin1', at + 4, at + 4 + keyBytes), value: frame.subarray(at + 4 + keyBytes, at + 4 + keyBytes + bytes) });
    at += 4 + keyBytes + bytes;
  }
  assert.equal(at, frame.length);
  return found;
}

test('the first record ever: slot 00 and the next number in one commit, with what the manifest and the boot say', () => {
  const w = new World();
  w.call('up');
  w.take(PROBE, 3);
  w.run();
  assert.deepEqual(w.commits.map((all) => all.map(({ key }) => key)), [['/state/crash/00', '/state/crash/next']]);
  assert.equal(w.commits[0]![1]!.value.readBigUInt64LE(0), 1n);
  const [record] = w.records;
  assert.deepEqual([record!.sequence, record!.service, record!.restarts, record!.parent, record!.bundleSha256], [0n, 'probe-b', 3, 0, BUNDLE]);
  assert.equal(record!.moduleSha256, sha256(Buffer.from('probe-b')));
  assert.deepEqual([record!.serving, record!.servingCount], [['execd'], 1]);
  assert.equal(w.waiting, 0);
});

test('the number goes on where the disk says, and the ring wraps', () => {
  const w = new World();
  w.next = BigInt(SLOTS) * 5n - 1n;
  w.call('up');
  for (let n = 0; n < 3; n++) { w.take(); w.run(); }
  assert.deepEqual(w.commits.map((all) => all[0]!.key), [`/state/crash/${SLOTS - 1}`, '/state/crash/00', '/state/crash/01']);
  assert.deepEqual(w.records.map(({ sequence }) => sequence), [79n, 80n, 81n]);
  assert.equal(w.gets, 1, 'read once a boot');
});

test('what waits together is one commit; one over the limit is lost, the others are not', () => {
  const w = new World();
  for (let n = 0; n < PENDING + 1; n++) w.take();
  assert.equal(w.waiting, PENDING);
  w.call('up');
  w.run();
  assert.equal(w.commits.length, 1);
  assert.deepEqual(w.records.map(({ generation }) => generation), Array.from({ length: PENDING }, (_, n) => n + 1));
  assert.equal(w.commits[0]!.at(-1)!.value.readBigUInt64LE(0), BigInt(PENDING));
});

test('a record taken while a commit is under way goes with the next one', () => {
  const w = new World();
  w.call('up');
  w.take();
  w.host.now_ns = w.due;
  w.call('tick', w.host.now_ns);
  w.take();
  w.run();
  assert.deepEqual(w.records.map(({ sequence, generation }) => [sequence, generation]), [[0n, 1], [1n, 2]]);
});

for (const behaviour of [SF.io, 'full', 'dead'] as const) {
  test(`statefsd answers ${behaviour}: as often as the limit says, ever longer apart, then the record is lost and the next has its turn`, () => {
    const w = new World();
    w.call('up');
    w.behaviour = behaviour;
    w.take();
    const took = w.run();
    assert.equal(w.waiting, 0);
    const backoff = BigInt(crash('retry_ns')) * BigInt(2 ** (ATTEMPTS - 1) - 1);
    assert.ok(took >= backoff && took < backoff * 2n, `${took} ns`);
    w.behaviour = SF.ok;
    w.call('up');
    w.take();
    w.run();
    assert.deepEqual(w.records.map(({ sequence, generation }) => [sequence, generation]), [[0n, 2]]);
  });
}

test('a refusal that no later try changes ends at once', () => {
  const w = new World();
  w.call('up');
  w.behaviour = SF.denied;
  w.take();
  assert.ok(w.run() < BigInt(crash('retry_ns')));
  assert.equal(w.waiting, 0);
});

test('silence: each answer is waited for at ticks alone, up to its limit; then the same record is sent again', () => {
  const w = new World();
  w.call('up');
  w.behaviour = 'silent';
  w.take();
  while (w.host.now_ns < 1_000_000_000n + ANSWER_WAIT) {
    w.host.now_ns = w.due > w.host.now_ns ? w.due : w.host.now_ns;
    w.call('tick', w.host.now_ns);
  }
  w.behaviour = SF.ok;
  w.run();
  assert.deepEqual(w.records.map(({ sequence }) => sequence), [0n]);
});

test('while statefsd is away the record waits; when it is back it is written', () => {
  const w = new World();
  w.take(1);
  for (let n = 0; n < 3; n++) {
    w.host.now_ns = w.due > w.host.now_ns ? w.due : w.host.now_ns;
    w.call('tick', w.host.now_ns);
  }
  assert.deepEqual([w.waiting, w.commits.length], [1, 0]);
  w.call('up');
  w.run();
  assert.deepEqual(w.records.map(({ service }) => service), ['statefsd']);
});

test('a sequence number that cannot be read is asked for again, and nothing is written under a guess', () => {
  const w = new World();
  w.call('up');
  w.getStatus = SF.io;
  w.take();
  w.host.now_ns = w.due > w.host.now_ns ? w.due : w.host.now_ns;
  w.call('tick', w.host.now_ns);
  assert.deepEqual([w.gets, w.commits.length, w.waiting], [1, 0, 1]);
  w.getStatus = SF.ok;
  w.next = 30n;
  w.run();
  assert.deepEqual(w.records.map(({ sequence }) => sequence), [30n]);
});

/** Bytes of a record that the recorder itself wrote, with another number. */
function recordOf(sequence: bigint): Buffer {
  const w = new World();
  w.call('up');
  w.take();
  w.run();
  const bytes = Buffer.from(w.commits[0]![0]!.value);
  bytes.writeBigUInt64LE(sequence, 8);
  return bytes;
}
const slotKey = (slot: number): string => `/state/crash/${String(slot).padStart(2, '0')}`;
const rotten: [string, Buffer | number][] = [
  ['rotten', SF.integrity], ['short', Buffer.alloc(7)], ['long', Buffer.alloc(9)], ['empty', Buffer.alloc(0)],
];
for (const [what, next] of rotten) {
  test(`a next number that is ${what} is taken from the slots, and written anew with the next record`, () => {
    const w = new World();
    w.call('up');
    w.there.set('/state/crash/next', next);
    for (const sequence of [35n, 36n, 37n, 22n]) w.there.set(slotKey(Number(sequence % BigInt(SLOTS))), recordOf(sequence));
    w.there.set(slotKey(0), SF.integrity);
    w.there.set(slotKey(1), recordOf(999n)); // a number that has another slot
    w.there.set(slotKey(2), Buffer.alloc(12));
    w.there.set(slotKey(9), Buffer.alloc(2000));
    w.take();
    w.run();
    assert.deepEqual(w.records.map(({ sequence }) => sequence), [38n]);
    assert.equal(w.commits[0]![1]!.value.readBigUInt64LE(0), 39n);
    assert.equal(w.waiting, 0);
  });
}

test('a next number that is rotten where no slot has a record: from 0', () => {
  const w = new World();
  w.call('up');
  w.there.set('/state/crash/next', SF.integrity);
  w.take();
  w.run();
  assert.deepEqual(w.records.map(({ sequence }) => sequence), [0n]);
});

test('slots that cannot be asked for: nothing is written under a guess, and it is tried again', () => {
  const w = new World();
  w.call('up');
  w.there.set('/state/crash/next', SF.integrity);
  w.there.set(slotKey(5), SF.io);
  w.there.set(slotKey(6), recordOf(6n));
  w.take();
  w.host.now_ns = w.due > w.host.now_ns ? w.due : w.host.now_ns;
  w.call('tick', w.host.now_ns);
  assert.deepEqual([w.commits.length, w.waiting], [0, 1]);
  w.there.set(slotKey(5), recordOf(21n));
  w.run();
  assert.deepEqual(w.records.map(({ sequence }) => sequence), [22n]);
});
