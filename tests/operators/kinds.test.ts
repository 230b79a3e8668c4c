// SPDX-License-Identifier: Apache-2.0
// Error kinds, sample statuses and sentinels: table, code and pages name the same ones, in both directions.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'smol-toml';
import { knownCodes, returnOf } from '../../runtime/bridge/dcgm/returns.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { anchors, firstCells, section } from './headings.js';
import { read } from './pages.js';

interface Kind { code: number; name: string; degraded: boolean; brief: string }
const { receiver_kind: kinds, status: statuses } = parse(read('abi/bridge.toml')) as unknown as { receiver_kind: Kind[]; status: { name: string }[] };
const names = kinds.map(({ name }) => name);
const errors = read('docs/operators/errors.md');
const runbook = read('docs/operators/RUNBOOK.md');
const RECEIVER = 'assembly/services/dcgmd';
const receiver = readdirSync(join(ROOT, RECEIVER)).filter((file) => file.endsWith('.ts')).map((file) => [file, read(`${RECEIVER}/${file}`)] as const);

/** `### NAME` headings inside a section. */
const headings = (text: string, level: string): string[] => [...text.matchAll(new RegExp(`^${level} (.+)$`, 'gm'))].map(([, name]) => name!);

test('the nine kinds of the seed are the table\'s', () => {
  assert.deepEqual(names, ['init', 'connect', 'watch', 'mig', 'enumerate', 'read', 'cardinality', 'downstream', 'panic']);
});

test('errors.md has each kind once, says whether it degrades as the table does, and what happened, what is seen, what to do', () => {
  const rows = [...errors.matchAll(/^\| \[`(\w+)`\]\(#\w+\) \| (yes|no) \|$/gm)].map(([, name, degraded]) => ({ name: name!, degraded: degraded === 'yes' }));
  assert.deepEqual(rows, kinds.map(({ name, degraded }) => ({ name, degraded })));
  assert.deepEqual(headings(errors, '##').slice(0, kinds.length), names);
  for (const name of names) {
    const text = section(errors, name);
    for (const part of ['**What happened.**', '**What you see.**', '**What to do.**']) assert.ok(text.includes(part), `${name}: ${part}`);
  }
});

test('the runbook has each kind, and no other', () => {
  assert.deepEqual(headings(section(runbook, 'By error kind'), '###'), names);
  for (const name of names) assert.ok(anchors(runbook).has(name), name);
});

test('the receiver names kinds in one file alone, and counts failures by constants', () => {
  const named = new RegExp(`"(?:${names.join('|')})"`);
  for (const [file, text] of receiver) {
    if (file !== 'kinds.ts') assert.doesNotMatch(text.replaceAll(/^import .*$/gm, ''), named, `${RECEIVER}/${file} names a kind`);
    for (const [call, first] of text.matchAll(/(?<!function )\b(?:countFailure|degrade)\(\s*([^,)]+)/g)) {
      assert.doesNotMatch(first!, /^["'`\d]/, `${RECEIVER}/${file}: ${call}`);
    }
  }
  const said = /export function kindName[\s\S]*?^}/m.exec(read(`${RECEIVER}/kinds.ts`))![0];
  const inCode = [...said.matchAll(/"(\w+)"/g)].map(([, name]) => name!).filter((name) => name !== 'none');
  assert.deepEqual(inCode, names);
});

test('every kind of the table is counted somewhere, and every constant that is counted is in the table', () => {
  const text = receiver.filter(([file]) => file !== 'kinds.ts').map(([, body]) => body).join('\n').replaceAll(/^import[\s\S]*?;$/gm, '');
  const used = new Set([...text.matchAll(/\bDG_KIND_(\w+)\b/g)].map(([, name]) => name!.toLowerCase()));
  used.delete('none');
  assert.deepEqual([...used].sort(), [...names].sort());
});

test('sample statuses of errors.md are those that the receiver counts', () => {
  const outcomes = /function outcomeName[\s\S]*?^}/m.exec(read(`${RECEIVER}/self.ts`))![0];
  assert.deepEqual(firstCells(section(errors, 'Sentinels').split('What becomes of a sample')[1]!, 'status'), [...outcomes.matchAll(/"(\w+)"/g)].map(([, name]) => name!));
});

test('the eight sentinels and their codes are the bridge\'s', () => {
  const eight = statuses.map(({ name }) => name).filter((name) => !['ok', 'bad_request', 'unsupported', 'over_limit'].includes(name));
  const rows = [...section(errors, 'Sentinels').matchAll(/^\| `(\w+)` \| (-[-\d, ]+) \|/gm)].map(([, name, codes]) => ({ name: name!, codes: codes!.split(', ').map(Number) }));
  assert.deepEqual(rows.map(({ name }) => name), eight);
  for (const { name, codes } of rows) {
    for (const code of codes) {
      assert.ok(knownCodes().includes(code), `${code}`);
      assert.equal(returnOf(code).status, name, `${code}`);
    }
  }
});
