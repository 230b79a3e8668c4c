// SPDX-License-Identifier: Apache-2.0
// Every row of the corruption table of docs/format/statefs.md about records: what is damaged, what the engine finds, what is kept. Beside the
// table: no record behind a bad one ever comes back, whatever is written, rebooted or compacted afterwards.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BAD, Engine, fresh, loadEngine, MemoryDisk, reboot, S, SECTOR } from './engine.js';
import { forge, records, sealRecord } from './image.js';

/** Five groups: a, b; c and d as one atomic commit; e alone, twice; f. */
async function sample(): Promise<Engine> {
  const engine = await fresh();
  for (const key of ['a', 'b']) {
    assert.equal(engine.put(`/state/${key}`, `value of ${key}`), S.OK);
    assert.equal(engine.commit(), S.OK);
  }
  engine.begin();
  engine.put('/state/c', 'C'.repeat(700));
  engine.put('/state/d', 'D');
  assert.equal(engine.end(), S.OK);
  assert.equal(engine.commit(), S.OK);
  engine.put('/state/e', 'old');
  engine.put('/state/e', 'new');
  assert.equal(engine.commit(), S.OK);
  engine.put('/state/f', 'last');
  assert.equal(engine.commit(), S.OK);
  return engine;
}
const ALL = ['/state/a', '/state/b', '/state/c', '/state/d', '/state/e', '/state/f'];

interface Damage {
  what: string;
  kind: string;
  /** index of the record that is hit: 0 a, 1 b, 2 c, 3 d, 4 e old, 5 e new, 6 f */
  record: number;
  /** keys that must be left, and records kept */
  keeps: string[];
  kept: number;
  dropped?: number;
  behind?: number;
  change: (data: Buffer, at: number, bytes: number) => void;
}
const set16 = (offset: number, value: number) => (data: Buffer, at: number, bytes: number): void => {
  data.writeUInt16LE(value, at + offset);
  sealRecord(data, at, bytes);
};
const set32 = (offset: number, value: number) => (data: Buffer, at: number, bytes: number): void => {
  data.writeUInt32LE(value, at + offset);
  sealRecord(data, at, bytes);
};
const addSequence = (by: bigint) => (data: Buffer, at: number, bytes: number): void => {
  data.writeBigUInt64LE(data.readBigUInt64LE(at + 8) + by, at + 8);
  sealRecord(data, at, bytes);
};
const AB = ALL.slice(0, 2);
const ABCD = ALL.slice(0, 4);
const DAMAGES: Damage[] = [
  { what: 'bad magic', kind: 'MAGIC', record: 1, keeps: ALL.slice(0, 1), kept: 1, behind: 3, change: (d, at) => { d[at]! ^= 1; } },
  { what: 'bad CRC', kind: 'CRC', record: 1, keeps: ALL.slice(0, 1), kept: 1, behind: 3, change: (d, at) => { d[at + 4]! ^= 0x80; } },
  { what: 'first record', kind: 'CRC', record: 0, keeps: [], kept: 0, behind: 4, change: (d, at) => { d[at + 40]! ^= 1; } },
  { what: 'last record', kind: 'CRC', record: 6, keeps: ALL.slice(0, 5), kept: 6, change: (d, at) => { d[at + 33]! ^= 4; } },
  { what: 'key length 0', kind: 'LENGTH', record: 4, keeps: ABCD, kept: 4, behind: 1, change: set16(26, 0) },
  { what: 'key length max', kind: 'LENGTH', record: 4, keeps: ABCD, kept: 4, behind: 1, change: set16(26, 0xffff) },
  { what: 'value length max', kind: 'LENGTH', record: 4, keeps: ABCD, kept: 4, behind: 1, change: set32(28, 0xffffffff) },
  { what: 'value length one over', kind: 'LENGTH', record: 4, keeps: ABCD, kept: 4, behind: 1, change: set32(28, 65_537) },
  { what: 'value length at its limit, body wrong', kind: 'CRC', record: 4, keeps: ABCD, kept: 4, behind: 1, change: (d, at) => { d.writeUInt32LE(65_536, at + 28); } },
  { what: 'unknown operation', kind: 'LENGTH', record: 4, keeps: ABCD, kept: 4, behind: 1, change: (d, at, n) => { d[at + 24] = 3; sealRecord(d, at, n); } },
  { what: 'a deletion with a value', kind: 'LENGTH', record: 4, keeps: ABCD, kept: 4, behind: 1, change: (d, at, n) => { d[at + 24] = 2; sealRecord(d, at, n); } },
  { what: 'unknown flag', kind: 'GROUP', record: 4, keeps: ABCD, kept: 4, behind: 1, change: (d, at, n) => { d[at + 25]! |= 8; sealRecord(d, at, n); } },
  { what: 'a group without its first', kind: 'GROUP', record: 4, keeps: ABCD, kept: 4, behind: 1, change: (d, at, n) => { d[at + 25] = 0; sealRecord(d, at, n); } },
  { what: 'a second first in a group', kind: 'GROUP', record: 5, keeps: ALL.slice(0, 5), kept: 5, behind: 1, change: (d, at, n) => { d[at + 25] = 6; sealRecord(d, at, n); } },
  { what: 'duplicate sequence', kind: 'SEQUENCE', record: 5, keeps: ALL.slice(0, 5), kept: 5, behind: 1, change: addSequence(-1n) },
  { what: 'gap in the sequence', kind: 'SEQUENCE', record: 5, keeps: ALL.slice(0, 5), kept: 5, behind: 1, change: addSequence(1n) },
  { what: 'an earlier epoch', kind: 'EPOCH', record: 5, keeps: ALL.slice(0, 5), kept: 5, behind: 1, change: set32(16, 0) },
  { what: 'a later epoch', kind: 'EPOCH', record: 5, keeps: ALL.slice(0, 5), kept: 5, behind: 1, change: set32(16, 2) },
  { what: 'another place', kind: 'PLACE', record: 5, keeps: ALL.slice(0, 5), kept: 5, behind: 1, change: set32(20, 77) },
  { what: 'end of an atomic commit missing', kind: 'CRC', record: 3, keeps: AB, kept: 2, dropped: 1, behind: 2, change: (d, at) => { d[at + 32]! ^= 1; } },
  { what: 'middle of a group', kind: 'CRC', record: 5, keeps: ALL.slice(0, 5), kept: 5, behind: 1, change: (d, at) => { d[at + 32]! ^= 1; } },
  { what: 'a lost sector: all zero', kind: 'HOLE', record: 1, keeps: ALL.slice(0, 1), kept: 1, behind: 3, change: (d, at) => { d.fill(0, at, at + SECTOR); } },
];

