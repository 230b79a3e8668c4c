// SPDX-License-Identifier: Apache-2.0
// rngd's shipping module under Node against a simulated virtio-rng: limits, policy in every way it can fail, a device
// that is short, slow, silent, stuck or sick, and that no entropy stays or is repeated.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import {
  buildModule, Host, type HostOptions, type Outcome, type Peer, type Script, type Step,
} from '../../runtime/node/index.js';
import {
  fuzzed, id, mute, policyd, POLICYD_FAULTS, readReply, request, u16, type Question, type Reply,
} from './frames.js';
import { randomBelow } from '../random.js';

const abi = loadAbi();
const EDGE = limit(abi, 'rngd', 'entropy_bytes_max');
const S = { ok: 0, oversized: 1, denied: 2, unavailable: 3, malformed: 4, unsupported: 5 };
const AGAIN = -15n;
let wasm: Uint8Array;
before(async () => { wasm = await buildModule('rngd'); });

/** How the simulated device misbehaves. */
interface Device {
  /** bytes of request n (0, 1, ...) into a buffer of that size; fewer: a short answer */
  fill: (size: number, n: number) => Uint8Array;
  /** takes that say `again` before each completion; Infinity: never completes */
  delay?: number | (() => number);
  id?: number;
  /** what the completion claims, when not what was written */
  claims?: (written: number) => number;
}
const next = randomBelow(1);
const noise = (size: number): Uint8Array => Uint8Array.from({ length: size }, () => next(256));

interface Log { opens: number; submits: number; given: Uint8Array[] }
function calls(device: Device, log: Log): NonNullable<HostOptions['sys']> {
  let pending: { token: number; to: number; size: number; left: number } | null = null;
  const words = (host: Host, at: number, ...values: number[]): void => {
    const out = Buffer.alloc(32);
    values.forEach((value, i) => out.writeBigUInt64LE(BigInt(value), 8 * i));
    host.write(at, out);
  };
  return {
    device_open: (host, _device, features, meta) => {
      log.opens++;
      pending = null;
      words(host, Number(meta), device.id ?? 4, 2, Number(features as bigint), 0);
      return 0n;
    },
    device_queue: () => 0n,
    device_ready: () => 0n,
    device_submit: (host, _device, _queue, list, count, flags) => {
      assert.deepEqual([count, flags], [1, 1], 'one buffer, with an answer owed');
      const entry = Buffer.from(host.bytes(Number(list), 16));
      assert.equal(entry.readUInt32LE(8), 1, 'the device writes');
      assert.equal(pending, null, 'one request at a time');
      pending = { token: 7 + log.submits, to: entry.readUInt32LE(0), size: entry.readUInt32LE(4), left: typeof device.delay === 'function' ? device.delay() : device.delay ?? 1 };
      log.submits++;
      return BigInt(pending.token);
    },
    device_take: (host, _device, _queue, meta) => {
      host.advance(1_000_000);
      if (!pending || pending.left-- > 0) return AGAIN;
      const bytes = device.fill(pending.size, log.submits - 1);
      log.given.push(bytes);
      host.write(pending.to, bytes);
      words(host, Number(meta), pending.token, device.claims?.(bytes.length) ?? bytes.length);
      pending = null;
      return 0n;
    },
  };
}

const allowed: Peer = policyd(() => true);
function rngd(script: (io: Host, log: Log) => Script, device: Partial<Device> = {}, peer: Peer = allowed): Host {
  const log: Log = { opens: 0, submits: 0, given: [] };
  const host = new Host({
    name: 'rngd', wasm, peers: { policyd: peer, logd: mute, metricsd: mute }, sys: calls({ fill: noise, ...device }, log),
  });
  host.run((io) => script(io, log));
  return host;
}
let nonce = 0;
function* draw(io: Host, count: number, from = 'selftest'): Generator<Step, Reply, Outcome> {
  nonce++;
  const reply = readReply(yield* io.call(from, request('RG', 1, 1, nonce, u16(count))), 'RG', 1);
  assert.equal(reply.nonce, nonce);
  if (reply.status !== S.ok) assert.equal(reply.body.length, 0, 'a refusal carries no byte');
  else assert.equal(reply.body.readUInt16LE(), reply.body.length - 2);
  return reply;
}
function* counters(io: Host): Generator<Step, number[], Outcome> {
  const { body } = readReply(yield* io.call('selftest', request('RG', 1, 2, ++nonce)), 'RG', 2);
  return Array.from({ length: 5 }, (_, i) => Number(body.readBigUInt64LE(8 * i)));
}

test('gives what the device wrote, up to its limit, and asks policyd about the sender each time', () => {
  const asked: Question[] = [];
  rngd(function* (io, log) {
    for (const count of [1, 32, EDGE]) {
      const reply = yield* draw(io, count);
      assert.equal(reply.status, S.ok);
      assert.deepEqual(Buffer.from(reply.body.subarray(2)), Buffer.from(log.given.at(-1)!));
    }
    assert.equal(log.opens, 1, 'negotiated once');
    assert.equal((yield* draw(io, EDGE + 1)).status, S.oversized);
    assert.equal((yield* draw(io, 65535)).status, S.oversized);
    assert.equal((yield* draw(io, 0)).status, S.malformed);
    assert.deepEqual(yield* counters(io), [3, 0, 2, 0, 0]);
  }, {}, policyd(() => true, asked));
  assert.deepEqual(asked.map(({ op, subject, cap }) => [op, subject, cap]), Array(3).fill([5, id('selftest'), 'rng.entropy']));
});

