// SPDX-License-Identifier: Apache-2.0
// The size of the privileged part stays below its target, and the counter counts what it says.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { NATIVE_LINES_MAX, readSizes, sizeLines } from '../../scripts/size.js';
import { FILE_LINES_MAX } from '../../scripts/lint.js';

test('C and assembly stay under the target, no kernel file over the file limit', () => {
  const { native, kernel } = readSizes();
  assert.ok(native.lines < NATIVE_LINES_MAX, `${native.lines} lines of C and assembly`);
  assert.ok(kernel.largest.lines <= FILE_LINES_MAX && native.largest.lines <= FILE_LINES_MAX);
  assert.match(kernel.largest.path, /^assembly\/kernel\//);
});

test('counted are sources of the image alone', () => {
  const root = mkdtempSync(join(tmpdir(), 'vigil-size-'));
  try {
    const put = (path: string, lines: number): void => {
      mkdirSync(join(root, path, '..'), { recursive: true });
      writeFileSync(join(root, path), 'x\n'.repeat(lines));
    };
    put('runtime/guest/a.c', 3);
    put('runtime/guest/include/b.h', 2);
    put('runtime/guest/k.S', 5);
    put('runtime/guest/notes.md', 100);
    put('runtime/guest/bench/hash.c', 100);
    put('assembly/kernel/a.ts', 7);
    put('assembly/kernel/virtio/b.ts', 9);
    put('assembly/kernel/a.spec.ts', 100);
    const sizes = readSizes(root);
    assert.deepEqual(sizes, {
      native: { lines: 10, files: 3, largest: { path: 'runtime/guest/k.S', lines: 5 } },
      kernel: { lines: 16, files: 2, largest: { path: 'assembly/kernel/virtio/b.ts', lines: 9 } },
    });
    assert.match(sizeLines(sizes)[0]!, /^native_lines 10 /);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