for (const damage of DAMAGES) {
  test(`corruption: ${damage.what}`, async () => {
    const engine = await sample();
    const hit = records(engine.disk.data)[damage.record]!;
    const { engine: next, status } = await reboot(engine, ({ data }) => damage.change(data, hit.at, hit.bytes));
    assert.equal(status, S.OK);
    const report = next.report();
    assert.equal(report.badKind, BAD[damage.kind], `kind ${report.badKind}`);
    assert.deepEqual([report.badSector, report.badByte], [Math.floor(hit.at / SECTOR), hit.at % SECTOR]);
    assert.equal(report.recordsKept, BigInt(damage.kept));
    assert.equal(report.recordsDropped, BigInt(damage.dropped ?? 0));
    assert.equal(report.groupsBehind, damage.behind ?? 0);
    assert.ok(report.bytesDropped >= BigInt(hit.bytes));
    assert.deepEqual(next.list().keys, damage.keeps);
    if (damage.keeps.includes('/state/e')) assert.equal(next.get('/state/e'), damage.record === 5 ? 'old' : 'new');
    await neverComesBack(next, damage.keeps);
  });
}

/** Writes on, reboots at each step, compacts: only what was kept and what is new may ever be there. */
async function neverComesBack(start: Engine, keeps: string[]): Promise<void> {
  let engine = start;
  const wanted = new Set(keeps);
  for (let round = 0; round < 4; round++) {
    for (const again of [false, true]) {
      const next = await reboot(engine);
      assert.equal(next.status, S.OK);
      assert.equal(next.engine.report().badKind, BAD.NONE, 'the open before repaired the end');
      assert.deepEqual(next.engine.list().keys, [...wanted].sort(), `round ${round}, reboot ${again}`);
      engine = next.engine;
    }
    engine.put(`/state/n${round}`, 'n'.repeat(round === 2 ? 60_000 : 10));
    wanted.add(`/state/n${round}`);
    assert.equal(engine.commit(), S.OK);
  }
}

test('corruption: each byte of a record, each of three bits: never taken, never half taken', async () => {
  const engine = await sample();
  const compiled = await loadEngine();
  for (const index of [1, 3, 6]) {
    const hit = records(engine.disk.data)[index]!;
    for (let byte = 0; byte < hit.bytes; byte++) {
      for (const bit of [0, 3, 7]) {
        const disk = engine.disk.copy();
        disk.data[hit.at + byte]! ^= 1 << bit;
        const next = new Engine(compiled, disk);
        assert.equal(next.open(true), S.OK);
        const report = next.report();
        assert.notEqual(report.badKind, BAD.NONE, `record ${index} byte ${byte} bit ${bit}`);
        assert.deepEqual([report.badSector, report.badByte], [Math.floor(hit.at / SECTOR), hit.at % SECTOR]);
        const commitStart = index === 3 ? 2 : index;
        assert.equal(report.recordsKept, BigInt(commitStart));
      }
    }
  }
});

