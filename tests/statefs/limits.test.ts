// SPDX-License-Identifier: Apache-2.0
// Every limit of the engine at its edge and one past it: keys, values, groups, commits, the index, a full disk; and that what is refused changes
// nothing, not even on the disk.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { Engine, fresh, loadEngine, MemoryDisk, reboot, S, SECTOR } from './engine.js';
import { records } from './image.js';

const abi = loadAbi();
const KEYS_MAX = limit(abi, 'statefs', 'keys_max');
const KEY_BYTES_MAX = limit(abi, 'statefs', 'key_bytes_max');
const VALUE_BYTES_MAX = limit(abi, 'statefs', 'value_bytes_max');
const KEYS_BYTES_MAX = limit(abi, 'statefs', 'keys_bytes_max');
const GROUP_BYTES_MAX = limit(abi, 'statefs', 'group_bytes_max');
const READ_SECTORS_MAX = limit(abi, 'statefs', 'read_sectors_max');
const REGION_SECTORS_MIN = limit(abi, 'statefs', 'region_sectors_min');
const REGION_SECTORS_MAX = limit(abi, 'statefs', 'region_sectors_max');
const SLACK_BYTES = limit(abi, 'statefs', 'compact_slack_bytes');

test('keys: empty, one byte, the longest, one more', async () => {
  const engine = await fresh();
  assert.equal(engine.put('', 'v'), S.INVALID_KEY);
  assert.equal(engine.del(''), S.INVALID_KEY);
  const long = 'k'.repeat(KEY_BYTES_MAX);
  for (const key of ['k', long]) assert.equal(engine.put(key, 'v'), S.OK);
  assert.equal(engine.put(`${long}k`, 'v'), S.KEY_TOO_LONG);
  assert.equal(engine.del(`${long}k`), S.KEY_TOO_LONG);
  assert.equal(engine.find(`${long}k`), S.NOT_FOUND);
  assert.equal(engine.commit(), S.OK);
  const { engine: next } = await reboot(engine);
  assert.deepEqual(next.list().keys, ['k', long]);
  assert.equal(next.get(long), 'v');
});

test('values: empty, the longest, one more; read whole and in pieces', async () => {
  const engine = await fresh();
  const long = Buffer.from(Array.from({ length: VALUE_BYTES_MAX }, (_, i) => (i * 7) & 0xff));
  assert.equal(engine.put('/empty', ''), S.OK);
  assert.equal(engine.put('/long', long), S.OK);
  assert.equal(engine.putLengths(5, VALUE_BYTES_MAX + 1), S.VALUE_TOO_LARGE);
  for (const staged of [true, false]) {
    if (!staged) assert.equal(engine.commit(), S.OK);
    assert.equal(engine.get('/empty'), '');
    assert.deepEqual(engine.read('/long'), long);
    for (const [offset, cap] of [[0, 8000], [8000, 8000], [65_530, 100], [65_536, 5], [70_000, 5], [0, 0]] as const) {
      assert.deepEqual(engine.read('/long', offset, cap), long.subarray(offset, offset + cap), `${offset} ${cap}`);
    }
  }
  const { engine: next } = await reboot(engine);
  assert.deepEqual(next.read('/long'), long);
  assert.equal(next.find('/empty'), 0);
  assert.ok(VALUE_BYTES_MAX + KEY_BYTES_MAX + 32 + 2 * SECTOR <= READ_SECTORS_MAX * SECTOR, 'the largest record fits into the read buffer');
});

