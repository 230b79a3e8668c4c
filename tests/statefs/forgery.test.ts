// SPDX-License-Identifier: Apache-2.0
// What a client may write is never a record: no sector begins with the magic but where a record begins, wherever key or value come to
// lie, and reads give back what was put. Beside it: nothing is appended before heads of an epoch that has not been, and a lost group of the
// largest size is seen.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { BAD, Engine, fresh, loadEngine, reboot, S, SECTOR } from './engine.js';
import { forge, records } from './image.js';

const abi = loadAbi();
const GROUP_SECTORS = limit(abi, 'statefs', 'group_bytes_max') / SECTOR;
const LOOKAHEAD_SECTORS = limit(abi, 'statefs', 'lookahead_sectors_max');
const MAGIC = 0x4e585346;
const MASK_AT = 31;
const HEAD = 32;

/** Sectors that begin with the magic and are no record's head. */
function imitations(data: Buffer): number[] {
  const heads = new Set(records(data).map(({ at }) => at));
  const last = records(data).at(-1)!;
  const found: number[] = [];
  for (let at = Math.min(...heads); at < last.at + last.bytes; at += SECTOR) {
    if (data.readUInt32LE(at) === MAGIC && !heads.has(at)) found.push(at / SECTOR);
  }
  return found;
}
/** Words all along, so that each boundary meets one when the key takes a multiple of 4: the magic with `variant` in its low byte. */
function imitating(bytes: number, variant: (sector: number) => number): Buffer {
  const value = Buffer.alloc(bytes, 0x20);
  for (let at = 0; at + 4 <= bytes; at += 4) value.writeUInt32LE((MAGIC ^ variant(Math.floor(at / SECTOR))) >>> 0, at);
  return value;
}

/** Compacts, and says where. */
function churn(engine: Engine): void {
  const before = engine.report().compactions;
  for (let i = 0; engine.report().compactions === before; i++) {
    assert.ok(i < 5000);
    assert.equal(engine.put('/churn', 'c'.repeat(400)), S.OK);
    assert.equal(engine.commit(), S.OK);
  }
}

for (const [what, variant] of [['the magic itself', () => 0], ['129 different words', (i: number) => i & 0xff]] as const) {
  test(`masks: values of ${what} at every boundary read back, before and after reboot and compaction`, async () => {
    const engine = await fresh(4096);
    const values = new Map([5, 600, 1500, 65_536].map((bytes) => [`/v${bytes}`.padEnd(8, '_'), imitating(bytes, variant)]));
    for (const [key, value] of values) assert.equal(engine.put(key, value), S.OK);
    const same = (one: Engine, when: string): void => {
      for (const [key, value] of values) assert.ok(value.equals(one.read(key) as Buffer), `${key} ${when}`);
    };
    same(engine, 'staged');
    assert.equal(engine.commit(), S.OK);
    assert.deepEqual(imitations(engine.disk.data), []);
    assert.ok(records(engine.disk.data).some(({ at }) => engine.disk.data[at + MASK_AT] !== 0), 'something was masked');
    same(engine, 'committed');
    for (let round = 0; round < 3; round++) {
      for (const [key, value] of values) assert.ok(value.subarray(4).equals(engine.read(key, 4) as Buffer), `${key}, a later piece`);
    }
    const next = (await reboot(engine)).engine;
    same(next, 'after a reboot');
    churn(next);
    assert.deepEqual(imitations(next.disk.data), []);
    same(next, 'after compaction');
    same((await reboot(next)).engine, 'after compaction and a reboot');
  });
}

test('masks: ordinary records have none', async () => {
  const engine = await fresh();
  engine.put('/plain', 'x'.repeat(3000));
  assert.equal(engine.commit(), S.OK);
  assert.equal(engine.disk.data[records(engine.disk.data)[0]!.at + MASK_AT], 0);
});

