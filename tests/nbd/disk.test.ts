// SPDX-License-Identifier: Apache-2.0
// The disk that loses its power: what each cut mode may and may not do to each sector, plans, errors, stalls, a full disk.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FaultyDisk, type Plan } from '../../runtime/nbd/faulty-disk.js';
import { CUT_MODES, PENDING_BYTES_MAX, VolatileDisk, type CutMode } from '../../runtime/nbd/volatile-disk.js';
import { Random, randomBelow } from '../random.js';

const SECTOR = 512;
const EIO = 5, ENOSPC = 28;

test('a write is seen at once and durable only after a flush; the newest of overlapping writes wins', () => {
  const disk = new VolatileDisk(Buffer.alloc(4 * SECTOR));
  disk.write(0, Buffer.alloc(3 * SECTOR, 1));
  disk.write(SECTOR, Buffer.alloc(SECTOR, 2));
  const seen = Buffer.concat([Buffer.alloc(SECTOR, 1), Buffer.alloc(SECTOR, 2), Buffer.alloc(SECTOR, 1), Buffer.alloc(SECTOR)]);
  assert.deepEqual(disk.read(0, 4 * SECTOR), seen);
  assert.deepEqual(disk.read(SECTOR, 2 * SECTOR), seen.subarray(SECTOR, 3 * SECTOR));
  assert.ok(disk.medium.every((byte) => byte === 0));
  disk.flush();
  assert.deepEqual(disk.medium, seen);
  assert.equal(disk.pendingWrites, 0);
});

test('what was written belongs to the disk: the caller may reuse its buffer', () => {
  const disk = new VolatileDisk(Buffer.alloc(SECTOR));
  const data = Buffer.alloc(SECTOR, 1);
  disk.write(0, data);
  data.fill(9);
  disk.flush();
  assert.ok(disk.medium.every((byte) => byte === 1));
});

/** What one byte of a sector may be after a cut, given the flushed byte and the writes to it since. */
function allowed(mode: CutMode, flushed: number, written: number[]): Set<number> {
  if (mode === 'drop') return new Set([flushed]);
  if (mode === 'keep') return new Set([written.at(-1) ?? flushed]);
  return new Set([flushed, ...written]);
}

for (const mode of CUT_MODES) {
  test(`cut ${mode}: each byte is what was flushed or what was written since; the same seed gives the same survivors`, () => {
    let torn = 0, kept = 0, dropped = 0;
    for (let seed = 0; seed < 60; seed++) {
      const images = [0, 1].map(() => {
        const random = new Random(seed);
        const disk = new VolatileDisk(Buffer.alloc(16 * SECTOR));
        const history: number[][] = Array.from({ length: 16 }, () => []);
        const flushed = new Array<number>(16).fill(0);
        let value = 0;
        for (let n = 0; n < 40; n++) {
          if (random.chance(15)) {
            disk.flush();
            history.forEach((list, at) => { flushed[at] = list.at(-1) ?? flushed[at]!; list.length = 0; });
            continue;
          }
          const at = random.below(16);
          const count = 1 + random.below(Math.min(4, 16 - at));
          value++;
          disk.write(at * SECTOR, Buffer.alloc(count * SECTOR, value));
          for (let i = at; i < at + count; i++) history[i]!.push(value);
        }
        const report = disk.cut(mode, randomBelow(seed));
        assert.equal(report.sectors, report.kept + report.dropped + report.torn);
        torn += report.torn; kept += report.kept; dropped += report.dropped;
        disk.medium.forEach((byte, at) => {
          const sector = Math.floor(at / SECTOR);
          assert.ok(allowed(mode, flushed[sector]!, history[sector]!).has(byte), `${mode} seed ${seed} byte ${at} is ${byte}`);
        });
        assert.deepEqual(disk.read(0, 16 * SECTOR), disk.medium);
        return disk.medium;
      });
      assert.deepEqual(images[0], images[1], `seed ${seed}`);
    }
    const tears = mode === 'tear' || mode === 'mixed' || mode === 'prefix';
    assert.equal(torn > 0, tears, 'tears');
    assert.equal(dropped > 0, mode !== 'keep' && mode !== 'tear', 'drops');
    assert.equal(kept > 0, mode !== 'drop', 'keeps');
  });
}

test('a torn sector holds old and new bytes', () => {
  let both = 0;
  for (let seed = 0; seed < 40; seed++) {
    const disk = new VolatileDisk(Buffer.alloc(SECTOR, 1));
    disk.write(0, Buffer.alloc(SECTOR, 2));
    disk.cut('tear', randomBelow(seed));
    if (disk.medium.includes(1) && disk.medium.includes(2)) both++;
  }
  assert.ok(both > 10, `${both} of 40`);
});

test('reorder lets a later write survive an earlier one', () => {
  let later = 0;
  for (let seed = 0; seed < 40; seed++) {
    const disk = new VolatileDisk(Buffer.alloc(2 * SECTOR));
    disk.write(0, Buffer.alloc(SECTOR, 1));
    disk.write(SECTOR, Buffer.alloc(SECTOR, 2));
    disk.cut('reorder', randomBelow(seed));
    if (disk.medium[0] === 0 && disk.medium[SECTOR] === 2) later++;
  }
  assert.ok(later > 0);
});