test('group: full, then a commit makes room; a commit of several keys that never fits is refused whole', async () => {
  const engine = await fresh(8192);
  const value = 'v'.repeat(10_000);
  let staged = 0;
  let status = S.OK!;
  while ((status = engine.put(`/k${staged}`, value)) === S.OK) staged++;
  assert.equal(status, S.GROUP_FULL);
  assert.ok(engine.staged() > GROUP_BYTES_MAX - 2 * 10_100 && engine.staged() <= GROUP_BYTES_MAX - SECTOR);
  assert.equal(engine.find(`/k${staged}`), S.NOT_FOUND);
  engine.begin();
  engine.put('/t', value);
  assert.equal(engine.end(), S.GROUP_FULL, 'fits alone, but not behind what is staged');
  assert.equal(engine.commit(), S.OK);
  assert.equal(engine.put(`/k${staged}`, value), S.OK);
  assert.equal(engine.commit(), S.OK);
  engine.begin();
  for (let i = 0; i < 27; i++) engine.put(`/t${i}`, value);
  assert.equal(engine.end(), S.TXN_LIMIT);
  assert.equal(engine.staged(), 0);
  assert.equal(engine.list('/t').keys.length, 0);
  engine.begin();
  for (let i = 0; i < 26; i++) assert.equal(engine.put(`/t${i}`, value), S.OK);
  assert.equal(engine.end(), S.OK);
  assert.equal(engine.commit(), S.OK);
  const { engine: next } = await reboot(engine);
  assert.equal(next.list('/t').keys.length, 26);
  assert.equal(next.list('/k').keys.length, staged + 1);
});

test('atomic commit: visible and durable whole, aborted without a trace, refused whole by any of its puts', async () => {
  const engine = await fresh();
  engine.put('/a', 'old');
  assert.equal(engine.commit(), S.OK);
  const before = engine.report();
  assert.equal(engine.begin(), S.OK);
  assert.equal(engine.begin(), S.BAD_CALL);
  engine.put('/a', 'new');
  engine.put('/b', 'new');
  assert.equal(engine.del('/c'), S.OK, 'a deletion of nothing');
  assert.equal(engine.commit(), S.BAD_CALL);
  assert.equal(engine.get('/a'), 'old', 'invisible until the end');
  engine.abort();
  assert.deepEqual([engine.staged(), engine.report().sequence, engine.get('/a'), engine.find('/b')], [0, before.sequence, 'old', S.NOT_FOUND]);
  assert.equal(engine.end(), S.BAD_CALL);
  for (const [bad, status] of [[() => engine.put('', 'x'), S.INVALID_KEY], [() => engine.putLengths(3, VALUE_BYTES_MAX + 1), S.VALUE_TOO_LARGE],
    [() => engine.del('d'.repeat(KEY_BYTES_MAX + 1)), S.KEY_TOO_LONG]] as const) {
    engine.begin();
    engine.put('/a', 'new');
    assert.equal(bad(), status);
    engine.put('/b', 'new');
    assert.equal(engine.end(), status);
    assert.deepEqual([engine.staged(), engine.get('/a'), engine.find('/b')], [0, 'old', S.NOT_FOUND]);
  }
  engine.begin();
  engine.put('/b', 'new');
  engine.del('/a');
  engine.put('/b', 'newer');
  assert.equal(engine.end(), S.OK);
  assert.deepEqual([engine.find('/a'), engine.get('/b')], [S.NOT_FOUND, 'newer']);
  assert.equal(engine.commit(), S.OK);
  assert.equal(engine.begin(), S.OK);
  assert.equal(engine.end(), S.OK, 'nothing in it');
  const { engine: next } = await reboot(engine);
  assert.deepEqual(next.list().keys, ['/b']);
  assert.deepEqual(records(next.disk.data).map(({ flags }) => flags & 1), [0, 1, 1, 0], 'MORE on all but the last');
});

