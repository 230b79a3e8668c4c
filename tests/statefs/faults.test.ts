// SPDX-License-Identifier: Apache-2.0
// The deliberate bugs of assembly/lib/statefs/faults.ts: all off in the tree, and each of those that a plain power cut does not show (crash.test.ts
// has the others) is seen by the scene that its check exists for. The same scene passes on the engine that ships.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { ROOT } from '../../scripts/lib/paths.js';
import type { Random } from '../random.js';
import { Engine, FAULTS, loadEngine, loadFaulty, MemoryDisk, S, SECTOR } from './engine.js';
import { forge, records } from './image.js';
import { FORGED_KEY, forgedValue } from './sim/forge.js';

const LOOKAHEAD_SECTORS = limit(loadAbi(), 'statefs', 'lookahead_sectors_max');

/** In the tree: name -> its file has one line each, and all are false. */
const SHOWN_HERE = ['NO_EPOCH_BUMP', 'NO_CRC_CHECK', 'NO_SEQUENCE_CHECK', 'REWRITES_SECTOR', 'TRUSTS_VALUES'];
const SHOWN_BY_POWER_CUTS = ['KEEPS_HALF_COMMIT', 'NO_FLUSH', 'COMPACTION_UNFLUSHED'];

test('every fault is off, and shown by some test', () => {
  const source = readFileSync(join(ROOT, FAULTS), 'utf8');
  const all = [...source.matchAll(/export const FAULT_(\w+): bool = (\w+);/g)];
  assert.deepEqual(all.map(([, , value]) => value), all.map(() => 'false'));
  assert.deepEqual(all.map(([, name]) => name).sort(), [...SHOWN_HERE, ...SHOWN_BY_POWER_CUTS].sort());
});

type Scene = (compiled: WebAssembly.Module) => string | undefined;
const groups = (engine: Engine, keys: string[]): void => {
  for (const key of keys) {
    assert.equal(engine.put(key, `value of ${key}`), S.OK);
    assert.equal(engine.commit(), S.OK);
  }
};
function opened(compiled: WebAssembly.Module, disk: MemoryDisk): Engine {
  const engine = new Engine(compiled, disk);
  assert.equal(engine.open(), S.OK);
  return engine;
}

/** What goes wrong, or undefined. */
const SCENES: Record<string, Scene> = {
  // A run of groups is lost, longer than recovery looks ahead, and others of the same size are written in its place. Of the last write the
  // empty sector behind it is lost: an old group lies there, and fits in all but its epoch.
  NO_EPOCH_BUMP: (compiled) => {
    const disk = new MemoryDisk(4096);
    const keys = Array.from({ length: LOOKAHEAD_SECTORS + 8 }, (_, i) => `/k${String(i).padStart(4, '0')}`);
    groups(opened(compiled, disk), [...keys, '/old']);
    const list = records(disk.data);
    disk.data.fill(0, list[0]!.at, list.at(-1)!.at);
    const second = opened(compiled, disk);
    assert.deepEqual([second.list().keys, second.report().badKind], [[], 0]);
    const kept = Buffer.from(disk.data.subarray(list.at(-1)!.at, list.at(-1)!.at + SECTOR));
    groups(second, keys);
    disk.data.set(kept, list.at(-1)!.at);
    return opened(compiled, disk).list().keys.includes('/old') ? '/old came back' : undefined;
  },
  // The power fails twice: of a value that holds a record of the mount after it, the first sector is lost; then, of the group that was
  // written in its place, the empty sector behind it.
  TRUSTS_VALUES: (compiled) => {
    const disk = new MemoryDisk(256);
    const first = opened(compiled, disk);
    groups(first, ['/a']);
    const at = records(disk.data)[0]!.at + SECTOR;
    const random = { below: () => 0 } as unknown as Random;
    assert.equal(first.put('/v', forgedValue(1500, '/v'.length, at / SECTOR, 2, 1, 'next epoch', random)), S.OK);
    assert.equal(first.commit(), S.OK);
    disk.data.fill(0, at, at + SECTOR);
    const kept = Buffer.from(disk.data.subarray(at + SECTOR, at + 2 * SECTOR));
    groups(opened(compiled, disk), ['/b']);
    disk.data.set(kept, at + SECTOR);
    return opened(compiled, disk).list().keys.includes(FORGED_KEY) ? 'a value became a key' : undefined;
  },
  NO_CRC_CHECK: (compiled) => {
    const disk = new MemoryDisk(256);
    groups(opened(compiled, disk), ['/a']);
    const [a] = records(disk.data);
    disk.data[a!.at + 36]! ^= 1;
    const value = opened(compiled, disk).get('/a');
    return typeof value === 'string' && value !== 'value of /a' ? `read ${value}` : undefined;
  },
  NO_SEQUENCE_CHECK: (compiled) => {
    const disk = new MemoryDisk(256);
    groups(opened(compiled, disk), ['/a', '/b', '/c']);
    const [, b] = records(disk.data);
    forge(disk.data, { ...b!, place: b!.place, sequence: b!.sequence + 5n, key: '/x' });
    return opened(compiled, disk).find('/x') >= 0 ? 'a record was taken across a gap' : undefined;
  },
  // A sector that is being written when the power fails may hold anything afterwards.
  REWRITES_SECTOR: (compiled) => {
    const disk = new MemoryDisk(256);
    const engine = opened(compiled, disk);
    groups(engine, ['/a', '/b']);
    disk.flush = () => -1;
    engine.put('/c', 'lost');
    assert.equal(engine.commit(), S.IO);
    const after = new MemoryDisk(256, Buffer.from(disk.data));
    for (const sector of disk.cache.keys()) after.data.fill(0xa5, sector * SECTOR, (sector + 1) * SECTOR);
    const keys = opened(compiled, after).list().keys;
    return keys.includes('/b') ? undefined : `only ${keys.join()} is left`;
  },
};

for (const fault of SHOWN_HERE) {
  test(`fault ${fault}: its scene goes wrong with it and not without`, async () => {
    assert.equal(SCENES[fault]!(await loadEngine()), undefined);
    assert.notEqual(SCENES[fault]!(await loadFaulty(fault)), undefined);
  });
}
