// SPDX-License-Identifier: Apache-2.0
// `vigil state`: on images that statefsd made, on damaged ones, and on what is no image. The image's bytes never change.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { ROOT } from '../../scripts/lib/paths.js';
import { BAD_KINDS, REPORT_FIELDS, StateImage } from '../../scripts/lib/state-image.js';
import { randomBelow } from '../random.js';
import { SECTORS, imageOf, withFolder, writeImage } from './images.js';

const LARGE = Uint8Array.from({ length: 65_536 }, (_, i) => (i * 131) ^ (i >> 7));
const BINARY = Uint8Array.from([0, 27, 91, 50, 74, 255]);
let image: Uint8Array;

before(async () => {
  image = await imageOf([
    ['/state/w/a', Buffer.from('old')], ['/state/test/empty', new Uint8Array(0)], ['/state/w/large', LARGE], ['/state/w/gone', Buffer.from('x')],
    ['/state/w/gone', null], ['/state/w/binary', BINARY], ['/state/w/a', Buffer.from('new text')],
  ]);
});

interface Ran { code: number; out: Buffer; text: string; err: string }
function vigil(...args: string[]): Ran {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', 'scripts/vigil.ts', ...args], { cwd: ROOT, timeout: 60_000 });
  return { code: status ?? -1, out: stdout, text: stdout.toString(), err: stderr.toString() };
}

test('ls, get and dump give what was stored, and leave the image as it is', () => withFolder(async (folder) => {
  const path = writeImage(folder, image);
  const listed = vigil('state', 'ls', path, '--json');
  assert.equal(listed.code, 0, listed.err);
  const { keys } = JSON.parse(listed.text) as { keys: { key: string; bytes: number }[] };
  assert.deepEqual(keys.map(({ key, bytes }) => [key, bytes]), [
    ['/state/boot/statefsd', 8], ['/state/test/empty', 0], ['/state/w/a', 8], ['/state/w/binary', 6], ['/state/w/large', 65_536],
  ]);
  assert.equal(vigil('state', 'ls', path, '--prefix', '/state/w/').text, '     8  /state/w/a\n     6  /state/w/binary\n 65536  /state/w/large\n');
  assert.deepEqual(vigil('state', 'get', path, '/state/w/large').out, Buffer.from(LARGE));
  const to = join(folder, 'value.bin');
  assert.equal(vigil('state', 'get', path, '/state/w/binary', '--output', to).code, 0);
  assert.deepEqual(readFileSync(to), Buffer.from(BINARY));
  const dumped = JSON.parse(vigil('state', 'dump', path, '--json').text) as { entries: { key: string; text?: string; base64?: string }[] };
  assert.equal(dumped.entries.find(({ key }) => key === '/state/w/a')?.text, 'new text');
  assert.equal(dumped.entries.find(({ key }) => key === '/state/w/binary')?.base64, Buffer.from(BINARY).toString('base64'));
  assert.match(vigil('state', 'dump', path, '--prefix', '/state/w/binary').text, /00 1b 5b 32 4a ff {2,}\.\.\[2J\.\n$/);
  assert.deepEqual(readFileSync(path), Buffer.from(image), 'nothing was written');
}));

test('a key that is not there, and words that are no command', () => withFolder(async (folder) => {
  const path = writeImage(folder, image);
  for (const [key, wanted] of [['/state/w/gone', 1], ['/state/w', 1], ['/state/ü☃', 1], ['', 2], ['k'.repeat(300), 2]] as const) {
    const { code, err } = vigil('state', 'get', path, key);
    assert.equal(code, wanted, key);
    assert.match(err, /^vigil: .*\n$/);
  }
  const onto = vigil('state', 'get', path, '/state/w/a', '--output', path);
  assert.deepEqual([onto.code, readFileSync(path).equals(Buffer.from(image))], [2, true]);
  assert.match(onto.err, /is the image itself/);
  const nowhere = vigil('state', 'get', path, '/state/w/a', '--output', join(folder, 'no', 'such'));
  assert.deepEqual([nowhere.code, nowhere.err.includes('internal error')], [3, false]);
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  assert.deepEqual([vigil('state', 'fsck', pipe).code], [3]);
  for (const args of [[], ['state'], ['state', 'fsck'], ['state', 'rm', path], ['nope'], ['state', 'ls', path, '--bad'], ['state', 'ls', path, 'more']]) {
    const { code, err } = vigil(...args);
    assert.equal(code, 2, args.join(' '));
    assert.match(err, /^vigil: .*see vigil --help\)\n$/);
  }
  for (const args of [['--help'], ['state', 'fsck', '--help']]) {
    const { code, text } = vigil(...args);
    assert.equal(code, 0);
    assert.match(text, /Usage: vigil[^]*Examples:/);
  }
}));

