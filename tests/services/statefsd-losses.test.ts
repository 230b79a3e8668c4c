// SPDX-License-Identifier: Apache-2.0
// What statefsd says of data that is gone: values that rotted, groups behind a bad record, commits without an end, a bad superblock. Each
// can be read in the running guest (STATS), and is reported as an error. And whose version a piece of a value is.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { buildModule, type HostOptions } from '../../runtime/node/index.js';
import { SUPER_SECTORS, records } from '../statefs/image.js';
import { BlkDevice } from '../statefs/sim/device.js';
import { SimDisk } from '../statefs/sim/disk.js';
import { OP, STATUS as S } from '../statefs/sim/frames.js';
import { mute } from './frames.js';
import { allow, bare, batch, get, put, world, type Steps, type World } from './statefsd-world.js';

/** Words of STATS, by assembly/lib/wire/statefsd.ts. */
const [COMPACTIONS, BAD_KIND, GROUPS_BEHIND, RECORDS_DROPPED, LOST_KEYS, SUPERBLOCKS, INTEGRITY] = [22, 29, 30, 31, 32, 33, 34];
const SECTOR = 512;
let wasm: Uint8Array;
before(async () => { wasm = await buildModule('statefsd'); });

/** Runs the script; what was logged and measured on the way is in `said`. */
function run(device: BlkDevice, script: (w: World, said: string[]) => Steps<void>): void {
  const said: string[] = [];
  const hear = ({ bytes }: { bytes: Uint8Array }): null => { said.push(Buffer.from(bytes).toString('latin1')); return null; };
  const peers: HostOptions['peers'] = { policyd: allow, samgrd: mute, metricsd: hear, logd: hear };
  world({ wasm, device, host: { peers } }, function* (w) { yield* script(w, said); });
}
const until = function* (w: World, said: string[], what: RegExp): Steps<void> {
  for (let n = 0; n < 400 && !said.some((line) => what.test(line)); n++) yield* w.host.idle();
  assert.ok(said.some((line) => what.test(line)), `${what} was never said`);
};
const blank = (sectors = 4096): BlkDevice => new BlkDevice(new SimDisk(sectors));
/** The disk as it came out of a run, with damage. */
const damaged = (device: BlkDevice, damage: (image: Buffer) => void): BlkDevice => {
  const image = Buffer.from(device.disk.medium);
  damage(image);
  return new BlkDevice(new SimDisk(image));
};

test('a value that rotted is counted when it is read and when a compaction meets it, and reported as an error', () => {
  const device = blank(512);
  run(device, function* (w, said) {
    assert.equal(yield* w.status(put('/state/rot', 'precious'.repeat(40))), S.ok);
    assert.equal(yield* w.status(put('/state/x', 'x')), S.ok);
    const at = Buffer.from(device.disk.current).indexOf('preciousprecious');
    device.disk.current[at] = device.disk.current[at]! ^ 1;
    assert.equal(yield* w.status(get('/state/rot')), S.integrity);
    let stats = yield* w.stats();
    assert.deepEqual([stats[INTEGRITY], stats[LOST_KEYS]], [1, 0]);
    yield* until(w, said, /value rotten[^]*\/state\/rot/);
    const before = stats[COMPACTIONS]!;
    for (let n = 0; n < 60 && stats[COMPACTIONS] === before; n++) {
      assert.equal(yield* w.status(put('/state/x', String(n % 10).repeat(8000))), S.ok);
      stats = yield* w.stats();
    }
    assert.ok(stats[COMPACTIONS]! > before);
    assert.equal(stats[LOST_KEYS], 1);
    yield* until(w, said, /values lost/);
    yield* until(w, said, /statefsd\.lost/);
    assert.equal(yield* w.status(get('/state/rot')), S.integrity);
    assert.equal((yield* w.stats())[INTEGRITY], 2);
    assert.equal(yield* w.status(put('/state/rot', 'again')), S.ok);
    assert.equal((yield* w.stats())[LOST_KEYS], 0, 'now');
  });
});

test('groups behind a bad record, records without the end of their commit, and a bad superblock are told by STATS', () => {
  const device = blank();
  run(device, function* (w) {
    for (const key of ['a', 'b', 'c', 'd']) assert.equal(yield* w.status(put(`/state/${key}`, key.repeat(300))), S.ok);
    const stats = yield* w.stats();
    assert.deepEqual([GROUPS_BEHIND, RECORDS_DROPPED, LOST_KEYS, INTEGRITY].map((word) => stats[word]), [0, 0, 0, 0]);
    assert.equal(stats[SUPERBLOCKS], 0, 'the disk was blank');
  });
  run(damaged(device, (image) => {
    const record = records(image).find(({ key }) => key === '/state/b')!;
    image[record.at + 40]! ^= 1;
    image.fill(0x5a, SUPER_SECTORS[1] * SECTOR, (SUPER_SECTORS[1] + 1) * SECTOR);
  }), function* (w, said) {
    const stats = yield* w.stats();
    assert.notEqual(stats[BAD_KIND], 0);
    assert.ok(stats[GROUPS_BEHIND]! >= 2, 'c and d');
    assert.equal(stats[SUPERBLOCKS], 1);
    assert.equal(yield* w.value('/state/c'), S.notFound);
    yield* until(w, said, /statefsd\.lost/);
  });
  run(device, function* (w) {
    assert.equal((yield* w.stats())[SUPERBLOCKS], 2);
    assert.equal(yield* w.status(batch([['/state/e', 'e'.repeat(600)], ['/state/f', 'f'.repeat(600)]])), S.ok);
  });
  run(damaged(device, (image) => {
    const record = records(image).find(({ key }) => key === '/state/f')!;
    const from = Math.ceil(record.at / SECTOR) * SECTOR;
    image.fill(0, from, record.at + record.bytes);
  }), function* (w) {
    assert.equal((yield* w.stats())[RECORDS_DROPPED], 1, 'e');
    assert.deepEqual([yield* w.value('/state/e'), yield* w.value('/state/f')], [S.notFound, S.notFound]);
  });
});

test('every piece of a GET carries the sequence of its own value, whatever else is written in between', () => {
  run(blank(), function* (w) {
    const sequence = function* (key: string, offset = 0): Steps<bigint> {
      const { status, body } = yield* w.ask(get(key, offset));
      assert.equal(status, S.ok);
      return body.readBigUInt64LE(10);
    };
    const stored = yield* w.ask(put('/state/v', 'v'.repeat(8000)));
    const own = stored.body.readBigUInt64LE();
    assert.equal(yield* sequence('/state/v'), own);
    assert.equal(yield* w.status(put('/state/other', 'o')), S.ok);
    assert.equal(yield* sequence('/state/v', 4000), own, 'another key was written');
    assert.equal(yield* sequence('/state/v', 8000), own, 'past the end');
    assert.equal(yield* sequence('/state/other'), own + 1n);
    assert.equal(yield* w.status(put('/state/v', 'w'.repeat(8000))), S.ok);
    assert.equal(yield* sequence('/state/v', 4000), own + 2n, 'this one was');
    assert.equal((yield* w.ask(bare(OP.sync))).status, S.ok);
  });
});
