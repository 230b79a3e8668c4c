// SPDX-License-Identifier: Apache-2.0
// A start of retention that fails: what passes by is tried again, bounded, and then history is there; what does not is final, and nothing
// is ever written before everything was read.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { senderId } from '../../runtime/node/index.js';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { counter, expect, registry, stats, type Steps } from './metricsd-frames.js';
import { SECOND, at, life, range, settle } from './metricsd-history.js';
import { StatePeer } from './metricsd-state.js';

const START_RETRIES = limit(loadAbi(), 'metricsd', 'retention_start_retries_max');
const passing: [string, (state: StatePeer) => void][] = [
  ['a SYNC that is io', (state) => { state.storeState = 7; }], ['a LIST that is io', (state) => { state.refuseReads = 7; }],
  ['nobody there', (state) => { state.dead = true; }], ['silence', (state) => { state.mute = true; }],
];
for (const [what, prepare] of passing) {
  test(`a start that met ${what} for a moment: tried again, then history is there and the new is kept`, async () => {
    const state = new StatePeer();
    await life(state, function* (host): Steps<void> {
      yield* expect(host, 'timed', counter('old', 5), 'ok');
      yield* expect(host, 'timed', counter('both', 7), 'ok');
      yield* at(host, 2n * SECOND);
      yield* settle(host);
    });
    const kept = new Map(state.values);
    prepare(state);
    await life(state, function* (host): Steps<void> {
      yield* expect(host, 'timed', counter('both', 2), 'ok');
      assert.equal((yield* stats(host)).retention, 1n);
      assert.deepEqual(state.values, kept, 'nothing is written before everything was read');
      state.storeState = state.refuseReads = 0;
      state.dead = state.mute = false;
      yield* at(host, host.now_ns + 4n * SECOND);
      const words = yield* stats(host);
      assert.deepEqual([words.retention, words.why], [2n, 0n]);
      assert.ok(words.offsetNs > 0n || words.retentionNs >= 2n * SECOND, 'the clock is behind what was kept');
      yield* expect(host, 'timed', counter('old', 1), 'ok');
      yield* expect(host, 'timed', counter('both', 1), 'ok');
      yield* at(host, host.now_ns + 2n * SECOND);
      yield* settle(host);
      assert.deepEqual((yield* range(host, { name: 'old' })).map(({ last }) => last), [5n, 6n], 'it goes on');
      assert.deepEqual((yield* range(host, { name: 'both' })).map(({ last }) => last), [7n, 3n], 'in use before: it starts over');
      const self = (yield* registry(host)).records.find(({ name, sender }) => name === 'metricsd.retention.failed' && sender === senderId('metricsd'));
      assert.ok(self!.value >= 1n, 'the failed start is counted');
      for (const [key, value] of kept) assert.deepEqual(state.values.get(key), value, `${key} is as it was`);
    }, {}, 50_000_000n);
  });
}

test('a start is tried so often and no more; a refusal that no later try changes, once', async () => {
  for (const [status, tries] of [[7, 1 + START_RETRIES], [13, 1], [14, 1], [15, 1], [16, 1], [2, 1]] as const) {
    const state = new StatePeer();
    state.storeState = status;
    await life(state, function* (host): Steps<void> {
      yield* at(host, 600n * SECOND);
      assert.equal(state.syncs, tries, `status ${status}`);
      state.storeState = 0;
      yield* at(host, 700n * SECOND);
      assert.deepEqual([(yield* stats(host)).retention, state.puts.length], [1n, 0]);
    });
  }
});

test('a start that failed after something was read is final: nobody knows what is there', async () => {
  const state = new StatePeer();
  await life(state, function* (host): Steps<void> {
    yield* expect(host, 'timed', counter('old', 5), 'ok');
    yield* at(host, 2n * SECOND);
    yield* settle(host);
  });
  const kept = new Map(state.values);
  state.refuseGets = 7;
  await life(state, function* (host): Steps<void> {
    state.refuseGets = 0;
    yield* at(host, 60n * SECOND);
    assert.deepEqual([(yield* stats(host)).retention, (yield* stats(host)).why], [1n, 7n]);
    assert.deepEqual(state.values, kept);
  });
});
