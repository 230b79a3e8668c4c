// SPDX-License-Identifier: Apache-2.0
// The command line of scripts/build.ts: exit codes 0, 1, 2, 3 and one-line errors.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../scripts/lib/paths.js';

function run(args: string[], env: NodeJS.ProcessEnv = process.env): { status: number | null; stdout: string; stderr: string } {
  const argv = ['--import', 'tsx', join(ROOT, 'scripts/build.ts'), ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { cwd: ROOT, env, encoding: 'utf8' });
  return { status, stdout, stderr };
}

test('--help explains and exits 0', () => {
  const { status, stdout } = run(['--help']);
  assert.equal(status, 0);
  assert.match(stdout, /--only <part>/);
});

test('usage errors exit 2', () => {
  assert.equal(run(['--nonsense']).status, 2);
  assert.equal(run(['stray']).status, 2);
  const unknown = run(['--partial', '--only', 'nobody']);
  assert.equal(unknown.status, 2);
  assert.match(unknown.stderr, /^build: --only nobody: no such module; known: kernel, /m);
});

test('a missing compiler exits 3 and says what to do', () => {
  const { status, stderr } = run(['--partial', '--only', 'logd'], { ...process.env, PATH: '/nonexistent' });
  assert.equal(status, 3);
  assert.match(stderr, /^build: riscv64-unknown-elf-gcc is not installed; run `npx just doctor`/);
});
