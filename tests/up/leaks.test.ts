// SPDX-License-Identifier: Apache-2.0
// Starting and stopping a machine leaves nothing in the process that did it: no descriptor, no child, no listener, no folder.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { childrenOf, skip, startUnderTest, until } from './machine-under-test.js';

const ROUNDS = 5;

const descriptors = (): number => readdirSync('/proc/self/fd').length;
const folders = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith(`vigil-${process.pid}-`));

test(`${ROUNDS} starts and stops leave no descriptor, process, listener or folder`, { skip, timeout: 180_000 }, async () => {
  const counts: number[] = [];
  const children = childrenOf(); // tsx has one of its own
  for (let round = 0; round < ROUNDS; round++) {
    const up = await startUnderTest();
    await up.event('up');
    assert.equal((await up.page('-/healthy')).status, 200);
    if (round === 0) assert.ok(childrenOf().length > children.length, 'there is something to leave behind');
    const { url } = up.machine.exporter;
    await up.stop();
    await up.stop();
    await assert.rejects(fetch(url), 'nobody listens');
    assert.deepEqual(await until('the children', () => (childrenOf().length <= children.length ? childrenOf() : null), 2_000), children);
    assert.deepEqual(folders(), []);
    counts.push(descriptors());
  }
  // The first round may leave what Node opens once and keeps (resolvers, fetch's pool); after it nothing may grow.
  assert.ok(counts.at(-1)! <= counts[1]!, `descriptors after each round: ${counts.join(' ')}`);
});

test('a start that fails leaves nothing either', { skip, timeout: 60_000 }, async () => {
  const before = [descriptors(), childrenOf().length];
  const up = startUnderTest({ more: '[attribution.hpc]\njob_mapping_dir = ""\n[exporters.otlp]\nendpoint = "http://localhost:4318"\nheaders = { "bad name" = "x" }' });
  await assert.rejects(up, /header/);
  assert.deepEqual([descriptors(), childrenOf().length], before);
  assert.deepEqual(folders(), []);
});
