// SPDX-License-Identifier: Apache-2.0
// One decision of policyd for each sender and capability within a group: what shares it, what never does, and what is logged of it
// (assembly/services/statefsd/decisions.ts). Frames that are handed over without waiting are taken in one pass of the server.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { buildModule, type Peer, type PeerMessage } from '../../runtime/node/index.js';
import { LAZY, OP, STATUS as S } from '../statefs/sim/frames.js';
import { id, mute, policyd, type Question } from './frames.js';
import { allow, bare, batch, del, get, list, prefixed, put, world, type Steps, type World } from './statefsd-world.js';

const abi = loadAbi();
const of = (key: string): number => limit(abi, 'statefsd', key);
const MAX = of('decisions_max');
let wasm: Uint8Array;
before(async () => { wasm = await buildModule('statefsd'); });

/** Runs the script with a policyd that writes its questions down as `CAPABILITY SENDER`. */
function asking(script: (w: World, asked: () => string[]) => Steps<void>, allows: (q: Question) => boolean = () => true, logd: Peer = mute): void {
  const questions: Question[] = [];
  const peers = { policyd: policyd(allows, questions), logd, metricsd: mute, samgrd: mute };
  world({ wasm, policy: allow, host: { peers } }, function* (w) {
    yield* script(w, () => questions.splice(0).map(({ cap, subject }) => `${cap} ${subject}`));
  });
}
const by = (cap: string, sender: string): string => `${cap} ${id(sender)}`;
/** Waits for the answers to requests that were handed over. */
function* statuses(w: World, nonces: number[]): Steps<(number | undefined)[]> {
  for (let round = 0; round < 8 && nonces.some((nonce) => w.answer(nonce) === undefined); round++) yield* w.host.idle();
  return nonces.map((nonce) => w.answer(nonce)?.status);
}

test('frames of one sender that are staged together are decided once, for each capability', () => {
  asking(function* (w, asked) {
    const nonces: number[] = [];
    for (const make of [
      put('/state/a', '1'), batch([['/state/b', '1'], ['/state/c', '1']]), batch([['/state/d', '1'], ['/state/boot/d', '1']]),
      batch([['/state/e', '1']], LAZY), del('/state/a'), put('/state/boot/e', '1'), bare(OP.sync),
    ]) nonces.push(yield* w.submit(make));
    assert.deepEqual(yield* statuses(w, nonces), nonces.map(() => S.ok));
    assert.deepEqual(asked(), [by('statefs.write', 'selftest'), by('statefs.boot', 'selftest')]);
    assert.deepEqual(yield* w.value('/state/c'), Buffer.from('1'));
  });
});

test('another sender gets a decision of its own, and a denial covers all frames of its sender and none of others', () => {
  asking(function* (w, asked) {
    const good: number[] = [];
    const bad: number[] = [];
    good.push(yield* w.submit(put('/state/a', 'good')));
    for (let n = 0; n < 3; n++) {
      bad.push(yield* w.submit(put(`/state/bad${n}`, 'v'), 'metricsd'));
      bad.push(yield* w.submit(batch([['/state/a', 'bad']], n === 1 ? LAZY : 0), 'metricsd'));
      good.push(yield* w.submit(put(`/state/good${n}`, 'v')));
    }
    assert.deepEqual(yield* statuses(w, bad), bad.map(() => S.accessDenied));
    assert.deepEqual(yield* statuses(w, good), good.map(() => S.ok));
    assert.deepEqual(asked(), [by('statefs.write', 'selftest'), by('statefs.write', 'metricsd')]);
    assert.equal((yield* w.stats())[16], bad.length, 'each denied frame is counted');
    assert.deepEqual(yield* w.keys('/state/bad'), []);
    assert.deepEqual(yield* w.value('/state/a'), Buffer.from('good'));
  }, ({ subject }) => subject !== id('metricsd'));
});

