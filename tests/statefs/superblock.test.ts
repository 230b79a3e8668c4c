// SPDX-License-Identifier: Apache-2.0
// The rows of the corruption table of docs/format/statefs.md about superblocks and whole disks: torn, both bad, newer, foreign, blank, shrunk,
// too small, an interrupted format. Nothing that is refused is ever written.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BAD, Engine, fresh, loadEngine, MemoryDisk, PowerCut, reboot, S, SECTOR } from './engine.js';
import { crc32c, readSuper, records, REGION_FIRST, sealSuper, SUPER_SECTORS } from './image.js';

async function opened(disk: MemoryDisk, readOnly = false): Promise<{ engine: Engine; status: number }> {
  const engine = new Engine(await loadEngine(), disk);
  return { engine, status: engine.open(readOnly) };
}
async function refused(disk: MemoryDisk, status: number): Promise<void> {
  const before = Buffer.from(disk.data);
  for (const readOnly of [false, true]) assert.equal((await opened(disk, readOnly)).status, status);
  assert.equal(disk.operations, 0);
  assert.ok(disk.data.equals(before));
}
async function stored(): Promise<Engine> {
  const engine = await fresh();
  for (let i = 0; i < 5; i++) {
    assert.equal(engine.put(`/state/k${i}`, `v${i}`), S.OK);
    assert.equal(engine.commit(), S.OK);
  }
  return engine;
}
const KEYS = [0, 1, 2, 3, 4].map((i) => `/state/k${i}`);

test('superblock: a blank disk is formatted; both slots hold the same; a blank one read only says so', async () => {
  const disk = new MemoryDisk(2048);
  const { engine, status } = await opened(disk, true);
  assert.equal(status, S.BLANK);
  assert.equal(disk.operations, 0);
  assert.equal(engine.open(), S.OK);
  assert.ok(disk.data.subarray(0, SECTOR).equals(disk.data.subarray(8 * SECTOR, 9 * SECTOR)));
  assert.deepEqual(readSuper(disk.data, 0), {
    epoch: 1, baseEpoch: 1, baseSequence: 1n, mountSequence: 1n, diskSectors: 2048, regionSectors: 1016, active: 0,
  });
  assert.equal(disk.data.toString('latin1', 0, 8), 'VIGILST1');
});

test('superblock: every open for writing raises the epoch in both slots before anything else; reading does not', async () => {
  const engine = await stored();
  const { engine: next } = await reboot(engine);
  assert.deepEqual([readSuper(next.disk.data, 0).epoch, readSuper(next.disk.data, 1).epoch], [2, 2]);
  assert.equal(readSuper(next.disk.data, 0).mountSequence, 6n);
  const disk = next.disk.copy();
  await opened(disk, true);
  assert.equal(disk.operations, 0);
});

test('superblock: one torn slot, at every cut and with either tail, leaves the other', async () => {
  const engine = await stored();
  for (const slot of [0, 1] as const) {
    for (let cut = 0; cut <= SECTOR; cut += 4) {
      const { engine: next, status } = await reboot(engine, ({ data }) => {
        const at = SUPER_SECTORS[slot] * SECTOR;
        data.fill(cut % 8 === 0 ? 0 : 0x5a, at, at + cut);
      });
      assert.equal(status, S.OK);
      assert.deepEqual(next.list().keys, KEYS);
      assert.equal(next.report().superblocks, cut === 0 ? 2 : 1);
      // repaired by the mount
      assert.equal(readSuper(next.disk.data, slot).epoch, 2);
    }
  }
});

test('superblock: each byte of a slot: the flip is seen and the other slot serves', async () => {
  const engine = await stored();
  const compiled = await loadEngine();
  for (let byte = 0; byte < SECTOR; byte++) {
    const disk = engine.disk.copy();
    disk.data[byte]! ^= 1 << (byte % 8);
    const next = new Engine(compiled, disk);
    assert.equal(next.open(true), S.OK);
    assert.equal(next.report().superblocks, 1, `byte ${byte}`);
    assert.equal(next.report().liveKeys, 5);
  }
});

test('superblock: both bad is foreign and never written', async () => {
  const engine = await stored();
  const disk = engine.disk.copy();
  disk.data[20]! ^= 1;
  disk.data[8 * SECTOR + 20]! ^= 1;
  await refused(disk, S.FOREIGN!);
});