test('draws nothing for a sender that policyd denies', () => {
  rngd(function* (io, log) {
    assert.equal((yield* draw(io, 16, 'mallory')).status, S.denied);
    assert.equal(log.submits, 0);
    assert.equal((yield* draw(io, 16)).status, S.ok);
    assert.deepEqual(yield* counters(io), [1, 1, 0, 0, 0]);
  }, {}, policyd((q) => q.subject === id('selftest')));
});

for (const [name, fault] of Object.entries(POLICYD_FAULTS)) {
  test(`fails closed when policyd is at fault: ${name}`, () => {
    rngd(function* (io, log) {
      assert.equal((yield* draw(io, 16)).status, S.denied);
      assert.equal(log.submits, 0, 'the device was not even asked');
    }, {}, fault);
  });
}

test('puts short answers together, and gives up on a device that trickles, lies, is silent or is another', () => {
  rngd(function* (io, log) {
    assert.equal((yield* draw(io, 60)).status, S.ok);
    assert.equal(log.submits, 6);
  }, { fill: (size) => noise(Math.min(size, 10)) });
  const bad: Record<string, Partial<Device>> = {
    'one byte at a time': { fill: () => noise(1) },
    'no byte': { fill: () => new Uint8Array(0) },
    'more than asked': { claims: (written) => written + 1 },
    silence: { delay: Infinity },
    'another device': { id: 2 },
  };
  for (const [name, device] of Object.entries(bad)) {
    rngd(function* (io) {
      const from = io.now_ns;
      assert.equal((yield* draw(io, EDGE)).status, S.unavailable, name);
      assert.ok(io.now_ns - from <= BigInt(limit(abi, 'rngd', 'device_wait_ns')) + 100_000_000n, `${name}: bounded wait`);
      assert.equal((yield* counters(io))[3], 1, name);
    }, device);
  }
});

test('starts the device over before it offers a buffer that an unfinished request may still write', () => {
  let silent = true;
  rngd(function* (io, log) {
    assert.equal((yield* draw(io, 8)).status, S.unavailable);
    silent = false;
    assert.equal((yield* draw(io, 8)).status, S.ok);
    assert.equal(log.opens, 2);
  }, { delay: () => (silent ? Infinity : 1) });
});

test('refuses a sick source: a run of equal bytes over the limit, zeros, an untouched buffer', () => {
  const run = limit(abi, 'rngd', 'repetition_max');
  const withRun = (length: number) => (size: number): Uint8Array => Uint8Array.from({ length: size }, (_, i) => (i < length ? 9 : 10 + (i % 200)));
  rngd(function* (io) {
    assert.equal((yield* draw(io, 32)).status, S.ok, 'a run at the limit');
  }, { fill: withRun(run) });
  for (const fill of [withRun(run + 1), (size: number) => new Uint8Array(size)]) {
    rngd(function* (io) {
      assert.equal((yield* draw(io, 32)).status, S.unavailable);
      assert.deepEqual(yield* counters(io), [0, 0, 0, 1, 1]);
    }, { fill });
  }
});

test('leaves no entropy behind: not in the driver, not on the console, not in what it sends', () => {
  const host = rngd(function* (io, log) {
    yield* draw(io, 64);
    const secret = Buffer.from(log.given[0]!).toString('latin1');
    // The answer buffer holds the last answer until the next one.
    yield* draw(io, 64);
    assert.equal(Buffer.from(io.memory.buffer).toString('latin1').includes(secret), false);
    for (const { bytes } of io.sent) assert.equal(Buffer.from(bytes).toString('latin1').includes(secret.slice(0, 8)), false);
  });
  assert.deepEqual(host.console, []);
});

test('is ready only when the device delivers', () => {
  const ping = request('IN', 1, 2, 1);
  const ready = (device: Partial<Device>): string[] => rngd(function* (io) { yield* io.call('init-lite', ping); }, device).console;
  assert.deepEqual(ready({}), ['rngd: ready']);
  assert.deepEqual(ready({ delay: Infinity }), []);
  assert.deepEqual(ready({ fill: (size) => new Uint8Array(size) }), []);
});

test('survives fuzzed frames: one reply each, bytes only with ok', () => {
  const seed = 99;
  rngd(function* (io) {
    for (const bytes of fuzzed(request('RG', 1, 1, 1, u16(8)), 1000, seed)) {
      const reply = yield* io.call('mallory', bytes);
      assert.ok(reply && reply.length >= 9, `seed ${seed}: ${bytes.toString('hex')}`);
      if (bytes[3] === 1) assert.ok(reply[4] !== S.ok, `seed ${seed}: ${bytes.toString('hex')}`);
    }
  }, {}, policyd(() => false));
});
