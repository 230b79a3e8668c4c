// SPDX-License-Identifier: Apache-2.0
// The file by which a running machine is found: whole or not at all, its owner's alone, stale when the process is gone or another has its pid.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadConfig } from '../../runtime/config/load.js';
import { RunFileTaken, readRunFile, removeRunFile, runFileOf, writeRunFile, type Run } from '../../runtime/up/run-file.js';
import { folderOf } from './run.js';

const RUN: Run = {
  pid: process.pid, control: '/tmp/c.sock', metricsUrl: 'http://127.0.0.1:9400/metrics', startedUtc: '2026-11-22T00:00:00Z', transcript: '', source: 'replay', restarts: 0,
};

test('what was written is read back, by its owner alone, and nothing else is left in the folder', (context) => {
  const path = join(folderOf(context), 'deep', 'run.json');
  writeRunFile(path, RUN);
  assert.deepEqual(readRunFile(path), { state: 'running', run: RUN });
  assert.equal(statSync(path).mode & 0o777, 0o600);
  writeRunFile(path, { ...RUN, restarts: 1 });
  const found = readRunFile(path);
  assert.ok(found.state === 'running' && found.run.restarts === 1, 'the same process may write again');
  assert.deepEqual(readdirSync(join(path, '..')), ['run.json']);
  removeRunFile(path, process.pid);
  assert.equal(existsSync(path), false);
});

test('a process that has ended, or whose pid is another\'s by now, is stale; its file is replaced', (context) => {
  const path = join(folderOf(context), 'run.json');
  const { pid } = spawnSync(process.execPath, ['-e', '0']);
  writeRunFile(path, { ...RUN, pid: pid! });
  assert.equal(readRunFile(path).state, 'stale');
  const other = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  writeFileSync(path, JSON.stringify({ ...other, pid: process.pid, startTicks: '1' }));
  const found = readRunFile(path);
  assert.ok(found.state === 'stale' && /has ended/.test(found.why), JSON.stringify(found));
  writeRunFile(path, RUN);
  assert.equal(readRunFile(path).state, 'running');
});

test('a living machine\'s file is not replaced, nor removed by another', (context) => {
  const path = join(folderOf(context), 'run.json');
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)']);
  context.after(() => child.kill('SIGKILL'));
  writeRunFile(path, { ...RUN, pid: child.pid! });
  assert.throws(() => { writeRunFile(path, RUN); }, RunFileTaken);
  removeRunFile(path, process.pid);
  assert.equal(readRunFile(path).state, 'running');
});

test('no file, a folder, and files of others: named, never taken for a machine', (context) => {
  const folder = folderOf(context);
  const path = join(folder, 'run.json');
  assert.equal(readRunFile(path).state, 'none');
  for (const text of ['', '{', '[]', '{"version": 2}', JSON.stringify({ version: 1, ...RUN, pid: -1, startTicks: '' }), JSON.stringify({ version: 1, ...RUN, pid: 'x', startTicks: '' })]) {
    writeFileSync(path, text);
    assert.equal(readRunFile(path).state, 'bad', text);
  }
  writeFileSync(path, ' '.repeat(70_000));
  assert.equal(readRunFile(path).state, 'bad', 'too long');
  mkdirSync(join(folder, 'd'));
  assert.equal(readRunFile(join(folder, 'd')).state, 'bad');
});

test('where it lies: beside the disk of the configuration, or of VIGIL_STATE', () => {
  const loaded = loadConfig(undefined);
  assert.ok('config' in loaded);
  assert.match(runFileOf(loaded.config, {}), /\/\.vigil\/run\.json$/);
  assert.equal(runFileOf(loaded.config, { VIGIL_STATE: '/srv/v/state.img' }), '/srv/v/run.json');
  // Two disks in one folder are two machines.
  assert.equal(runFileOf(loaded.config, { VIGIL_STATE: '/srv/v/b.img' }), '/srv/v/b.img.run.json');
});