test('the cache at its limit holds; one sector more, and the oldest write goes to the medium, counted', () => {
  const bytes = PENDING_BYTES_MAX / 8;
  const disk = new VolatileDisk(Buffer.alloc(bytes + SECTOR));
  for (let n = 1; n <= 8; n++) disk.write(0, Buffer.alloc(bytes, n));
  assert.deepEqual([disk.spilled, disk.medium[0]], [0, 0]);
  disk.write(bytes, Buffer.alloc(SECTOR, 9));
  assert.deepEqual([disk.spilled, disk.medium[0], disk.read(0, SECTOR)[0]], [1, 1, 8]);
});

/** A disk under a plan, and the errors of its answers (null: none yet). */
function planned(plan: Plan): { disk: FaultyDisk; ask: (kind: 'read' | 'write' | 'flush', offset?: number) => { error: number | null }; cuts: () => number } {
  let cuts = 0;
  const disk = new FaultyDisk(Buffer.alloc(64 * 4096), plan, { below: randomBelow(1), onCut: () => { cuts++; } });
  const ask = (kind: 'read' | 'write' | 'flush', offset = 0): { error: number | null } => {
    const answer: { error: number | null } = { error: null };
    const data = kind === 'write' ? Buffer.alloc(SECTOR, 5) : Buffer.alloc(0);
    disk.request({ kind, offset, length: kind === 'flush' ? 0 : SECTOR, data }, (error) => { answer.error = error; });
    return answer;
  };
  return { disk, ask, cuts: () => cuts };
}

test('a cut comes at its write or flush, reads do not count, and nothing is answered afterwards', () => {
  for (const moment of ['before', 'during', 'after'] as const) {
    const { disk, ask, cuts } = planned({ cut: { at: 3, moment, mode: 'keep' } });
    assert.equal(ask('write', 0).error, 0);
    assert.equal(ask('read').error, 0);
    assert.equal(ask('flush').error, 0);
    const last = ask('write', SECTOR);
    assert.equal(last.error, moment === 'after' ? 0 : null);
    assert.equal(cuts(), 1);
    assert.equal(disk.disk.medium[SECTOR], moment === 'before' ? 0 : 5);
    assert.equal(disk.disk.medium[0], 5);
    assert.deepEqual([ask('read').error, ask('write').error, ask('flush').error], [null, null, null]);
    disk.cutNow('drop');
    assert.equal(cuts(), 1, 'a cut happens once');
  }
});

test('a cut that is aimed later comes where the first aim said', () => {
  const { disk, ask, cuts } = planned({ cut: { at: null, moment: 'before', mode: 'drop' } });
  ask('write');
  disk.aimAt(disk.mutations + 2);
  disk.aimAt(1);
  assert.deepEqual([ask('flush').error, ask('write').error, cuts()], [0, null, 1]);
});

test('a cut at a flush: answered only when it was done', () => {
  for (const [moment, error, durable] of [['before', null, 0], ['during', null, 0], ['after', 0, 5]] as const) {
    const { disk, ask } = planned({ cut: { at: 2, moment, mode: 'drop' } });
    ask('write');
    assert.equal(ask('flush').error, error);
    assert.equal(disk.disk.medium[0], durable, moment);
  }
});

test('errors come for the planned requests of one kind, and those do nothing', () => {
  const { disk, ask } = planned({ errors: [{ kind: 'write', from: 2, count: 2, error: 'nospc' }, { kind: 'flush', from: 1, count: 1, error: 'io' }] });
  assert.deepEqual([0, 1, 2, 3].map((n) => ask('write', n * SECTOR).error), [0, ENOSPC, ENOSPC, 0]);
  assert.deepEqual([ask('flush').error, disk.disk.medium[0], ask('flush').error], [EIO, 0, 0]);
  assert.deepEqual([0, 1, 2, 3].map((n) => disk.disk.medium[n * SECTOR]), [5, 0, 0, 5]);
  assert.equal(disk.counters.errors, 3);
});

test('a stall holds everything back from its request on, and a release performs it in order', () => {
  const { disk, ask } = planned({ stall: { kind: 'flush', at: 2 } });
  assert.deepEqual([ask('write').error, ask('flush').error], [0, 0]);
  const held = [ask('flush'), ask('write', SECTOR), ask('read', SECTOR)];
  assert.deepEqual(held.map(({ error }) => error), [null, null, null]);
  assert.equal(disk.counters.stalled, 3);
  disk.release();
  assert.deepEqual(held.map(({ error }) => error), [0, 0, 0]);
  assert.deepEqual([ask('flush').error, disk.disk.medium[SECTOR]], [0, 5]);
});

test('a disk that fills up: blocks already written can be written again, one more cannot', () => {
  const { ask } = planned({ fullAfterBlocks: 2 });
  assert.deepEqual([ask('write', 0).error, ask('write', 4096).error, ask('write', 8192).error, ask('write', 512).error], [0, 0, ENOSPC, 0]);
});
