// SPDX-License-Identifier: Apache-2.0
// How a soak is judged: each rule on both sides of its edge, reports, and the words of STATS under the numbers of the wire tables.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../scripts/lib/paths.js';
import {
  LOGD, METRICSD, METRICSD_REJECTS, STATEFSD, canaryFault, judgeRow, readReports, rowsOf, soakTable, type Rule, type SoakLimits,
} from '../../scripts/soak/rows.js';

const reports = (...values: (number | undefined)[]): ReadonlyMap<string, number>[] =>
  values.map((value) => new Map(value === undefined ? [] : [['k', value]]));
const verdict = (rule: Rule, ...values: (number | undefined)[]): string | null =>
  judgeRow({ key: 'k', what: 'w', rule }, reports(...values)).broken;

test('most: the limit holds, one more does not, whichever report has it', () => {
  assert.equal(verdict({ kind: 'most', limit: 5 }, 1, 5, 2), null);
  assert.equal(verdict({ kind: 'most', limit: 5 }, 1, 6, 2), 'above 5');
});

test('none: not once, even if it is 0 again at the end', () => {
  assert.equal(verdict({ kind: 'none' }, 0, 0), null);
  assert.equal(verdict({ kind: 'none' }, 1, 0), 'not 0');
});

test('some: a soak that drove nothing proves nothing', () => {
  assert.equal(verdict({ kind: 'some' }, 0, 1), null);
  assert.equal(verdict({ kind: 'some' }, 0, 0), 'nothing happened');
});

test('steady: the end against the first report', () => {
  assert.equal(verdict({ kind: 'steady', limit: 0 }, 7, 9, 7), null);
  assert.equal(verdict({ kind: 'steady', limit: 0 }, 7, 7, 6), 'was 7 at the first report');
  assert.equal(verdict({ kind: 'steady', limit: 1 }, 7, 7, 6), null);
});

test('is: always that value', () => {
  assert.equal(verdict({ kind: 'is', value: 2 }, 2, 2), null);
  assert.equal(verdict({ kind: 'is', value: 2 }, 2, 1, 2), 'not always 2');
  assert.equal(verdict({ kind: 'is', value: 2 }, 2, 3), 'not always 2');
});

test('same: as much as the other figure, in each report; a missing other one is no equal', () => {
  const row = { key: 'k', what: 'w', rule: { kind: 'same', as: 'other', says: 'x' } as const };
  const judge = (...pairs: [number, number | undefined][]): string | null =>
    judgeRow(row, pairs.map(([k, other]) => new Map([['k', k], ...(other === undefined ? [] : [['other', other] as const])]))).broken;
  assert.equal(judge([0, 0], [5, 5]), null);
  assert.equal(judge([0, 1], [5, 5]), 'not as many as other');
  assert.equal(judge([5, 6]), 'not as many as other');
  assert.equal(judge([5, undefined]), 'not as many as other');
});

test('a turn of the retention log: dropped segments are asked for once it is over, and refused before', () => {
  const rule = (intervals: number): string =>
    rowsOf({ ...new Proxy({}, { get: () => 10 }) as SoakLimits, retentionRecords: 512, intervals })
      .find(({ what }) => what === 'retention: segments dropped')!.rule.kind;
  assert.deepEqual([rule(512), rule(522), rule(523)], ['none', 'none', 'some']);
});

test('a canary is red by the row that it names alone', () => {
  const judged = [{ kind: 'most', limit: 5 }, { kind: 'none' }].map((rule, n) =>
    judgeRow({ key: 'k', what: `row ${n}`, rule: rule as Rule }, reports(1)));
  assert.equal(canaryFault(judged, 'row 1'), null);
  assert.equal(canaryFault(judged, 'row 0'), '"row 0" held');
  assert.equal(canaryFault(judged, 'row 2'), 'there is no row "row 2"');
});

