// SPDX-License-Identifier: Apache-2.0
// `just new-service`: in a copy of this checkout, what it writes builds, its test passes, and it boots to its ready line.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Failure } from '../../scripts/lib/fail.js';
import { lintText } from '../../scripts/lint.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { freeMagic, magicsOf, newService } from '../../scripts/new-service.js';

const STEP_LIMIT_MS = 240_000;
/** What a build of the copy may start from: caches keyed by content, and finished modules. */
const WARM = ['cache', 'gen', 'modules', 'kernel', 'image'];
let copy: string;

before(() => {
  copy = mkdtempSync(join(tmpdir(), 'vigil-new-'));
  for (const name of readdirSync(ROOT)) {
    if (!['node_modules', 'build', '.git'].includes(name)) cpSync(join(ROOT, name), join(copy, name), { recursive: true });
  }
  mkdirSync(join(copy, 'build'));
  for (const name of WARM) {
    const from = join(ROOT, 'build', name);
    if (existsSync(from)) cpSync(from, join(copy, 'build', name), { recursive: true, preserveTimestamps: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
});
after(() => rmSync(copy, { recursive: true, force: true }));

/** Runs one of the copy's own scripts or tests in the copy. */
function inCopy(args: string[], env: Record<string, string> = {}): { status: number | null; output: string } {
  const { NODE_TEST_CONTEXT: _nested, ...outer } = process.env;
  const run = spawnSync(process.execPath, ['--import', 'tsx', ...args], {
    cwd: copy, encoding: 'utf8', timeout: STEP_LIMIT_MS, env: { ...outer, ...env },
  });
  return { status: run.status, output: run.stdout + run.stderr };
}

test('a new service builds, passes its own test and boots to its ready line', { timeout: 3 * STEP_LIMIT_MS }, () => {
  const made = inCopy(['scripts/new-service.ts', 'echo-probe']);
  assert.equal(made.status, 0, made.output);
  const again = inCopy(['scripts/new-service.ts', 'echo-probe']);
  assert.equal(again.status, 2);
  assert.match(again.output, /has a service "echo-probe" already/);
  const built = inCopy(['scripts/build.ts']);
  assert.equal(built.status, 0, built.output);
  assert.match(readFileSync(join(copy, 'build/image/manifest.json'), 'utf8'), /"echo-probe"/);
  const tested = inCopy(['--test', 'tests/services/echo-probe.test.ts']);
  assert.equal(tested.status, 0, tested.output);
  const booted = inCopy(['scripts/test-os.ts'], { RUN_UNTIL_MARKER: 'echo-probe: ready', RUN_TIMEOUT: '60s' });
  assert.equal(booted.status, 0, booted.output);
  assert.match(booted.output, /STOPPED at echo-probe: ready \d+\/\d+\s*$/);
});

test('what it writes keeps the style', () => {
  for (const [path, text] of newService('echo-probe')) {
    if (path.includes('echo-probe')) assert.deepEqual(lintText(path, text), []);
  }
});

test('bad names are usage errors and write nothing', () => {
  for (const name of ['', 'X', 'a', '9a', 'has space', 'ends-', 'much-too-long-a-name', '../evil', 'logd', 'selftest']) {
    assert.throws(() => newService(name), (error) => error instanceof Failure && error.exitCode === 2, name);
  }
});

test('two letters for frames are free ones', () => {
  assert.deepEqual(magicsOf('Protocol.of(0x4c, 0x4f, 2, 8, false)'), ['LO']);
  assert.equal(freeMagic('logd', new Set(['LO'])), 'LG');
  assert.equal(freeMagic('lo', new Set(['LO', 'LA'])), 'LB');
  assert.throws(() => freeMagic('aa', new Set([...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'].map((letter) => `A${letter}`))), /no two letters/);
});
