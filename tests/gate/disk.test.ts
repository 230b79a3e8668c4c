// SPDX-License-Identifier: Apache-2.0
// The disk of /state on the host: the gate's blank image, and the image that a person keeps: made once, claimed by one run, never wiped.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { DISK_BYTES_MAX, GATE_DISK_BYTES, KEPT_DISK_BYTES, createImage, keptPath, openKept, prepareDrive } from '../../scripts/lib/disk.js';

function folder(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'vigil-disk-test-'));
  context.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A process id that names nobody. */
const NOBODY = 2 ** 22 + 1;

test('the gate: a blank sparse image of 16 MiB in the folder of the boot, whose flushes stay in memory', (context) => {
  const dir = folder(context);
  const drive = prepareDrive(undefined, dir)!;
  assert.deepEqual(drive, { source: { file: join(dir, 'state.img'), throwaway: true }, readOnly: undefined, noFlush: undefined });
  const stat = statSync(join(dir, 'state.img'));
  assert.equal(stat.size, GATE_DISK_BYTES);
  assert.ok(stat.blocks * 512 < 65_536, 'sparse');
  assert.ok(readFileSync(join(dir, 'state.img')).every((byte) => byte === 0));
  assert.throws(() => prepareDrive(undefined, dir), { code: 'EEXIST' });
});

test('the variants of tests: size, foreign, read-only, without FLUSH, over NBD, a file in place, an empty slot', (context) => {
  const dir = folder(context);
  assert.equal(prepareDrive({ kind: 'absent' }, dir), undefined);
  assert.deepEqual(prepareDrive({ kind: 'nbd', socketPath: '/s', noFlush: true }, dir), { source: { nbd: '/s' }, readOnly: undefined, noFlush: true });
  assert.deepEqual(prepareDrive({ kind: 'file', path: '/f', readOnly: true }, dir), {
    source: { file: '/f', throwaway: false }, readOnly: true, noFlush: undefined,
  });
  prepareDrive({ kind: 'blank', bytes: 65_536, foreign: true }, dir);
  const bytes = readFileSync(join(dir, 'state.img'));
  assert.equal(bytes.length, 65_536);
  assert.ok(bytes.every((byte) => byte !== 0));
});

test('a size is whole sectors within its limits', (context) => {
  const dir = folder(context);
  createImage(join(dir, 'a'), 512);
  createImage(join(dir, 'b'), DISK_BYTES_MAX);
  for (const bytes of [0, 511, 513, DISK_BYTES_MAX + 512]) assert.throws(() => createImage(join(dir, 'c'), bytes), { exitCode: 2 });
  assert.equal(existsSync(join(dir, 'c')), false);
});

test('where the kept image lies', () => {
  assert.equal(keptPath({}, '/checkout'), '/checkout/.vigil/state.img');
  assert.equal(keptPath({ VIGIL_STATE: '' }, '/checkout'), '/checkout/.vigil/state.img');
  assert.equal(keptPath({ VIGIL_STATE: '/elsewhere/disk.img' }, '/checkout'), '/elsewhere/disk.img');
});

test('a kept image is made once, with its folder, and what is in it stays', (context) => {
  const path = join(folder(context), 'deep/state.img');
  const first = openKept(path);
  assert.deepEqual([first.created, statSync(path).size, statSync(path).mode & 0o777], [true, KEPT_DISK_BYTES, 0o600]);
  first.release();
  first.release();
  writeFileSync(path, Buffer.alloc(1024, 7));
  const second = openKept(path);
  assert.equal(second.created, false);
  assert.deepEqual(second.drive, { source: { file: path, throwaway: false } });
  second.release();
  assert.deepEqual(readFileSync(path), Buffer.alloc(1024, 7));
});

test('a second start while the first has the image: one line that names the process, exit code 3, and nothing changes', (context) => {
  const path = join(folder(context), 'state.img');
  const first = openKept(path);
  assert.throws(() => openKept(path), { exitCode: 3, message: `${path} is in use by process ${process.pid}; end that run, or name another image with VIGIL_STATE` });
  assert.ok(existsSync(`${path}.lock`));
  first.release();
  openKept(path).release();
  assert.equal(existsSync(`${path}.lock`), false);
});

test('a link and its target are one image with one claim; a link that leads nowhere is named', (context) => {
  const dir = folder(context);
  const path = join(dir, 'state.img');
  const first = openKept(path);
  symlinkSync('state.img', join(dir, 'link'));
  assert.throws(() => openKept(join(dir, 'link')), { exitCode: 3, message: /state\.img is in use by process/ });
  first.release();
  symlinkSync('nowhere', join(dir, 'dangling'));
  assert.throws(() => openKept(join(dir, 'dangling')), { exitCode: 3, message: /is a link that leads nowhere/ });
});

test('the claim names the QEMU that has the image, which may outlive the run', (context) => {
  const path = join(folder(context), 'state.img');
  const first = openKept(path);
  first.usedBy(process.ppid);
  assert.throws(() => openKept(path), { exitCode: 3, message: new RegExp(`in use by process ${process.ppid};`) });
  first.release();
  assert.equal(existsSync(`${path}.lock`), false);
});

test('the claim of a run that died is taken over; so is a claim that names nobody', (context) => {
  const path = join(folder(context), 'state.img');
  for (const left of [String(NOBODY), '', 'x']) {
    writeFileSync(`${path}.lock`, left);
    openKept(path).release();
  }
});

test('a deleted image is made anew, and said so', (context) => {
  const path = join(folder(context), 'state.img');
  openKept(path).release();
  rmSync(path);
  const again = openKept(path);
  assert.equal(again.created, true);
  again.release();
});

test('what cannot be an image is refused with exit code 3, is left as it is, and leaves no claim', (context) => {
  const dir = folder(context);
  mkdirSync(join(dir, 'folder'));
  writeFileSync(join(dir, 'odd'), 'x'.repeat(513));
  writeFileSync(join(dir, 'empty'), '');
  const cases: [string, RegExp][] = [['folder', /is no file/], ['odd', /513 bytes/], ['empty', /0 bytes/], ['odd/below', /a file lies where a folder belongs/]];
  for (const [name, message] of cases) {
    assert.throws(() => openKept(join(dir, name)), { exitCode: 3, message });
    assert.equal(existsSync(join(dir, `${name}.lock`)), false, name);
  }
  assert.equal(readFileSync(join(dir, 'odd'), 'utf8').length, 513);
});

test('a folder that cannot be written: one line, exit code 3', (context) => {
  const dir = folder(context);
  if (process.getuid?.() === 0) {
    // Permissions do not hold the superuser; a place that nobody can write does.
    if (!existsSync('/proc/self')) return context.skip('the superuser can write everywhere here');
    assert.throws(() => openKept('/proc/state.img'), { exitCode: 3, message: /cannot be used: / });
    return undefined;
  }
  chmodSync(dir, 0o500);
  assert.throws(() => openKept(join(dir, 'state.img')), { exitCode: 3, message: /permission denied/ });
  return undefined;
});
