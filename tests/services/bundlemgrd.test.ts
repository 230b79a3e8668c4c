// SPDX-License-Identifier: Apache-2.0
// bundlemgrd's shipping module under Node over a bundle of the test: list, info, chunked fetch, policy, route status,
// refusals.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { before, test } from 'node:test';
import {
  buildModule, Host, type HostOptions, type Outcome, type Peer, type Script, type Step,
} from '../../runtime/node/index.js';
import {
  fuzzed, id, mute, named, policyd, POLICYD_FAULTS, readReply, request, u16, u32, u64, type Question, type
  Reply,
} from './frames.js';
import { randomBelow } from '../random.js';

const S = { ok: 0, malformed: 1, unsupported: 2, notFound: 3, denied: 4, unavailable: 5 };
const CHUNK = 8000;
let wasm: Uint8Array;
before(async () => { wasm = await buildModule('bundlemgrd'); });

const next = randomBelow(5);
const blob = (bytes: number): Uint8Array => Uint8Array.from({ length: bytes }, () => next(256));
const allowed: Peer = policyd(() => true);
const services = (): Record<string, Uint8Array> => ({
  'init-lite': blob(10), bundlemgrd: wasm, small: blob(1), edge: blob(CHUNK), over: blob(CHUNK + 1), large: blob(3 * CHUNK + 17), empty: blob(0),
});
function bundlemgrd(script: (io: Host, held: Record<string, Uint8Array>) => Script, peer: Peer = allowed, options: Partial<HostOptions> = {}): Host {
  const held = options.services ?? services();
  const host = new Host({ name: 'bundlemgrd', wasm, peers: { policyd: peer, logd: mute, metricsd: mute }, services: held, ...options });
  host.run((io) => script(io, held));
  return host;
}
let nonce = 0;
function* ask(io: Host, op: number, ...body: Parameters<typeof request>[4][]): Generator<Step, Reply, Outcome> {
  nonce++;
  const reply = readReply(yield* io.call('selftest', request('BN', 1, op, nonce, ...body)), 'BN', op);
  assert.equal(reply.nonce, nonce);
  return reply;
}
const pull = (io: Host, name: string, offset: number, max = 65535): Generator<Step, Reply, Outcome> => ask(io, 3, u64(id(name)), u32(offset), u16(max));

test('lists the manifest in order, from any place', () => {
  bundlemgrd(function* (io, held) {
    const names = Object.keys(held);
    for (const first of [0, 3, names.length, 60_000]) {
      const { status, body } = yield* ask(io, 1, u16(first));
      assert.equal(status, S.ok);
      assert.deepEqual([body.readUInt16LE(0), body.readUInt16LE(2)], [names.length, Math.max(0, names.length - first)]);
      let at = 4;
      for (const [i, name] of names.entries()) {
        if (i < first) continue;
        const length = body[at + 10]!;
        assert.deepEqual(
          [body.readUInt16LE(at), body.readUInt32LE(at + 2), body.readUInt32LE(at + 6), body.toString('latin1', at + 11, at + 11 + length)],
          [i, 1, held[name]!.length, name],
        );
        at += 11 + length;
      }
      assert.equal(at, body.length);
    }
  });
});

test('tells what an image is: index, size, digest', () => {
  bundlemgrd(function* (io, held) {
    for (const [index, name] of Object.keys(held).entries()) {
      const { status, body } = yield* ask(io, 5, named(name));
      assert.equal(status, S.ok);
      assert.equal(body.length, 88);
      assert.deepEqual([body.readUInt32LE(0), body.readUInt32LE(8)], [index, held[name]!.length]);
      assert.equal(body.toString('hex', 24, 56), createHash('sha256').update(held[name]!).digest('hex'));
    }
    assert.equal((yield* ask(io, 5, named('no-such'))).status, S.notFound);
    assert.equal((yield* ask(io, 5, named(''))).status, S.malformed);
    assert.equal((yield* ask(io, 5, named('a'.repeat(33)))).status, S.malformed);
  });
});

test('gives an image in contiguous pieces whose union is the image', () => {
  bundlemgrd(function* (io, held) {
    for (const [name, image] of Object.entries(held)) {
      const pieces: Uint8Array[] = [];
      let at = 0;
      do {
        const { status, body } = yield* pull(io, name, at);
        assert.equal(status, S.ok, name);
        const length = body.readUInt16LE(8);
        assert.deepEqual([body.readUInt32LE(0), body.readUInt32LE(4), body.length], [image.length, at, 10 + length]);
        assert.equal(length, Math.min(CHUNK, image.length - at), `${name} at ${at}`);
        pieces.push(body.subarray(10));
        at += length;
      } while (at < image.length);
      assert.deepEqual(Buffer.concat(pieces), Buffer.from(image), name);
    }
    assert.equal((yield* pull(io, 'large', 5, 7)).body.toString('hex', 10), Buffer.from(held['large']!.subarray(5, 12)).toString('hex'));
    assert.equal((yield* pull(io, 'small', 2)).status, S.malformed, 'past the end');
    assert.equal((yield* pull(io, 'small', 0, 0)).status, S.malformed, 'no room');
    assert.equal((yield* pull(io, 'no-such', 0)).status, S.notFound);
    assert.equal((yield* ask(io, 3, u64(1))).status, S.malformed);
  });
});

