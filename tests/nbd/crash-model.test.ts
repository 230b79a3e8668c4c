// SPDX-License-Identifier: Apache-2.0
// The two sayings of what a crash workload writes (guest and host) are one; the judgement of survivors; plans; console lines; stages.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildEntry, Host } from '../../runtime/node/index.js';
import { readSaid } from '../../scripts/crash/lines.js';
import {
  IN_FLIGHT_MAX, KEYS, OPS_MAX, RUN_OPS, VALUE_BYTES_MAX, applied, baseOf, differing, itemsOf, judge, kindOf, valueOf, type Contents,
} from '../../scripts/crash/model.js';
import { CUT_AT_MAX, planCut } from '../../scripts/crash/plan.js';
import { StageWatch } from '../../scripts/crash/stage.js';

const KINDS = ['put', 'del', 'txn', 'batch'];

test('guest and host name the same operations, keys and bytes', async () => {
  const host = new Host({ name: 'power-ops', wasm: await buildEntry('tests/nbd/guest-power-ops.ts') });
  const address = Number(host.fn('address')());
  const seenKinds = new Set<string>();
  const seenDeliveries = new Set<number>();
  for (const [seed, round] of [[0, 0], [1, 0], [1, 1], [0xdeadbeef, 77], [0xffffffff, 0xffffffff]] as const) {
    const base = baseOf(seed, round);
    host.fn('seeded')(seed, round);
    for (let op = 0; op < OPS_MAX; op++) {
      const kind = KINDS[Number(host.fn('kind')(op))]!;
      seenKinds.add(kind);
      if (kind === 'batch') seenDeliveries.add(Number(host.fn('delivery')(op)));
      assert.equal(kind, kindOf(base, op));
      const items = itemsOf(base, op);
      assert.equal(Number(host.fn('read')(op)), items.length, `seed ${seed} round ${round} op ${op}`);
      for (const [i, { key, length }] of items.entries()) {
        assert.equal(Number(host.fn('lengthAt')(i)), length);
        const bytes = Number(host.fn('key')(i));
        assert.equal(Buffer.from(host.bytes(address, bytes)).toString('latin1'), `/state/test/crash/${key}`);
        if (length < 0 || op % 9 !== 0) continue;
        host.fn('value')(op, i, length);
        assert.ok(valueOf(base, op, i, length).equals(Buffer.from(host.bytes(address, length))), `value of op ${op} item ${i}`);
      }
    }
  }
  assert.equal(seenKinds.size, KINDS.length);
  assert.deepEqual([...seenDeliveries].sort(), [0, 1, 2]);
});

test('a workload has every size, deletes, and runs of one kind', () => {
  const lengths: number[] = [];
  for (let round = 0; round < 20; round++) {
    const base = baseOf(5, round);
    for (let op = 0; op < OPS_MAX; op++) {
      assert.equal(kindOf(base, op), kindOf(base, op - (op % RUN_OPS)));
      for (const { key, length } of itemsOf(base, op)) {
        assert.ok(Number(key.slice(1)) < KEYS && length <= VALUE_BYTES_MAX);
        lengths.push(length);
      }
    }
  }
  for (const least of [0, 100, 900, 5000, 8192, 40_000]) assert.ok(lengths.some((length) => length >= least), `${least}`);
  assert.ok(lengths.includes(-1) && lengths.includes(0));
});

/** The store after the first `count` operations. */
function after(base: number, count: number, before: Contents = new Map()): Map<string, string> {
  let contents = new Map(before);
  for (let op = 0; op < count; op++) contents = applied(contents, base, op);
  return contents;
}

test('judged as kept: exactly what was acknowledged, and up to the operations in flight, no further', () => {
  const base = baseOf(3, 1);
  for (let inFlight = 0; inFlight <= IN_FLIGHT_MAX; inFlight++) {
    const judgement = judge(new Map(), base, 39, after(base, 40 + inFlight));
    assert.equal(judgement.kind, 'kept');
    assert.ok(judgement.kind === 'kept' && judgement.inFlight <= inFlight, 'an operation may change nothing');
  }
  assert.equal(judge(new Map(), base, 39, after(base, 40 + IN_FLIGHT_MAX + 40)).kind, 'mixed');
  assert.equal(judge(after(base, 9), 0, -1, after(base, 9), 0).kind, 'kept');
  assert.equal(judge(after(base, 9), 0, -1, after(base, 29), 0).kind, 'mixed');
});

test('judged as lost: the store of an earlier operation, with how many are gone', () => {
  const base = baseOf(3, 2);
  const found = after(base, 30);
  const judgement = judge(new Map(), base, 39, found);
  assert.equal(judgement.kind, 'lost');
  assert.ok(judgement.kind === 'lost' && judgement.lost >= 1 && judgement.lost <= 10 && judgement.keys.length > 0);
});

