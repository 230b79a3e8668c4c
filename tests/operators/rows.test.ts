// SPDX-License-Identifier: Apache-2.0
// Holds docs/gpu/seed-rows.md to this checkout: rows 1 to 96 and 57b once each and in order, a state of the three, evidence in every row,
// every test that is named exists, every link leads to a page and a heading. Limits: whether a test proves its row is for people to judge.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../scripts/lib/paths.js';
import { anchors, links } from './headings.js';
import { read } from './pages.js';

const PAGE = 'docs/gpu/seed-rows.md';
const ROWS_MAX = 96;
const TEST = /`(tests\/[\w/.-]+\.test\.ts)` "([^"]+)"/g;
const LINK = /\[[^\]]+\]\([^)]+\)/g;

interface Row { readonly row: string; readonly promise: string; readonly state: string; readonly evidence: string }

/** Rows of the tables whose first column is `first`. */
function rowsOf(text: string, first: string): Row[] {
  const tables = text.split(/\n\n+/).filter((block) => block.startsWith(`| ${first} |`));
  return tables.flatMap((block) => block.trimEnd().split('\n').slice(2)).map((line) => {
    const cells = line.split('|').slice(1, -1).map((cell) => cell.trim());
    assert.equal(cells.length, first === 'row' ? 4 : 3, `cells of: ${line}`);
    const [row, promise, state, evidence] = first === 'row' ? cells : ['', ...cells];
    return { row: row!, promise: promise!, state: state!, evidence: evidence! };
  });
}

/** Titles of the tests of a file, as they stand in it. */
const titlesOf = (text: string): string[] =>
  [...text.matchAll(/\btest(?:\.\w+)?\(\s*(['"`])((?:\\.|(?!\1).)*)\1/gs)].map(([, , title]) => title!.replaceAll(/\\(['"`])/g, '$1'));

/** What is wrong with the evidence of a row; '' when nothing is. */
function faultOf(evidence: string): string {
  if (evidence.replaceAll(TEST, '').replaceAll(LINK, '').replaceAll(/\brow \d+\b/g, '').replaceAll(/[;,\s]/g, '') !== '') {
    return 'something that is neither a test, a link nor a row';
  }
  if (evidence === '') return 'no evidence';
  for (const [, file, title] of evidence.matchAll(TEST)) {
    if (!existsSync(join(ROOT, file!))) return `no file ${file}`;
    if (!titlesOf(read(file!)).some((each) => each.includes(title!))) return `${file}: no test "${title}"`;
  }
  for (const target of links(evidence)) {
    const [path, anchor] = target.split('#');
    const page = join(dirname(PAGE), path!);
    if (!existsSync(join(ROOT, page))) return `no page ${target}`;
    if (anchor !== undefined && !anchors(read(page)).has(anchor)) return `no heading ${target}`;
  }
  return '';
}

const text = read(PAGE);

test('rows 1 to 96 and 57b, once each and in order', () => {
  const wanted = Array.from({ length: ROWS_MAX }, (_, i) => (i + 1 === 57 ? ['57', '57b'] : [String(i + 1)])).flat();
  assert.deepEqual(rowsOf(text, 'row').map(({ row }) => row), wanted);
});

test('every row has a state of the three; what is not done or is built otherwise has its reason', () => {
  const all = [...rowsOf(text, 'row'), ...rowsOf(text, 'item')];
  assert.ok(all.length > ROWS_MAX + 20);
  for (const { row, promise, state } of all) {
    assert.match(state, /^(done\b|other\b.*: .|not: .)/, `${row} ${promise}`);
  }
});

test('every row names a test, a page or a row that is there', () => {
  const all = [...rowsOf(text, 'row'), ...rowsOf(text, 'item'), ...rowsOf(text, 'the contract says')];
  assert.deepEqual(all.flatMap(({ row, promise, evidence }) => {
    const fault = faultOf(evidence);
    return fault === '' ? [] : [`${row} ${promise}: ${fault}`];
  }), []);
});

test('a row that is done has a test, unless it asks for a document', () => {
  const papers = new Set(['13', '88', '91', '96']);
  for (const { row, state, evidence } of rowsOf(text, 'row')) {
    if (state.startsWith('done') && !papers.has(row)) assert.notEqual([...evidence.matchAll(TEST)].length, 0, row);
  }
});

test('the four places where the seed is wrong', () => {
  assert.equal(rowsOf(text, 'the contract says').length, 4);
});

test('evidence that is not there is seen', () => {
  const file = 'tests/operators/rows.test.ts';
  assert.equal(faultOf(`\`${file}\` "evidence that is not there is seen"`), '');
  assert.match(faultOf(`\`${file}\` "no such ${'title'}"`), /no test/);
  assert.match(faultOf('`tests/operators/none.test.ts` "x"'), /no file/);
  assert.match(faultOf('[a](none.md)'), /no page/);
  assert.match(faultOf('[a](tried.md#none)'), /no heading/);
  assert.match(faultOf('surely'), /neither/);
  assert.match(faultOf(''), /no evidence/);
});