test('masks: a key that holds the magic across a boundary is found, listed and compacted', async () => {
  const engine = await fresh();
  const first = '/a';
  const key = '/state/kFSXN/more';
  engine.begin();
  engine.put(first, 'v'.repeat(SECTOR - 8 - 2 * HEAD - first.length));
  engine.put(key, 'value');
  engine.put('/z', 'z');
  assert.equal(engine.end(), S.OK);
  assert.equal(engine.commit(), S.OK);
  const at = records(engine.disk.data)[1]!.at;
  assert.deepEqual([at % SECTOR, imitations(engine.disk.data).length, engine.disk.data[at + MASK_AT] !== 0], [SECTOR - HEAD - 8, 0, true]);
  const next = (await reboot(engine)).engine;
  assert.deepEqual([next.get(key), next.list().keys], ['value', [first, key, '/z']]);
  churn(next);
  assert.deepEqual([next.get(key), next.list('/s').keys], ['value', [key]]);
});

test('a head of an epoch that has not been: compaction at open, not counted as lost', async () => {
  for (const [epoch, kind] of [[1, BAD.HOLE], [2, BAD.EPOCH], [3, BAD.EPOCH]] as const) {
    const engine = await fresh();
    engine.put('/a', 'a');
    assert.equal(engine.commit(), S.OK);
    const at = records(engine.disk.data)[0]!.at + 3 * SECTOR;
    const { engine: next } = await reboot(engine, ({ data }) => {
      forge(data, { at, sequence: 9n, epoch, op: 1, flags: 6, key: '/f', value: 'f' });
    });
    const report = next.report();
    assert.deepEqual([report.badKind, report.groupsBehind, report.compactions], [kind, epoch === 1 ? 1 : 0, 1n]);
    assert.deepEqual(next.list().keys, ['/a']);
    assert.equal((await reboot(next)).engine.report().badKind, BAD.NONE);
  }
});

/** A group of `sectors` sectors without the empty one, and a small one behind it. */
async function largeGroup(sectors: number): Promise<{ engine: Engine; at: number }> {
  const engine = await fresh(4096);
  let left = sectors * SECTOR;
  for (let i = 0; left > 0; i++) {
    const key = `/large${i}`;
    const bytes = Math.min(left, 60_000);
    assert.equal(engine.put(key, 'l'.repeat(bytes - HEAD - key.length)), S.OK);
    left -= Math.ceil(bytes / 8) * 8;
  }
  assert.equal(engine.staged(), sectors * SECTOR);
  assert.equal(engine.commit(), S.OK);
  const at = records(engine.disk.data)[0]!.at;
  engine.put('/behind', 'b');
  assert.equal(engine.commit(), S.OK);
  return { engine, at };
}

test('the largest group loses its first sector: the one behind it is seen, so it is no clean end', async () => {
  assert.ok(LOOKAHEAD_SECTORS > GROUP_SECTORS);
  for (const sectors of [GROUP_SECTORS - 1, GROUP_SECTORS - 2, 257, 256]) {
    const { engine, at } = await largeGroup(sectors);
    for (const [kind, change] of [
      [BAD.HOLE, (data: Buffer) => data.fill(0, at, at + SECTOR)], [BAD.CRC, (data: Buffer) => { data[at + 40]! ^= 1; }],
    ] as const) {
      const { engine: next } = await reboot(engine, ({ data }) => { change(data); });
      const report = next.report();
      assert.deepEqual([report.badKind, report.groupsBehind, report.recordsKept], [kind, 1, 0n], `${sectors} sectors`);
      assert.equal(report.badSector, at / SECTOR);
    }
  }
});

test('lookahead_sectors_max: a head at its last sector is seen, one further is not', async () => {
  const engine = new Engine(await loadEngine(), (await fresh(4096)).disk);
  assert.equal(engine.open(), S.OK);
  for (const [ahead, behind] of [[LOOKAHEAD_SECTORS, 1], [LOOKAHEAD_SECTORS + 1, 0]] as const) {
    engine.put('/a', 'a');
    assert.equal(engine.commit(), S.OK);
    const epoch = engine.report().epoch;
    const { engine: next } = await reboot(engine, ({ data }) => {
      const at = records(data).at(-1)!.at + SECTOR + ahead * SECTOR;
      forge(data, { at, sequence: 999n, epoch, op: 1, flags: 6, key: '/f', value: 'f' });
    });
    assert.equal(next.report().groupsBehind, behind);
  }
});
