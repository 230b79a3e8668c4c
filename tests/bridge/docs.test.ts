// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that the bridge's documents and its code name the same things, in both directions: states, statuses, sources, kinds,
// fleets, scenarios, options of the command. Limits: names, not sentences.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'smol-toml';
import { SOURCES } from '../../runtime/bridge/choose.js';
import { FLEETS } from '../../runtime/bridge/sources/fleets.js';
import { SCENARIOS } from '../../runtime/bridge/sources/scenarios.js';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const format = read('docs/format/bridge.md');
const table = parse(read('abi/bridge.toml')) as unknown as Record<'type' | 'status' | 'source' | 'sample_kind', { code: number; name: string; port?: string }[]>;

/** First cells of the rows of the table whose header begins with `first`. */
function firstCells(text: string, first: string): string[] {
  const lines = text.split('\n');
  const at = lines.findIndex((line) => line.startsWith(`| ${first} |`));
  assert.ok(at >= 0, `no table "${first}"`);
  const end = lines.findIndex((line, i) => i > at && !line.startsWith('|'));
  return lines.slice(at + 2, end).map((line) => line.split('|')[1]!.trim().replaceAll('`', ''));
}

test('the table of states has every state that the code names, and no other', () => {
  const named = new Set<string>(['starting', 'ready']);
  for (const folder of ['runtime/bridge/dcgm/', 'runtime/bridge/nvml/', 'runtime/bridge/library/']) {
    for (const file of readdirSync(new URL(folder, root))) {
      for (const [name] of read(folder + file).matchAll(/(?<=')(?:library|engine|no)_[a-z]+(?=')/g)) named.add(name);
    }
  }
  assert.deepEqual(firstCells(format, 'state').sort(), [...named].sort());
});

test('types, statuses, sources and kinds of the document are the table\'s', () => {
  for (const { code, name } of table.type.filter(({ port }) => port === 'dcgm')) assert.match(format, new RegExp(`^\\| ${code} \\| ${name} \\|`, 'm'), name);
  for (const { code, name } of table.status) assert.match(format, new RegExp(`\\| ${code} \\| ${name} \\|`), name);
  for (const { code, name } of table.source) assert.match(format, new RegExp(`\\b${code} ${name}\\b`), name);
  for (const { code, name } of table.sample_kind) assert.match(format, new RegExp(`\\b${code}\\s+${name}\\b`), name);
  assert.deepEqual(firstCells(format, 'name').sort(), [...SOURCES].sort());
  assert.deepEqual([...SOURCES].sort(), table.source.map(({ name }) => name).sort());
});

test('fleets and scenarios of the document are the code\'s', () => {
  const scenarios = read('docs/gpu/scenarios.md');
  assert.deepEqual(firstCells(scenarios, 'fleet'), Object.keys(FLEETS));
  assert.deepEqual(firstCells(scenarios, 'scenario'), Object.keys(SCENARIOS));
});

const cli = fileURLToPath(new URL('runtime/bridge/cli.ts', root));
const run = (...args: string[]) => spawnSync(process.execPath, ['--import', 'tsx', cli, ...args], { encoding: 'utf8', cwd: fileURLToPath(root), timeout: 30_000 });

test('the command: its options are in the document, wrong use is exit code 2, a refusal 1, a bad file 3', () => {
  for (const command of ['serve', 'record', 'sources']) {
    const help = run(command, '--help');
    assert.equal(help.status, 0);
    for (const [option] of help.stdout.matchAll(/(?<=^ {2})--[a-z-]+/gm)) if (option !== '--help') assert.ok(format.includes(option), `${command} ${option}`);
  }
  assert.equal(run('serve').status, 2);
  assert.equal(run('record', '--source', 'nonsense', '--output', '/dev/null').status, 2);
  assert.equal(run('record', '--source', 'replay', '--frames', '0', '--output', '/dev/null').status, 2);
  assert.equal(run('record', '--source', 'replay', '--hash-identities', '--output', '/dev/null').status, 2);
  assert.equal(run('record', '--source', 'stub', '--output', '/dev/null').status, 1);
  assert.equal(run('record', '--source', 'replay', '--fixture', '/nonexistent.json', '--output', '/dev/null').status, 3);
});
