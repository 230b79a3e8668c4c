// SPDX-License-Identifier: Apache-2.0
// How the bench reads a bare image's boot: only a run that says `end` and powers off well has figures. A stand-in takes QEMU's place.
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { bareArgv } from '../../boot/machines.js';
import { BARE_IMAGES, runBareImage } from '../../scripts/bench/bare-image.js';
import { ROOT } from '../../scripts/lib/paths.js';

/** runBareImage over a stand-in that prints `output` and exits with `status`. */
function run(output: string, status = 0): string[] {
  const dir = mkdtempSync(join(tmpdir(), 'vigil-bare-'));
  try {
    const path = join(dir, 'stand-in');
    writeFileSync(join(dir, 'output'), output);
    writeFileSync(path, `#!/bin/sh\ncat '${join(dir, 'output')}'\necho 'last words' >&2\nexit ${status}\n`);
    chmodSync(path, 0o755);
    return runBareImage(path, 'hash.elf');
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

test('the lines of the image, without the firmware and without the end', () => {
  assert.deepEqual(run('OpenSBI v1.1\r\nbench: a=1\r\nbench: b=2\r\nbench: end\r\n'), ['bench: a=1', 'bench: b=2']);
});

test('a failure of the guest, an early end and a broken machine are told apart', () => {
  assert.throws(() => run('bench: FAIL sha256 differs\n', 1), { exitCode: 1, message: /sha256 differs/ });
  assert.throws(() => run('bench: a=1\n'), { exitCode: 1, message: /before its last line/ });
  assert.throws(() => run('bench: end\n', 1), { exitCode: 3, message: /status 1: last words/ });
  assert.throws(() => runBareImage('/no-such-qemu', 'hash.elf'), { exitCode: 3 });
});

test('the bare machine counts instructions like the gate and has no device', () => {
  const argv = bareArgv('hash.elf');
  assert.deepEqual(argv.slice(argv.indexOf('-icount'), argv.indexOf('-icount') + 4), ['-icount', 'shift=0,sleep=off', '-seed', '42']);
  assert.deepEqual(argv.slice(-2), ['-kernel', 'hash.elf']);
  assert.ok(!argv.includes('-device') && !argv.includes('-initrd'));
});

test('each image has its C, its module, and the same memory in both', () => {
  for (const [name, pages] of Object.entries(BARE_IMAGES)) {
    const source = readFileSync(join(ROOT, `runtime/guest/bench/${name}.c`), 'utf8');
    assert.match(source, new RegExp(`#define MEMORY_BYTES \\(${pages} \\* 65536u\\)`), name);
    assert.match(readFileSync(join(ROOT, `assembly/bench/${name}.ts`), 'utf8'), /export function bench_/, name);
  }
});