test('nothing is remembered beyond its group: not after a commit, an empty queue, or a request that staged nothing', () => {
  asking(function* (w, asked) {
    const one = [by('statefs.write', 'selftest')];
    for (let n = 0; n < 3; n++) {
      const nonce = yield* w.submit(put('/state/a', `${n}`));
      assert.deepEqual(yield* statuses(w, [nonce]), [S.ok]);
      assert.deepEqual(asked(), one, `group ${n}`);
    }
    // LAZY batches stay staged while the queue is empty; the decision does not.
    for (let n = 0; n < 3; n++) {
      assert.equal(yield* w.status(batch([['/state/l', `${n}`]], LAZY)), S.ok);
      yield* w.host.idle();
      assert.deepEqual(asked(), one, `pass ${n}`);
    }
    assert.equal(yield* w.status(bare(OP.sync)), S.ok);
    assert.deepEqual(asked(), one);
    // Nothing staged: three requests in one pass are three questions.
    for (let n = 0; n < 3; n++) assert.equal(yield* w.status(prefixed(OP.sync, '/state/x')), S.ok);
    assert.deepEqual(asked(), [...one, ...one, ...one]);
  });
});

test('a group that is written because it is full takes its decisions with it', () => {
  asking(function* (w, asked) {
    const GROUP = of('group_requests_max');
    const nonces: number[] = [];
    for (let n = 0; n < GROUP + 1; n++) nonces.push(yield* w.submit(put(`/state/k${n}`, 'v')));
    assert.deepEqual(yield* statuses(w, nonces), nonces.map(() => S.ok));
    assert.equal(asked().length, 2);
  });
});

test('a permission that is taken back is taken back at the next group; reads never use what writes were told', () => {
  let may = true;
  asking(function* (w, asked) {
    const first = yield* w.submit(put('/state/keystore/a', '1'));
    may = false;
    const second = yield* w.submit(put('/state/keystore/a', '2'));
    const read = yield* w.submit(get('/state/keystore/a'));
    const listed = yield* w.submit(list('/state/keystore/'));
    assert.deepEqual(yield* statuses(w, [first, second, read, listed]), [S.ok, S.ok, S.accessDenied, S.accessDenied]);
    assert.equal(yield* w.status(put('/state/keystore/a', '3')), S.accessDenied);
    may = true;
    assert.deepEqual(yield* w.value('/state/keystore/a'), Buffer.from('2'));
    assert.ok(asked().length >= 4);
  }, () => may);
});

test(`beyond ${MAX} senders and capabilities each frame is asked for`, () => {
  asking(function* (w, asked) {
    const nonces: number[] = [];
    for (let turn = 0; turn < 2; turn++) {
      for (let n = 0; n <= MAX; n++) nonces.push(yield* w.submit(put(`/state/k${n}`, 'v'), `sender-${n}`));
    }
    assert.deepEqual(yield* statuses(w, nonces), nonces.map(() => S.ok));
    assert.equal(asked().length, MAX + 2, 'the last sender is asked for twice');
  });
});

test('what shared decisions covered is logged: how many decisions, how many frames', () => {
  const lines: string[] = [];
  const logd: Peer = (message: PeerMessage) => {
    lines.push(Buffer.from(message.bytes).toString('latin1'));
    return mute(message);
  };
  asking(function* (w) {
    const nonces: number[] = [];
    for (let n = 0; n < 5; n++) nonces.push(yield* w.submit(batch([[`/state/k${n}`, 'v']])));
    nonces.push(yield* w.submit(put('/state/boot/x', 'v'), 'metricsd'));
    assert.deepEqual(yield* statuses(w, nonces), nonces.map(() => S.ok));
    const until = w.host.now_ns + 2n * BigInt(of('decisions_report_ns'));
    for (let n = 0; n < 4096 && w.host.now_ns < until; n++) yield* w.host.idle();
    const shared = lines.filter((line) => line.includes('policy decisions shared'));
    assert.equal(shared.length, 1, 'the decision for one frame says all in its audit');
    assert.match(shared[0]!, /cap=statefs\.write\n[^]*decisions=1\nframes=5/);
    assert.ok(shared[0]!.includes(`subject=${id('selftest').toString(16).padStart(16, '0')}`));
  }, () => true, logd);
});