test('asks policyd for each op by its capability, and tells the denied nothing', () => {
  const asked: Question[] = [];
  bundlemgrd(function* (io) {
    for (const reply of [yield* ask(io, 1, u16(0)), yield* ask(io, 5, named('small')), yield* ask(io, 5, named('no-such')), yield* pull(io, 'small', 0)]) {
      assert.equal(reply.status, S.denied);
      assert.equal(reply.body.length, 0);
    }
  }, policyd(() => false, asked));
  assert.deepEqual(asked.map(({ op, subject, cap }) => [op, subject === id('selftest'), cap]),
    [[5, true, 'bundle.list'], [5, true, 'bundle.info'], [5, true, 'bundle.info'], [5, true, 'bundle.fetch']]);
});

test('tells a sender its own routes as policyd decides them', () => {
  const asked: Question[] = [];
  bundlemgrd(function* (io) {
    assert.deepEqual([...(yield* ask(io, 2, named('timed'))).body], [0]);
    assert.deepEqual([...(yield* ask(io, 2, named('execd'))).body], [1]);
    assert.equal((yield* ask(io, 2, named(''))).status, S.malformed);
  }, policyd((q) => q.target === id('timed'), asked));
  assert.deepEqual(asked.map(({ op, subject, target }) => [op, subject, target]), [[2, id('selftest'), id('timed')], [2, id('selftest'), id('execd')]]);
});

for (const [name, fault] of Object.entries(POLICYD_FAULTS)) {
  test(`fails closed when policyd is at fault: ${name}`, () => {
    bundlemgrd(function* (io) {
      for (const reply of [yield* ask(io, 1, u16(0)), yield* ask(io, 5, named('small')), yield* pull(io, 'small', 0), yield* ask(io, 2, named('timed'))]) {
        assert.deepEqual([reply.status, reply.body.length], [S.unavailable, 0]);
      }
    }, fault);
  });
}

test('measures fetches: requests, whole images and their sizes reach metricsd', () => {
  const sent: Buffer[] = [];
  bundlemgrd(function* (io) {
    yield* pull(io, 'large', 0);
    yield* pull(io, 'large', 3 * CHUNK);
    for (let n = 0; n < 6; n++) yield* io.idle();
  }, allowed, { peers: { policyd: allowed, logd: mute, metricsd: (m) => { if (m.call) return { error: 'not_declared' }; sent.push(Buffer.from(m.bytes)); return null; } } });
  const text = Buffer.concat(sent).toString('latin1');
  for (const series of ['bundlemgrd.fetch.request', 'bundlemgrd.fetch.ok', 'bundlemgrd.fetch.image_bytes']) {
    assert.ok(text.includes(series), series);
  }
});

test('is ready with a readable manifest that holds itself, and refuses what it does not know', () => {
  const ping = request('IN', 1, 2, 1);
  const lines = (options: Partial<HostOptions>): string[] => bundlemgrd(function* (io) { yield* io.call('init-lite', ping); }, allowed, options).console;
  assert.deepEqual(lines({}), ['bundlemgrd: ready']);
  assert.deepEqual(lines({ services: {} }), []);
  assert.deepEqual(lines({ services: { other: wasm } }), []);
  assert.deepEqual(lines({ services: { bundlemgrd: blob(64) } }), [], 'no WebAssembly');
  assert.deepEqual(lines({ services: Object.fromEntries([['bundlemgrd', wasm], ...Array.from({ length: 47 }, (_, i) => [`s${i}`, blob(1)])]) }), ['bundlemgrd: ready'], '48 services');
  assert.deepEqual(lines({ services: Object.fromEntries([['bundlemgrd', wasm], ...Array.from({ length: 48 }, (_, i) => [`s${i}`, blob(1)])]) }), [], '49 do not fit');
  bundlemgrd(function* (io) {
    assert.equal((yield* ask(io, 4, u32(0))).status, S.unsupported, 'SET_ACTIVE_SLOT is not offered');
  });
});

test('survives fuzzed frames: one reply each, and nothing for the denied', () => {
  const seed = 12;
  bundlemgrd(function* (io) {
    for (const bytes of fuzzed(request('BN', 1, 3, 1, u64(id('large')), u32(0), u16(100)), 1200, seed)) {
      const reply = yield* io.call('mallory', bytes);
      assert.ok(reply && reply.length <= 10, `seed ${seed}: ${bytes.toString('hex')}`);
      if (bytes[3] !== 2) assert.notEqual(reply[4], S.ok, `seed ${seed}: ${bytes.toString('hex')}`);
    }
  }, policyd(() => false));
});