test('index: keys_max keys, one more refused, overwriting and deleting go on, and all of it is recovered', async () => {
  const engine = await fresh(32_768);
  const put = (i: number, value = ''): number => {
    const key = `/${i.toString(36)}`;
    let status = engine.put(key, value);
    if (status === S.GROUP_FULL) {
      assert.equal(engine.commit(), S.OK);
      status = engine.put(key, value);
    }
    return status;
  };
  for (let i = 0; i < KEYS_MAX; i++) assert.equal(put((i * 7919) % KEYS_MAX), S.OK);
  assert.equal(put(KEYS_MAX), S.KEYS_LIMIT);
  engine.begin();
  engine.put('/other', 'x');
  assert.equal(engine.end(), S.KEYS_LIMIT);
  for (let i = 0; i < KEYS_MAX; i += 5) assert.equal(put(i, 'again'), S.OK);
  assert.equal(engine.commit(), S.OK);
  assert.equal(engine.report().liveKeys, KEYS_MAX);
  const { engine: next, status } = await reboot(engine);
  assert.equal(status, S.OK);
  assert.equal(next.report().liveKeys, KEYS_MAX);
  assert.equal(next.put('/other', 'x'), S.KEYS_LIMIT);
  assert.equal(next.del('/0'), S.OK);
  assert.equal(next.put('/other', 'x'), S.OK);
  assert.equal(next.commit(), S.OK);
  const sorted = next.list('', '', 250_000).keys;
  assert.deepEqual(sorted, [...sorted].sort());
});

test('index: keys_bytes_max of long keys, freed and taken again without end', async () => {
  const engine = await fresh(32_768);
  const per = 3 + KEY_BYTES_MAX;
  const key = (i: number): string => String(i).padStart(8, '0').padEnd(KEY_BYTES_MAX, 'x');
  const put = (i: number): number => {
    let status = engine.put(key(i), '');
    if (status === S.GROUP_FULL) {
      engine.commit();
      status = engine.put(key(i), '');
    }
    return status;
  };
  const fits = Math.floor(KEYS_BYTES_MAX / per);
  for (let i = 0; i < fits; i++) assert.equal(put(i), S.OK, `key ${i}`);
  assert.equal(put(fits), S.KEYS_LIMIT);
  assert.equal(put(0), S.OK, 'a known key');
  for (let i = 0; i < 2 * fits; i++) {
    while (engine.del(key(i)) === S.GROUP_FULL) engine.commit();
    assert.equal(put(i + fits), S.OK, `key ${i + fits}`);
  }
  assert.equal(engine.commit(), S.OK);
  const keys = engine.list('', '', 250_000, 900).keys;
  assert.deepEqual(keys, Array.from({ length: 900 }, (_, i) => key(2 * fits + i)));
});

test('full disk: refused before anything changes; deletions go on and make room; nothing is lost', async () => {
  const engine = await fresh(256);
  const capacity = engine.report().capacityBytes;
  const wanted = new Map<string, string>();
  let i = 0;
  let status = S.OK!;
  for (; (status = engine.put(`/k${i}`, 'v'.repeat(900))) === S.OK; i++) {
    wanted.set(`/k${i}`, 'v'.repeat(900));
    assert.equal(engine.commit(), S.OK);
  }
  assert.equal(status, S.NO_SPACE);
  assert.equal(engine.staged(), 0);
  const { liveBytes } = engine.report();
  assert.ok(liveBytes <= capacity && liveBytes > capacity - 1000);
  const bytes = engine.report().liveBytes / i;
  for (let round = 0; round < 300; round++) {
    const key = `/k${round % i}`;
    assert.equal(engine.put(key, 'w'.repeat(900)), S.OK, 'an overwrite of the same size');
    assert.equal(engine.commit(), S.OK);
    wanted.set(key, 'w'.repeat(900));
    assert.equal(engine.put(key, 'w'.repeat(900 + capacity - liveBytes + 8)), S.NO_SPACE);
  }
  for (let round = 0; round < i; round += 2) {
    assert.equal(engine.del(`/k${round}`), S.OK, 'a deletion on a full disk');
    assert.equal(engine.commit(), S.OK);
    wanted.delete(`/k${round}`);
  }
  assert.equal(engine.put('/new', 'n'.repeat(Math.floor(bytes * (i / 2 - 1)))), S.OK);
  assert.equal(engine.commit(), S.OK);
  const { engine: next } = await reboot(engine);
  assert.deepEqual([...next.list().keys].filter((key) => key !== '/new'), [...wanted.keys()].sort());
  for (const [key, value] of wanted) assert.equal(next.get(key), value);
});