test('fsck: a clean image, a blank one', () => withFolder(async (folder) => {
  const clean = vigil('state', 'fsck', writeImage(folder, image));
  assert.equal(clean.code, 0, clean.text + clean.err);
  assert.match(clean.text, /^.*: clean: 5 keys, 65558 bytes of values, \d+ records, sequence \d+, epoch 1, journal \d+ of \d+ bytes\n$/);
  const blank = vigil('state', 'fsck', writeImage(folder, new Uint8Array(SECTORS * 512), 'blank.img'));
  assert.equal(blank.code, 0);
  assert.match(blank.text, /clean, blank/);
  assert.equal(vigil('state', 'ls', join(folder, 'blank.img')).code, 0);
}));

test('fsck: damage gives its kind, its position and what was kept, and exit code 1', () => withFolder(async (folder) => {
  const report = (bytes: Uint8Array): { code: number; damage: { kind: string; sector?: number; byte?: number }[]; keys: number } => {
    const { code, text, err } = vigil('state', 'fsck', writeImage(folder, bytes), '--json');
    assert.notEqual(text, '', err);
    return { code, ...(JSON.parse(text) as { damage: { kind: string; sector?: number; byte?: number }[]; keys: number }) };
  };
  const journal = Buffer.from(image).indexOf('new text');
  const flipped = image.slice();
  flipped[journal]! ^= 1;
  const last = report(flipped);
  assert.deepEqual([last.code, last.damage.length, last.damage[0]!.kind], [1, 1, 'crc']);
  assert.equal(last.damage[0]!.sector, Math.floor(journal / 512));
  assert.equal(last.keys, 5, 'the longest valid prefix: the older value is back');
  const early = image.slice();
  early[Buffer.from(image).indexOf('/state/w/a')]! ^= 1;
  const hole = report(early);
  assert.deepEqual([hole.code, hole.keys], [1, 1]);
  assert.match(vigil('state', 'fsck', join(folder, 'state.img')).text, /\d+ groups lie behind it: something that had been acknowledged is lost/);
  const superblock = image.slice();
  superblock[20]! ^= 4;
  assert.deepEqual(report(superblock).damage.map(({ kind }) => kind), ['superblock']);
  const odd = Buffer.concat([image, Buffer.alloc(100)]);
  assert.deepEqual(report(odd).damage.map(({ kind }) => kind), ['size']);
  const listed = vigil('state', 'ls', writeImage(folder, flipped));
  assert.equal(listed.code, 1, 'a damaged image is said to be one');
  assert.match(listed.err, /is damaged/);
}));

test('fsck: an image that was cut short, at its superblock and elsewhere', () => withFolder(async (folder) => {
  const path = writeImage(folder, image);
  truncateSync(path, image.length - 512);
  const cut = vigil('state', 'fsck', path);
  assert.equal(cut.code, 1);
  assert.match(cut.text, /shorter than its superblock says/);
  assert.equal(vigil('state', 'ls', path).code, 1);
  truncateSync(path, 4000);
  assert.equal(vigil('state', 'fsck', path).code, 3);
}));