test('corruption: a group cut off at each sector is dropped from the first record that is not whole', async () => {
  const engine = await fresh();
  for (let i = 0; i < 40; i++) engine.put(`/state/${String(i).padStart(2, '0')}`, 'x'.repeat(100));
  assert.equal(engine.commit(), S.OK);
  const list = records(engine.disk.data);
  const first = list[0]!.at;
  for (let sectors = 0; sectors * SECTOR < list.at(-1)!.at + list.at(-1)!.bytes - first; sectors++) {
    const { engine: next } = await reboot(engine, ({ data }) => data.fill(0, first + sectors * SECTOR, first + 64 * SECTOR));
    const whole = list.filter(({ at, bytes }) => at + bytes <= first + sectors * SECTOR).length;
    assert.equal(next.report().recordsKept, BigInt(whole));
    assert.equal(next.list().keys.length, whole);
    await neverComesBack(next, next.list().keys);
  }
});

test('corruption: a valid record that lies elsewhere (misdirected write) ends the journal there', async () => {
  const engine = await sample();
  const [, b, c] = records(engine.disk.data);
  const { engine: next } = await reboot(engine, ({ data }) => data.copyWithin(c!.at, b!.at, b!.at + SECTOR));
  assert.equal(next.report().badKind, BAD.PLACE);
  assert.deepEqual(next.list().keys, AB);
});

test('corruption: a whole journal of an earlier life behind the end is not taken, even when its numbers go on', async () => {
  const engine = await sample();
  const list = records(engine.disk.data);
  const last = list.at(-1)!;
  // Exactly the next record, at the right place, with the right sequence, but from an epoch before the mount.
  const next = await reboot(engine);
  const at = Math.ceil((last.at + last.bytes) / SECTOR) * SECTOR;
  const { engine: after } = await reboot(next.engine, ({ data }) => {
    forge(data, { at, sequence: last.sequence + 1n, epoch: 1, op: 1, flags: 6, key: '/state/z', value: 'old life' });
  });
  assert.equal(after.report().badKind, BAD.EPOCH);
  assert.deepEqual(after.list().keys, ALL);
  // The same record of this epoch is the next one: what made the difference is the epoch alone.
  const { engine: taken } = await reboot(next.engine, ({ data }) => {
    forge(data, { at, sequence: last.sequence + 1n, epoch: 2, op: 1, flags: 6, key: '/state/z', value: 'new' });
  });
  assert.deepEqual(taken.list().keys, [...ALL, '/state/z']);
});

test('corruption: bit rot is found by every read, and compaction keeps the key as lost, not as another value', async () => {
  const engine = await sample();
  const hit = records(engine.disk.data)[1]!;
  assert.equal(engine.get('/state/b'), 'value of b');
  engine.disk.data[hit.at + 33]! ^= 1;
  assert.equal(engine.get('/state/b'), S.INTEGRITY);
  assert.equal(engine.get('/state/a'), 'value of a');
  for (let i = 0; engine.report().compactions === 0n; i++) {
    assert.ok(i < 5000);
    engine.put('/state/churn', 'c'.repeat(400));
    assert.equal(engine.commit(), S.OK);
  }
  assert.equal(engine.get('/state/b'), S.INTEGRITY);
  assert.equal(engine.find('/state/b'), S.INTEGRITY);
  assert.equal(engine.report().lostKeys, 1);
  const { engine: next } = await reboot(engine);
  assert.equal(next.get('/state/b'), S.INTEGRITY);
  assert.equal(next.report().lostKeys, 1);
  assert.equal(next.list('/state/b').lengths[0], 0xffffffff);
  assert.equal(next.put('/state/b', 'again'), S.OK);
  assert.equal(next.commit(), S.OK);
  assert.equal(next.get('/state/b'), 'again');
  assert.equal(next.report().lostKeys, 0);
});

test('corruption: a read error is no damage: the open fails and nothing is written', async () => {
  const engine = await sample();
  const disk = engine.disk.copy();
  disk.failReads = true;
  const next = new Engine(await loadEngine(), disk);
  assert.equal(next.open(), S.IO);
  assert.equal(disk.operations, 0);
  assert.equal(next.put('k', 'v'), S.CLOSED);
  disk.failReads = false;
  assert.equal(next.open(), S.OK);
  assert.deepEqual(next.list().keys, ALL);
});

test('corruption: a disk of random bytes is foreign and never written', async () => {
  const disk = new MemoryDisk(256);
  for (let i = 0; i < disk.data.length; i++) disk.data[i] = (i * 2654435761) >>> 24;
  const before = Buffer.from(disk.data);
  const engine = new Engine(await loadEngine(), disk);
  assert.equal(engine.open(), S.FOREIGN);
  assert.equal(engine.open(true), S.FOREIGN);
  assert.ok(disk.data.equals(before) && disk.operations === 0);
});
