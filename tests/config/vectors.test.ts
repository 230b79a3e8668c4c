// SPDX-License-Identifier: Apache-2.0
// tests/vectors/receiver-config.json against the host: what an operator writes is refused by the paths that the vector names, and what is
// accepted reaches the guest as the vector's lines. The guest's own test runs the same file.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseConfig } from '../../runtime/config/load.js';
import { receiverLines } from '../../runtime/config/receiver.js';
import { ROOT } from '../../scripts/lib/paths.js';

interface Case { name: string; toml: string; lines: string; faults: string[] }
const { cases } = JSON.parse(readFileSync(join(ROOT, 'tests/vectors/receiver-config.json'), 'utf8')) as { cases: Case[] };

for (const { name, toml, lines, faults } of cases) {
  test(`the host: ${name}`, () => {
    const loaded = parseConfig(toml);
    assert.deepEqual('errors' in loaded ? loaded.errors.map(({ path }) => path) : [], faults);
    if ('errors' in loaded) return;
    const sent = receiverLines(loaded.config).split('\n');
    const wanted = lines.split('\n').filter((line) => line !== '');
    // embedded mode sends no endpoint: nobody would read it
    for (const line of wanted.filter((one) => !(one.startsWith('endpoint=') && loaded.config.receivers.dcgm.mode === 'embedded'))) {
      assert.ok(sent.includes(line), `${line} is not among the lines`);
    }
  });
}
