// SPDX-License-Identifier: Apache-2.0
// One build at a time, whatever an earlier one left behind: locks of the dead, empty and damaged locks, and records of the cache.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { sweepPrivate } from '../../scripts/gate/private-image.js';
import { loadRecord } from '../../scripts/lib/cache.js';
import { withLock } from '../../scripts/lib/lock.js';

const NOBODY = 999_999_999;

function folder(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'vg-'));
  context.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

for (const [what, text] of [['a dead process', String(NOBODY)], ['nobody', ''], ['no number', 'abc'], ['a group', '-1']] as const) {
  test(`a lock that names ${what} is taken over without waiting, and nothing stays behind`, async (context) => {
    const at = folder(context);
    writeFileSync(join(at, 'lock'), text);
    const waited: number[] = [];
    assert.equal(await withLock(join(at, 'lock'), (pid) => waited.push(pid), async () => 7), 7);
    assert.deepEqual([waited, readdirSync(at)], [[], []]);
  });
}

test('of several who find the lock of the dead, one works at a time', async (context) => {
  const at = folder(context);
  writeFileSync(join(at, 'lock'), String(NOBODY));
  let inside = 0;
  let most = 0;
  const work = async (): Promise<void> => {
    most = Math.max(most, ++inside);
    await new Promise((resolve) => setTimeout(resolve, 5));
    inside--;
  };
  await Promise.all(Array.from({ length: 4 }, () => withLock(join(at, 'lock'), () => undefined, work)));
  assert.deepEqual([most, readdirSync(at)], [1, []]);
});

test('a folder in the place of the lock is refused, not waited for', async (context) => {
  const at = folder(context);
  mkdirSync(join(at, 'lock'));
  const taking = withLock(join(at, 'lock'), () => undefined, async () => 0);
  await assert.rejects(taking, { exitCode: 3, message: /no lock file \(EISDIR\); remove it/ });
});

const RECORD = { key: 'k', inputs: {}, outputs: { out: 'hash' }, facts: {} };
for (const [what, damage] of [
  ['no inputs', { inputs: null }], ['no outputs', { outputs: null }], ['empty outputs', { outputs: {} }], ['no facts', { facts: null }],
] as const) {
  test(`a cache record with ${what} counts as none`, (context) => {
    const at = folder(context);
    mkdirSync(join(at, 'build/cache'), { recursive: true });
    const write = (record: object): void => writeFileSync(join(at, 'build/cache/step.json'), JSON.stringify(record));
    write(RECORD);
    assert.deepEqual(loadRecord(at, 'step'), RECORD);
    write({ ...RECORD, ...damage });
    assert.equal(loadRecord(at, 'step'), null);
  });
}

test('private folders of killed runs are swept; those of the living, young ones and strangers stay', (context) => {
  const at = folder(context);
  const old = new Date(Date.now() - 3_600_000);
  const make = (name: string, aged: boolean): string => {
    mkdirSync(join(at, name, 'inner'), { recursive: true });
    if (aged) utimesSync(join(at, name), old, old);
    return name;
  };
  const gone = make(`vigil-${NOBODY}-a`, true);
  const kept = [make(`vigil-${process.pid}-b`, true), make(`vigil-${NOBODY}-c`, false), make('vigil-new-d', true), make('other', true)];
  sweepPrivate(at);
  assert.equal(existsSync(join(at, gone)), false);
  assert.deepEqual(readdirSync(at).sort(), kept.sort());
});
