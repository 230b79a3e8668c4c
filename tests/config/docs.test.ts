// SPDX-License-Identifier: Apache-2.0
// The examples, the table of keys and docs/operators/configuration.md are held together in both directions; so are docs/operators/command.md and the
// command line. That the tables of both pages are up to date, tests/docs/docs.test.ts checks.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CommanderError } from 'commander';
import { parse } from 'smol-toml';
import { KNOBS, SETTABLE, TABLES } from '../../runtime/config/knobs.js';
import { loadConfig, parseConfig, renderError } from '../../runtime/config/load.js';
import { fullExample } from '../../runtime/config/show.js';
import type { Config } from '../../runtime/config/schema.js';
import { buildProgram } from '../../scripts/command/program.js';
import { leaves } from '../../scripts/docs/command-tables.js';
import { ROOT } from '../../scripts/lib/paths.js';

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const config = read('docs/operators/configuration.md');
const command = read('docs/operators/command.md');
function configOf(text: string): Config {
  const loaded = parseConfig(text);
  if ('errors' in loaded) throw new Error(loaded.errors.map(renderError).join('\n'));
  return loaded.config;
}

/** Dotted paths of every value of a document. */
function paths(value: unknown, at = ''): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [at];
  return Object.entries(value).flatMap(([key, one]) => paths(one, at === '' ? key : `${at}.${key}`));
}

test('vigil.full.example.toml is the table of keys, and resolves to the defaults', () => {
  const text = read('vigil.full.example.toml');
  const defaults = configOf('');
  assert.equal(text, fullExample(defaults), 'write it anew: vigil.full.example.toml is fullExample() of runtime/config/show.ts');
  const full = configOf(text);
  assert.deepEqual({ ...full.receivers.dcgm, groupsSet: [] }, defaults.receivers.dcgm);
  assert.deepEqual({ ...full, receivers: null }, { ...defaults, receivers: null });
  const wanted = [...Object.keys(KNOBS), ...SETTABLE.map(({ name }) => `receivers.dcgm.metric_field_groups.${name}`)];
  assert.deepEqual(paths(parse(text)).sort(), wanted.sort());
  for (const table of Object.keys(TABLES)) assert.ok(text.includes(`[${table}]`), table);
});

test('vigil.example.toml is short, and sets one thing', () => {
  assert.deepEqual(paths(parse(read('vigil.example.toml'))), ['receivers.dcgm.mode']);
  assert.ok('config' in loadConfig(join(ROOT, 'vigil.example.toml')));
});

test('configuration.md has each key once, and no other', () => {
  const table = config.slice(config.indexOf('<!-- table: configuration keys'), config.indexOf('<!-- end of table -->'));
  const named = [...table.matchAll(/^\| `([a-z_.A-Z]+)` \|/gm)].map((match) => match[1]!);
  assert.deepEqual(named, [...Object.keys(KNOBS), ...Object.keys(TABLES).map((path) => `${path}.NAME`)]);
  const elsewhere = [...config.matchAll(/`((?:source|receivers|exporters|attribution|guest)\.[a-z_.]+)(?: = [^`]*)?`/g)].map((match) => match[1]!);
  const known = (path: string): boolean => Object.hasOwn(KNOBS, path) || [...Object.keys(KNOBS), ...Object.keys(TABLES)].some((one) => one.startsWith(`${path}.`) || one === path);
  const rows = [...config.matchAll(/^\| `([^`]+) = /gm)].map((match) => match[1]!);
  for (const path of elsewhere.filter((one) => !rows.includes(one))) assert.ok(known(path) || path.includes('metric_field_groups.'), path);
});

test('every message of configuration.md is what the program says', () => {
  const rows = [...config.matchAll(/^\| `([^`]+)` \| `([^`]+)` \|$/gm)].filter(([, written]) => written!.includes(' = '));
  assert.ok(rows.length >= 19, `${rows.length} rows`);
  for (const [, written = '', said] of rows) {
    const loaded = parseConfig(`${written}\n`);
    assert.ok('errors' in loaded, written);
    assert.deepEqual(loaded.errors.map(renderError), [said], written);
  }
});

test('each command has its row of exit codes, and no other has', () => {
  const rows = [...command.matchAll(/^\| `([a-z ]+)` \| [^|]+ \| [^|]+ \|$/gm)].map((match) => match[1]!);
  assert.deepEqual(rows, leaves().map(({ name }) => name).sort());
});

test('command.md has each option of each command, and no other', () => {
  const sections = command.split(/^### vigil /m).slice(1);
  assert.deepEqual(sections.map((text) => text.split('\n')[0]), leaves().map(({ name }) => name));
  for (const [i, { name, command: one }] of leaves().entries()) {
    const named = [...sections[i]!.matchAll(/^\| `(-[^`]+)` \|/gm)].map((match) => match[1]!);
    assert.deepEqual(named, one.options.map(({ flags }) => flags), name);
  }
});

/** Every `vigil ...` that a text shows, without comments and what a shell does with its output. */
const shown = (text: string): string[] => [...text.matchAll(/(?:^|`| {2})vigil ([a-z][^`\n]*)/gm)].map((match) => match[1]!.replace(/\s+#.*$| [|>] .*$/g, '').trim());
const words = (line: string): string[] => [...line.matchAll(/'([^']*)'|(\S+)/g)].map((match) => match[1] ?? match[2]!);

async function parses(line: string): Promise<string | null> {
  const program = await buildProgram(() => undefined);
  program.configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
  try {
    await program.parseAsync(words(line), { from: 'user' });
    return null;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? null : error.message;
  }
}

test('every example in a help text, in the pages and at the top is a command line that is understood', async () => {
  const program = await buildProgram(() => undefined);
  let text = '';
  program.configureOutput({ writeOut: (part) => { text += part; } });
  program.outputHelp();
  for (const { command: one } of leaves()) {
    let help = '';
    one.configureOutput({ writeOut: (part) => { help += part; } });
    one.outputHelp();
    assert.match(help, /\nExamples:\n/, one.name());
    text += help;
  }
  const examples = [...text.matchAll(/\nExamples:\n((?: {2}vigil .*\n)+)/g)].flatMap((match) => shown(match[1]!));
  assert.ok(examples.length >= 20, `${examples.length} examples`);
  const pages = shown(command.slice(0, command.indexOf('## Options'))).concat(shown(config)).filter((line) => !/FILE|^subcommand/.test(line));
  for (const line of [...examples, ...pages]) assert.equal(await parses(line), null, `vigil ${line}`);
  assert.notEqual(await parses('validate --no-such-option'), null, 'this test can fail');
});