test('a figure that was not printed breaks its row under every rule', () => {
  for (const rule of [{ kind: 'most', limit: 5 }, { kind: 'none' }, { kind: 'some' }, { kind: 'steady', limit: 0 }, { kind: 'is', value: 0 },
    { kind: 'same', as: 'k', says: 'itself' }] as const) {
    assert.equal(verdict(rule, 0, undefined), 'not printed');
    assert.equal(verdict(rule), 'not printed');
  }
});

const P = 'SELFTEST: soak ';

test('reports begin at `second`; packed words are taken apart; what is malformed, repeated or out of place is an error', () => {
  const lines = [`${P}second=600`, `${P}free_frames=9`, `${P}logd.3=${(74_708n << 32n) | 512n}`, 'another: line', `${P}second=1200`, `${P}free_frames=8`];
  const read = readReports(lines, P);
  assert.deepEqual(read.map((one) => one.get('free_frames')), [9, 8]);
  const derived = readReports([`${P}second=1`, `${P}free_frames_least=7`, `${P}free_frames_at_start=9`, `${P}logd.0=600`, `${P}logd.3=512`], P)[0]!;
  assert.deepEqual([derived.get('frames_taken'), derived.get('logd.past')], [2, 88]);
  assert.deepEqual([read[0]!.get('logd.records_used'), read[0]!.get('logd.bytes_used')], [512, 74_708]);
  for (const bad of [[`${P}free_frames=1`], [`${P}second=1`, `${P}x=1`, `${P}x=2`], [`${P}second=`], [`${P}second=1`, `${P}Bad=1`], [`${P}second=-1`]]) {
    assert.throws(() => readReports(bad, P), /the guest printed/, bad.join(' | '));
  }
});

test('the words are those of the wire tables', () => {
  const constants = (file: string, prefix: string): Map<string, number> =>
    new Map([...readFileSync(join(ROOT, 'assembly/lib/wire', file), 'utf8').matchAll(new RegExp(`export const ${prefix}(\\w+): u32 = (\\d+);`, 'g'))]
      .map((match) => [match[1]!, Number(match[2])]));
  const upper = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
  const statefsd = constants('statefsd.ts', 'SF_STATS_');
  for (const [name, word] of Object.entries(STATEFSD)) assert.equal(word, statefsd.get(upper(name)), name);
  const metricsd = constants('metricsd.ts', 'MT_STAT_');
  for (const [name, word] of Object.entries(METRICSD)) assert.equal(word, metricsd.get(upper(name)), name);
  const statuses = new Map([...readFileSync(join(ROOT, 'assembly/lib/wire/metricsd.ts'), 'utf8').matchAll(/export const MT_(\w+): u8 = (\d+);/g)]
    .map((match) => [match[1]!, Number(match[2])]));
  for (const [name, word] of Object.entries(METRICSD_REJECTS)) assert.equal(word, statuses.get(name.toUpperCase()), name);
  const fields = [...readFileSync(join(ROOT, 'assembly/lib/wire/logd.ts'), 'utf8').split('class LogStats {')[1]!.split('static')[0]!
    .matchAll(/^ {2}(\w+): (u32|u64);/gm)];
  let at = 0;
  const words = new Map(fields.map((match) => {
    const entry = [match[1]!, at >> 3] as const;
    at += match[2] === 'u64' ? 8 : 4;
    return entry;
  }));
  for (const [name, word] of Object.entries(LOGD)) assert.equal(word, words.get(name === 'used' ? 'recordsUsed' : name), name);
});

test('every row names one figure of its own, and the table shows what is broken', () => {
  const limits = new Proxy({}, { get: () => 10 }) as SoakLimits;
  const rows = rowsOf(limits);
  assert.equal(new Set(rows.map(({ key }) => key)).size, rows.length);
  const table = soakTable(rows.map((row) => judgeRow(row, [new Map([[row.key, 11]])])));
  assert.equal(table.length, rows.length + 1);
  assert.ok(table.every((line, n) => n === 0 || line.includes('BROKEN') || /steady|above 0/.test(line)));
  assert.ok(table.some((line) => line.endsWith('BROKEN: above 10')) && table.some((line) => line.endsWith('BROKEN: not 0')));
});