test('judged as mixed: half a commit, another value, a key that nobody wrote, a deleted key that is back', () => {
  const base = baseOf(3, 3);
  const due = after(base, 40);
  const kinds = Array.from({ length: OPS_MAX }, (_, op) => kindOf(base, op));
  const op = kinds.findIndex((kind, n) => kind === 'batch' && new Set(itemsOf(base, n).filter(({ length }) => length >= 0).map(({ key }) => key)).size > 2);
  const whole = after(base, op + 1);
  const part = new Map(after(base, op));
  const changed = differing(part, whole);
  part.set(changed[0]!, whole.get(changed[0]!) ?? '0 0');
  assert.equal(judge(new Map(), base, op - 1, part).kind, 'mixed', 'half a commit');
  const first = [...due.keys()][0]!;
  for (const change of [[first, '3 0123456789abcdef'], ['k99', '1 0123456789abcdef']] as const) {
    const judgement = judge(new Map(), base, 39, new Map([...due, change]));
    assert.ok(judgement.kind === 'mixed' && judgement.lost === 1 && judgement.keys.includes(change[0]), change[0]);
  }
  const gone = Array.from({ length: KEYS }, (_, n) => `k${String(n).padStart(2, '0')}`).find((key) => !due.has(key))!;
  assert.equal(judge(new Map(), base, 39, new Map([...due, [gone, '5 0000000000000000']])).kind, 'mixed', 'a deleted key');
});

test('what the guest said: contents only when the check came to its end; anything strange is an error', () => {
  const have = 'SELFTEST: crash have k01 12 0123456789abcdef';
  const said = readSaid(['init: ready', have, 'SELFTEST: crash kept 1', 'SELFTEST: crash ack 0', 'SELFTEST: crash ack 2', 'SELFTEST: crash idle']);
  assert.deepEqual([...said.found!], [['k01', '12 0123456789abcdef']]);
  assert.deepEqual([said.acknowledged, said.idle], [[0, 2], true]);
  assert.equal(readSaid([have]).found, null);
  const strange = [
    [have, have], ['SELFTEST: crash kept 1'], [have, 'SELFTEST: crash kept 2'], ['SELFTEST: crash ack 0'], ['SELFTEST: crash ack x'], ['SELFTEST: crash '],
    ['SELFTEST: crash kept 0', 'SELFTEST: crash ack 1', 'SELFTEST: crash ack 1'], ['SELFTEST: crash kept 0', 'SELFTEST: crash kept 0'],
    ['SELFTEST: crash kept 0', have], ['SELFTEST: crash something'],
  ];
  for (const lines of strange) assert.throws(() => readSaid(lines), /the guest printed/, lines.join(' | '));
});

test('plans: the same for the same seed, inside their bounds, early and late, every moment and mode', () => {
  const plans = Array.from({ length: 400 }, (_, n) => planCut(9, n));
  assert.deepEqual(plans[7], planCut(9, 7));
  assert.notDeepEqual(plans.slice(0, 20), Array.from({ length: 20 }, (_, n) => planCut(10, n)));
  assert.ok(plans.every(({ at }) => at >= 1 && at <= CUT_AT_MAX));
  assert.ok(plans.filter(({ at, aim }) => aim === 'boot' && at <= 6).length > 40 && plans.some(({ at }) => at > CUT_AT_MAX - 20));
  assert.ok(plans.filter(({ aim }) => aim === 'compaction').length > 40);
  assert.equal(new Set(plans.map(({ moment }) => moment)).size, 3);
  assert.equal(new Set(plans.map(({ mode }) => mode)).size, 6);
});

/** A superblock of region size 100 sectors. */
function superblock(epoch: number, active: number): Buffer {
  const bytes = Buffer.alloc(512);
  bytes.write('VIGILST1', 0, 'latin1');
  bytes.writeUInt32LE(epoch, 16);
  bytes.writeUInt32LE(100, 44);
  bytes.writeUInt32LE(active, 48);
  return bytes;
}

test('a cut counts as in a compaction from the first write to the other region until its superblock is flushed', () => {
  const image = Buffer.alloc(512 * 216);
  superblock(4, 0).copy(image, 0);
  superblock(3, 1).copy(image, 4096);
  const watch = new StageWatch(image);
  const write = (offset: number, data: Buffer = Buffer.alloc(512)): boolean => {
    watch.request({ kind: 'write', offset, length: data.length, data });
    return watch.compacting;
  };
  const flush = (): boolean => {
    watch.request({ kind: 'flush', offset: 0, length: 0, data: Buffer.alloc(0) });
    return watch.compacting;
  };
  const [a, b] = [16 * 512, 116 * 512];
  assert.deepEqual([write(a), flush(), write(b), flush(), write(b + 512)], [false, false, true, true, true]);
  assert.deepEqual([flush(), write(4096, superblock(5, 1)), flush(), write(b), write(a)], [true, true, false, false, true]);
});
