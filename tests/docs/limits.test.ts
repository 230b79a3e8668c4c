// SPDX-License-Identifier: Apache-2.0
// Every key of abi/limits.toml is read: by the constant's name in shipped source (more than its import), by `limit(...)` in a
// script, or by a test that holds it to the source. A key that nothing reads would promise a bound that nobody keeps.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadAbi } from '../../scripts/lib/abi.js';
import { ROOT } from '../../scripts/lib/paths.js';

const FOLDERS = ['assembly', 'boot', 'runtime', 'scripts', 'tests'];
/** Generated from the table, so it holds every key. */
const GENERATED = /^assembly\/gen\//;
const SOURCE = /\.(ts|c|h|S)$/;

/** The source without its comments, lists of imports and whole-line comments; what remains uses what it names. */
const used = (source: string): string =>
  source.replaceAll(/^import\b[^;]*;/gm, '').replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/^\s*(?:\/\/|\*).*$/gm, '');

const sources = FOLDERS.flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((name) => `${folder}/${name}`)
    .filter((path) => SOURCE.test(path) && !GENERATED.test(path)));
const text = sources.map((path) => used(readFileSync(join(ROOT, path), 'utf8'))).join('\n');
const words = new Set(text.match(/\w+/g));
const calls = new Set([...text.matchAll(/limit\([^()]*'(\w+)',\s*'(\w+)'\)/g)].map(([, section, key]) => `${section}.${key}`));

/** Whether something reads the key. */
const isRead = (section: string, key: string): boolean =>
  words.has(`${section}_${key}`.toUpperCase()) || calls.has(`${section}.${key}`);

test('every key of abi/limits.toml is read somewhere', () => {
  const unread = [...loadAbi().limits].flatMap(([section, keys]) =>
    [...keys.keys()].filter((key) => !isRead(section, key)).map((key) => `${section}.${key}`));
  assert.deepEqual(unread, []);
});

test('a key that nothing reads is told from one that is', () => {
  assert.ok(isRead('logd', 'records_max'));
  assert.equal(isRead('logd', ['records', 'min'].join('_')), false);
});