test('what cannot be read is exit code 3 and one line', () => withFolder(async (folder) => {
  const path = writeImage(folder, image);
  const foreign = image.slice();
  foreign.fill(0xa5, 0, 8192);
  const loop = join(folder, 'loop');
  symlinkSync(loop, loop);
  const cases: [string, RegExp][] = [
    [join(folder, 'absent.img'), /no such file/],
    [folder, /is a folder/],
    [loop, /links lead nowhere/],
    ['/dev/null', /no regular file/],
    [writeImage(folder, new Uint8Array(0), 'empty.img'), /is empty/],
    [writeImage(folder, foreign, 'foreign.img'), /no store of ours/],
    [writeImage(folder, new Uint8Array(5 * 512), 'small.img'), /too small/],
    [join(path, 'x'), /a part of its path is a file/],
  ];
  for (const [target, says] of cases) {
    const { code, err, text } = vigil('state', 'fsck', target);
    assert.equal(code, 3, `${target}: ${err}${text}`);
    assert.match(err, says);
    assert.equal(err.trimEnd().split('\n').length, 1);
  }
  for (const command of [['ls', folder], ['dump', folder], ['get', folder, '/state/w/a']]) {
    assert.equal(vigil('state', ...command).code, 3, command.join(' '));
  }
}));

test('an image without permission', { skip: process.getuid?.() === 0 ? 'root may read everything' : false }, () => withFolder(async (folder) => {
  const path = writeImage(folder, image);
  chmodSync(path, 0);
  const { code, err } = vigil('state', 'fsck', path);
  assert.equal(code, 3);
  assert.match(err, /permission denied/);
}));

test('an image in use is refused, and read with --live; the lock of a process that is gone does not count', () => withFolder(async (folder) => {
  const path = writeImage(folder, image);
  writeFileSync(`${path}.lock`, `${process.pid}`);
  const { code, err } = vigil('state', 'fsck', path);
  assert.equal(code, 3);
  assert.match(err, new RegExp(`in use by process ${process.pid}`));
  assert.equal(vigil('state', 'fsck', path, '--live').code, 0);
  writeFileSync(`${path}.lock`, '999999999');
  assert.equal(vigil('state', 'fsck', path).code, 0);
}));

test('a reader that stops early ends it quietly', () => withFolder(async (folder) => {
  const path = writeImage(folder, image);
  const script = `${process.execPath} --import tsx scripts/vigil.ts state dump ${path} | head -1`;
  const { stdout, stderr, status } = spawnSync('bash', ['-o', 'pipefail', '-c', script], { cwd: ROOT });
  assert.match(stdout.toString(), /^\/state\/boot\/statefsd/);
  assert.equal(stderr.toString(), '');
  assert.equal(status, 0);
}));

test('bits of a small journal flip: the reader ends well, shows no wrong value, and never writes', () => withFolder(async (folder) => {
  const small = await imageOf([['/state/w/k', Buffer.from('v1')], ['/state/w/k', Buffer.from('v2')]], 96);
  const next = randomBelow(7);
  const used = Array.from(small.keys()).filter((at) => small[at] !== 0);
  for (let n = 0; n < 40; n++) {
    const bytes = small.slice();
    const at = used[next(used.length)]!;
    bytes[at]! ^= 1 << next(8);
    const path = writeImage(folder, bytes);
    const opened = await StateImage.open(path);
    if (opened.status === 'ok') {
      const value = opened.get('/state/w/k');
      assert.ok(typeof value === 'string' || ['v1', 'v2'].includes(value.toString()), `byte ${at}: ${value.toString()}`);
      assert.equal(opened.writesRefused, 0);
    }
    opened.close();
    assert.equal(statSync(path).size, bytes.length);
  }
}));

test('the names here are the numbers of the engine', () => {
  const source = readFileSync(join(ROOT, 'assembly/lib/statefs/report.ts'), 'utf8');
  const numbers = [...source.matchAll(/^export const BAD_([A-Z]+): u32 = (\d+);$/gm)].map(([, name, number]) => [Number(number), name!.toLowerCase()]);
  assert.deepEqual(numbers.sort(), BAD_KINDS.map((name, number) => [number, name]));
  const host = readFileSync(join(ROOT, 'assembly/host/state.ts'), 'utf8');
  assert.deepEqual([...host.matchAll(/put\(at, report\.(\w+)\)/g)].map(([, name]) => name), [...REPORT_FIELDS]);
});