test('superblock: fields that cannot be true are not believed, CRC or not', async () => {
  const engine = await stored();
  const changes: [string, (data: Buffer, at: number) => void][] = [
    ['epoch 0', (d, at) => d.writeUInt32LE(0, at + 16)],
    ['base epoch above epoch', (d, at) => d.writeUInt32LE(9, at + 20)],
    ['base sequence 0', (d, at) => d.writeBigUInt64LE(0n, at + 24)],
    ['base sequence above mount sequence', (d, at) => d.writeBigUInt64LE(99n, at + 24)],
    ['region size', (d, at) => d.writeUInt32LE(1024, at + 44)],
    ['third region', (d, at) => d.writeUInt32LE(2, at + 48)],
    ['version 0', (d, at) => d.writeUInt32LE(0, at + 8)],
    ['magic', (d, at) => { d[at] = 0; }],
  ];
  for (const [what, change] of changes) {
    const disk = engine.disk.copy();
    for (const slot of [0, 1] as const) {
      change(disk.data, SUPER_SECTORS[slot] * SECTOR);
      sealSuper(disk.data, slot);
    }
    await assert.doesNotReject(refused(disk, S.FOREIGN!), what);
  }
});

test('superblock: a later version in either slot is named and never written', async () => {
  const engine = await stored();
  for (const slot of [0, 1] as const) {
    const disk = engine.disk.copy();
    disk.data.writeUInt32LE(2, SUPER_SECTORS[slot] * SECTOR + 8);
    sealSuper(disk.data, slot);
    await refused(disk, S.NEWER!);
  }
});

test('disk: foreign bytes in a slot, beside a slot, or at the start of a region of a disk without superblock', async () => {
  for (const at of [0, 300, SECTOR, 8 * SECTOR - 1, 8 * SECTOR, 9 * SECTOR + 5, REGION_FIRST * SECTOR, (REGION_FIRST + 1016) * SECTOR + 511]) {
    const disk = new MemoryDisk(2048);
    disk.data[at] = 0xee;
    await refused(disk, S.FOREIGN!);
  }
});

test('disk: superblocks wiped to zero do not make a blank disk of one with a journal', async () => {
  const disk = (await stored()).disk.copy();
  disk.data.fill(0, 0, 16 * SECTOR);
  await refused(disk, S.FOREIGN!);
});

test('disk: smaller than its superblock says; larger is used as it was', async () => {
  const engine = await stored();
  await refused(new MemoryDisk(2047, Buffer.from(engine.disk.data.subarray(0, 2047 * SECTOR))), S.SHRUNK!);
  const larger = new MemoryDisk(4096);
  engine.disk.data.copy(larger.data);
  const { engine: next, status } = await opened(larger);
  assert.equal(status, S.OK);
  assert.deepEqual(next.list().keys, KEYS);
  assert.equal(next.report().regionSectors, 1016);
});

test('disk: the smallest that holds a store, and one sector less', async () => {
  await refused(new MemoryDisk(79), S.TOO_SMALL!);
  const { engine, status } = await opened(new MemoryDisk(80));
  assert.equal(status, S.OK);
  assert.equal(engine.report().regionSectors, 32);
  assert.equal(engine.put('k', 'v'), S.OK);
  assert.equal(engine.commit(), S.OK);
});

test('format: cut at each operation, and torn at each byte of each slot, is formatted again', async () => {
  const compiled = await loadEngine();
  const whole = new MemoryDisk(256);
  assert.equal(new Engine(compiled, whole).open(), S.OK);
  for (let cut = 0; cut < 4; cut++) {
    const disk = new MemoryDisk(256);
    disk.cutAt = cut;
    assert.throws(() => new Engine(compiled, disk).open(), PowerCut);
    for (const survives of [false, true]) {
      const after = survives ? disk.copy() : new MemoryDisk(256, Buffer.from(disk.data));
      assert.equal(new Engine(compiled, after).open(), S.OK, `cut ${cut}`);
    }
  }
  for (let torn = 0; torn < SECTOR; torn++) {
    const disk = new MemoryDisk(256);
    whole.data.copy(disk.data, 0, 0, torn); // the first bytes of the first slot
    const engine = new Engine(compiled, disk);
    assert.equal(engine.open(), S.OK, `torn at ${torn}`);
    assert.equal(engine.report().liveKeys, 0);
    const tail = new MemoryDisk(256);
    whole.data.copy(tail.data, torn, torn, SECTOR); // its last bytes
    assert.equal(new Engine(compiled, tail).open(), S.OK, `torn before ${torn}`);
  }
});

test('the CRC of a superblock is that of its other 508 bytes', async () => {
  const { disk } = await stored();
  const bytes = Buffer.concat([disk.data.subarray(0, 12), disk.data.subarray(16, SECTOR)]);
  assert.equal(disk.data.readUInt32LE(12), crc32c(bytes));
  assert.equal(records(disk.data).length, 5);
  assert.equal(BAD.NONE, 0);
});