test('full disk: filled to the last byte that fits', async () => {
  const engine = await fresh(80);
  const capacity = engine.report().capacityBytes;
  assert.equal(capacity, REGION_SECTORS_MIN / 8 * 7 * SECTOR);
  assert.equal(engine.put('key4', 'x'.repeat(capacity - 36 + 1)), S.NO_SPACE);
  assert.equal(engine.put('key4', 'x'.repeat(capacity - 36)), S.OK);
  assert.equal(engine.commit(), S.OK);
  assert.equal(engine.report().liveBytes, capacity);
  assert.equal(engine.put('l', ''), S.NO_SPACE);
  for (let i = 0; i < 20; i++) {
    assert.equal(engine.put('key4', String(i).repeat(10)), S.OK);
    assert.equal(engine.put('key4', 'y'.repeat(capacity - 36)), S.OK);
    assert.equal(engine.commit(), S.OK);
  }
  assert.equal((await reboot(engine)).engine.get('key4'), 'y'.repeat(capacity - 36));
});

test('read only: reads serve, every change is refused, nothing is written', async () => {
  const engine = await fresh();
  engine.put('/a', '1');
  engine.commit();
  const disk = engine.disk.copy();
  const next = new Engine(await loadEngine(), disk);
  assert.equal(next.open(true), S.OK);
  assert.equal(next.get('/a'), '1');
  for (const status of [next.put('/a', '2'), next.del('/a'), next.begin(), next.end(), next.commit()]) assert.equal(status, S.READ_ONLY);
  assert.equal(disk.operations, 0);
  next.close();
  assert.equal(next.get('/a'), S.CLOSED);
  assert.equal(next.put('/a', 'x'), S.CLOSED);
});

test('the largest disk that is used whole, and a larger one', async () => {
  const sectors = 16 + 2 * REGION_SECTORS_MAX + 100;
  // A disk of holes: only what is written is kept.
  const disk = new MemoryDisk(sectors, Buffer.alloc(0));
  disk.read = (sector, count, to) => {
    to.fill(0);
    for (let i = 0; i < count; i++) to.set(disk.cache.get(sector + i) ?? [], i * SECTOR);
    return 0;
  };
  disk.settle = () => {};
  const engine = new Engine(await loadEngine(), disk);
  assert.equal(engine.open(), S.OK);
  assert.equal(engine.report().regionSectors, REGION_SECTORS_MAX);
  for (let i = 0; i < 3; i++) {
    assert.equal(engine.put('/a', String(i)), S.OK);
    assert.equal(engine.commit(), S.OK);
  }
  assert.equal(new Engine(await loadEngine(), disk).open(true), S.OK);
  assert.ok(SLACK_BYTES > 0);
});

test('list: pages by count and by bytes, after a key that is gone, of a prefix, of nothing', async () => {
  const engine = await fresh();
  const keys = ['/a', '/a/1', '/a/10', '/a/2', '/b', '/b/1'];
  for (const key of keys) engine.put(key, key);
  assert.deepEqual(engine.list().keys, keys);
  assert.deepEqual(engine.list().lengths, keys.map(({ length }) => length));
  assert.deepEqual(engine.list('/a/').keys, ['/a/1', '/a/10', '/a/2']);
  assert.deepEqual(engine.list('/a/', '', 1000, 2), { keys: ['/a/1', '/a/10'], lengths: [4, 5], more: true });
  assert.deepEqual(engine.list('/a/', '/a/10').keys, ['/a/2']);
  assert.deepEqual(engine.list('/a/', '/a/11').keys, ['/a/2']);
  assert.deepEqual(engine.list('/a/', '/0').keys, ['/a/1', '/a/10', '/a/2']);
  assert.deepEqual(engine.list('/a/', '/z').keys, []);
  assert.deepEqual(engine.list('/c'), { keys: [], lengths: [], more: false });
  assert.deepEqual(engine.list('', '', 9 + 7 - 1, 10).keys, ['/a']);
  assert.deepEqual(engine.list('', '', 9 + 7, 10).keys, ['/a', '/a/1']);
  assert.equal(engine.list('', '', 6, 10).more, true);
});
