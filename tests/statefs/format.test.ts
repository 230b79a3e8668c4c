// SPDX-License-Identifier: Apache-2.0
// docs/format/statefs.md, assembly/lib/statefs/format.ts, report.ts and the tests say the same: every constant both ways, every offset, and
// every row of the corruption table names tests that exist.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../scripts/lib/paths.js';
import { MemoryDisk, Engine, loadEngine, S, SECTOR } from './engine.js';
import { readSuper, records } from './image.js';

const page = readFileSync(join(ROOT, 'docs/format/statefs.md'), 'utf8');
const source = (name: string): string => readFileSync(join(ROOT, 'assembly/lib/statefs', name), 'utf8');
const sorted = (pairs: [string, bigint][]): [string, bigint][] => [...pairs].sort(([a], [b]) => (a < b ? -1 : 1));

/** Numeric constants of a source file by name. */
function constants(text: string, wanted: RegExp): [string, bigint][] {
  return [...text.matchAll(/^export const (\w+): \w+ = (0x[0-9a-f]+|\d+);/gm)]
    .filter(([, name]) => wanted.test(name!)).map(([, name, value]) => [name!, BigInt(value!)]);
}
/** Rows of the page's tables of the form `| NAME | number |`. */
function named(wanted: RegExp): [string, bigint][] {
  return [...page.matchAll(/^\| ([A-Z_]+) \| (0x[0-9a-f]+|\d+) \|/gm)]
    .filter(([, name]) => wanted.test(name!)).map(([, name, value]) => [name!, BigInt(value!)]);
}
/** Rows `| offset | bytes | NAME |`. */
function offsets(): { name: string; at: bigint; bytes: number }[] {
  return [...page.matchAll(/^\| (\d+) \| (\d+) \| ([A-Z_]+) \|/gm)].map(([, at, bytes, name]) => ({ name: name!, at: BigInt(at!), bytes: Number(bytes) }));
}

test('every constant of format.ts is on the page with its value, and the other way round', () => {
  const code = constants(source('format.ts'), /^(?!.*_AT_)/);
  assert.ok(code.length >= 16);
  assert.deepEqual(sorted(named(/^(?!BAD_)/)), sorted(code));
});

test('every offset of format.ts is on the page, and the fields follow each other without overlap', () => {
  const rows = offsets();
  assert.deepEqual(sorted(rows.map(({ name, at }) => [name, at])), sorted(constants(source('format.ts'), /_AT_/)));
  for (const prefix of ['SUPER_', 'RECORD_']) {
    const fields = rows.filter(({ name }) => name.startsWith(prefix));
    fields.forEach(({ at, bytes }, i) => { if (i + 1 < fields.length) assert.equal(at + BigInt(bytes), fields[i + 1]!.at); });
  }
});

test('every kind of end is on the page with its number, and the other way round', () => {
  assert.deepEqual(sorted(named(/^BAD_/)), sorted(constants(source('report.ts'), /^BAD_/)));
});

test('every row of the corruption table names tests that exist, and every corruption test has a row', () => {
  const tests = readdirSync(join(ROOT, 'tests/statefs')).filter((name) => name.endsWith('.test.ts') && name !== 'format.test.ts')
    .map((name) => readFileSync(join(ROOT, 'tests/statefs', name), 'utf8')).join('\n');
  const table = page.slice(page.indexOf('## Corruption table'));
  const rows = table.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| what'));
  assert.ok(rows.length >= 25);
  const cited: string[] = [];
  for (const row of rows) {
    const cell = row.split('|').at(-2)!;
    const names = [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name!);
    assert.ok(names.length > 0, row);
    cited.push(...names);
    for (const name of names) {
      const short = name.replace('corruption: ', '');
      assert.ok(tests.includes(`'${name}`) || tests.includes(`\`${name}`) || tests.includes(`what: '${short}`), `no test "${name}"`);
    }
  }
  const titles = [...tests.matchAll(/(?:test\(|what: )['`](?:corruption: )?([^'`$]+)/g)].map(([, title]) => title!).filter((title) => title !== 'corruption: ');
  const inTable = (title: string): boolean => cited.some((name) => title.startsWith(name.replace('corruption: ', '')));
  const corruption = readFileSync(join(ROOT, 'tests/statefs/corruption.test.ts'), 'utf8');
  const missing = titles.filter((title) => corruption.includes(title) && !inTable(title));
  assert.deepEqual(missing, []);
});

test('an image of the engine read by hand: superblock, groups on fresh sectors, an empty sector behind', async () => {
  const disk = new MemoryDisk(256);
  const engine = new Engine(await loadEngine(), disk);
  engine.open();
  for (const keys of [['/a', '/b'], ['/c']]) {
    for (const key of keys) engine.put(key, `${key}!`);
    assert.equal(engine.commit(), S.OK);
  }
  engine.del('/a');
  engine.commit();
  const list = records(disk.data);
  assert.deepEqual(list.map(({ key, value, op, flags, sequence, epoch }) => [key, value, op, flags, Number(sequence), epoch]), [
    ['/a', '/a!', 1, 2, 1, 1], ['/b', '/b!', 1, 4, 2, 1], ['/c', '/c!', 1, 6, 3, 1], ['/a', '', 2, 6, 4, 1],
  ]);
  for (const { at, place } of list) assert.equal(place * 8, at);
  assert.deepEqual(list.filter(({ flags }) => (flags & 2) !== 0).map(({ at }) => at / SECTOR), [16, 17, 18]);
  assert.ok(disk.data.subarray(19 * SECTOR, 20 * SECTOR).every((byte) => byte === 0));
  assert.equal(readSuper(disk.data, 0).regionSectors, 120);
});
