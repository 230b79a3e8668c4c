// SPDX-License-Identifier: Apache-2.0
// exportd under random faults of host and port: every frame stays accounted for, and what the host never took is what was dropped here.
// A failure prints its seed and the command that repeats it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomBelow } from '../random.js';
import { NONCE, addsUp, flush, run, stats, world, FLUSH } from './exportd-world.js';

const proof = { profile: 'proof', nonce: NONCE };

test('random faults: whatever happens, every frame is accounted for and the host gets each number at most once as new', () => {
  const seed = Number(process.env['SEED'] ?? 20261122);
  const next = randomBelow(seed);
  const w = world(proof);
  w.metricsd.series = Array.from({ length: 150 }, (_none, i) => ({ name: `s${i}`, kind: 1, value: BigInt(i) }));
  const taken = new Set<bigint>();
  /** taken, but the guest did not learn it: such a frame may still be dropped there */
  const unanswered = new Set<bigint>();
  const sound = w.end.mangle;
  const take = (seq: bigint): void => {
    taken.add(seq);
    if (w.end.mangle === sound) unanswered.delete(seq);
    else unanswered.add(seq);
  };
  w.end.judge = (got) => {
    const verdict = ['ok', 'ok', 'ok', 'over_limit', 'bad_request', 'unavailable', 'not_connected'][next(7)]!;
    if (verdict === 'ok' || verdict === 'bad_request') take(got.seq);
    return verdict;
  };
  try {
    run(w, function* (host) {
      for (let round = 0; round < 200; round++) {
        w.end.mangle = next(6) === 0 ? () => Buffer.alloc(next(60), 'V') : sound;
        w.end.writeStatus = next(8) === 0 ? 7 : 0;
        if (next(10) === 0) w.end.reconnect();
        if (next(2) === 0) { w.dcgmd.scrape += BigInt(1 + next(3)); w.dcgmd.parts = Array.from({ length: next(4) }, () => Buffer.alloc(1 + next(16_000), 5)); }
        for (let i = next(20); i > 0; i--) w.logd.records.push({ message: 'x'.repeat(next(200)), fields: `k=${'y'.repeat(next(300))}` });
        yield* flush(host, 1 + next(15));
        addsUp(yield* stats(host));
      }
      w.end.mangle = sound;
      w.end.writeStatus = 0;
      w.end.judge = (got) => { take(got.seq); return 'ok'; };
      for (let i = 0; i < 8; i++) yield* flush(host, FLUSH.records | FLUSH.send);
      const s = yield* stats(host);
      addsUp(s);
      assert.equal(s.queueFrames, 0n);
      assert.equal(s.logs + s.lost, s.cursor);
      const made = s.made.reduce((a, b) => a + b, 0n);
      const dropped = s.dropped.reduce((a, b) => a + b, 0n);
      const missing = made - BigInt(taken.size);
      assert.equal(missing + BigInt(unanswered.size), dropped, 'numbers that the host never took are the frames dropped here');
    });
  } catch (error) {
    throw new Error(`SEED=${seed} npx tsx --test tests/services/exportd-random.test.ts: ${(error as Error).message}`, { cause: error });
  }
});
