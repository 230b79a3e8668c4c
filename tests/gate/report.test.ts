// SPDX-License-Identifier: Apache-2.0
// What people and CI read: the red report, annotations, the summary, junit.xml, stop conditions, transcripts. (The bench table: tests/bench.)
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { stepCode } from '../../scripts/gate/bisect-step.js';
import { pruneRuns } from '../../scripts/gate/evidence.js';
import { junitXml } from '../../scripts/gate/junit.js';
import { readLadder } from '../../scripts/gate/ladder.js';
import { pool } from '../../scripts/gate/pool.js';
import { githubError, quote, redReport, stepSummary } from '../../scripts/gate/report.js';
import { parseTimeout, readStop } from '../../scripts/gate/stop.js';
import { digestOf, firstDifference, normalise } from '../../scripts/gate/transcript.js';
import { NONCE, consoleOf, haltLine, judge } from './transcript.js';

const ladder = readLadder('proof', 'modern');
const good = ladder.markers.map((marker) => marker.text);
const MIDDLE = Math.floor(good.length / 2);
const how = { transport: 'modern', profile: 'proof', nonce: NONCE, mutant: null, recipe: null, good: null } as const;

test('the red report names phase, line due, line that came, neighbours on both sides, and three commands', () => {
  const { matcher } = judge(ladder, consoleOf(good.with(MIDDLE, 'SELFTEST: \x1b[31mFAIL it')));
  const report = redReport('modern', ladder, matcher, matcher.failure!, { ...how, mutant: 'some_mutant', good: 'abc123' }, 'build/logs/x');
  const all = report.join('\n');
  assert.match(report[0]!, new RegExp(`^RED modern: phase ${ladder.markers[MIDDLE]!.phase}: `));
  assert.ok(all.includes(`due:      ${good[MIDDLE]} (${MIDDLE + 1}/${good.length}`));
  assert.ok(all.includes(`came:     SELFTEST: \\x1b[31mFAIL it (uart.log:${MIDDLE + 1})`));
  for (const offset of [-3, -2, -1]) assert.ok(all.includes(`before:   ${good[MIDDLE + offset]}`));
  assert.ok(all.includes(`then due: ${good[MIDDLE + 1]}`));
  assert.ok(all.includes(`after it: ${good[MIDDLE + 1]}`));
  assert.ok(all.includes(`just test-os modern --mutant some_mutant --nonce ${NONCE}`));
  assert.ok(all.includes(`just gdb modern --mutant some_mutant --nonce ${NONCE}`));
  assert.ok(all.includes(`just bisect abc123 HEAD ${quote(good[MIDDLE]!)}`));
});

test('junit.xml: passed, one failure, the rest skipped; control characters never break the XML', () => {
  const { matcher } = judge(ladder, consoleOf(good.with(MIDDLE, 'SELFTEST: \x01FAIL <&"')));
  const xml = junitXml('modern', ladder, matcher, { title: 'it \x01 <&"', body: 'body ]]> \x02' });
  const counts = `tests="${good.length + 1}" failures="1" errors="0" skipped="${good.length - MIDDLE}"`;
  assert.match(xml, new RegExp(`^<\\?xml[^>]*\\?>\\s*<testsuites ${counts}`));
  assert.doesNotMatch(xml, /[\x00-\x08\x0b\x0c\x0e-\x1f]/);
  assert.equal(xml.match(/<testcase /g)!.length, good.length + 1);
});

test('a failure at the halt line is the failure of the halt case', () => {
  const { matcher } = judge(ladder, consoleOf(good, haltLine(good).replace(/lines=\d+/, 'lines=1')));
  const xml = junitXml('modern', ladder, matcher, { title: 'count', body: 'b' });
  assert.match(xml, /<testcase classname="modern\.halt" name="halt line">\s*<failure/);
});

test('annotations and the summary escape what their readers treat specially', () => {
  assert.equal(githubError('a,b:c', '50%\nx', 'm.toml'), '::error file=m.toml,title=a%2Cb%3Ac::50%25%0Ax');
  const { matcher } = judge(ladder, consoleOf(good.slice(0, 3), null));
  const summary = stepSummary('modern', 'FAIL', ['RED `x`'], ladder, matcher);
  assert.match(summary, /\| bring-up \| 3\/\d+ \|/);
  assert.match(summary, /```text\nRED 'x'\n```/);
});

test('quoting survives a shell', () => {
  assert.equal(quote('init: ready'), "'init: ready'");
  assert.equal(quote("it's"), "'it'\\''s'");
  assert.equal(quote('plain-word_1.x'), "plain-word_1.x");
});

test('stop conditions: units, defaults, the earlier of two, and what can never be met', () => {
  assert.deepEqual([parseTimeout('60s'), parseTimeout('2m'), parseTimeout('500ms'), parseTimeout('190s')], [60_000, 120_000, 500, 190_000]);
  for (const bad of ['60', '0s', '-1s', '1h', '61m', 's', '1.5s', '']) assert.throws(() => parseTimeout(bad), { exitCode: 2 });
  const plain = readStop({}, ladder);
  assert.deepEqual([plain.timeoutMs, plain.atIndex], [60_000, null]);
  assert.equal(readStop({ RUN_UNTIL_MARKER: '1' }, ladder).atIndex, null);
  const until = good.findIndex((text) => text === 'init: ready');
  assert.equal(readStop({ RUN_UNTIL_MARKER: 'init: ready', RUN_PHASE: 'gpu' }, ladder).atIndex, until);
  assert.equal(readStop({ RUN_UNTIL_MARKER: 'SELFTEST: end' }, ladder).atIndex, good.length - 1);
  assert.equal(readStop({ RUN_PHASE: 'end' }, ladder).atIndex, null);
  const near = { exitCode: 2, message: /did you mean "init: ready"/ };
  assert.throws(() => readStop({ RUN_UNTIL_MARKER: 'Init ready' }, ladder), near);
  const lacks = { exitCode: 2, message: /no phase of the invalid-only/ };
  assert.throws(() => readStop({ RUN_PHASE: 'gpu' }, readLadder('invalid-only', 'modern')), lacks);
});

test('transcripts are compared without nonce, and the first difference is named', () => {
  const lines = [...good, haltLine(good)];
  const other = [...good, haltLine(good, 'modern', 'fedcba9876543210')];
  assert.equal(normalise(lines, NONCE), normalise(other, 'fedcba9876543210'));
  assert.notEqual(normalise(lines, NONCE), normalise(other, NONCE));
  assert.deepEqual(firstDifference('a\nb\n', 'a\nc\n'), { line: 2, a: 'b', b: 'c' });
  assert.deepEqual(firstDifference('a\n', 'a\nb\n'), { line: 2, a: '', b: 'b' });
  assert.equal(firstDifference('a\n', 'a\n'), null);
  assert.equal(digestOf(''), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
});

test('a step of bisect: good, bad, or not to be judged', () => {
  const codes = [0, 1, 2, 3, null].map((status) => stepCode(status, false));
  assert.deepEqual(codes, [0, 1, 125, 125, 125]);
  assert.equal(stepCode(3, true), 1);
});

test('only so many runs are kept, the newest, and nothing else is removed', (context) => {
  const logs = mkdtempSync(join(tmpdir(), 'vg-'));
  context.after(() => rmSync(logs, { recursive: true, force: true }));
  const names = [1, 2, 3, 4].map((n) => `2026010${n}T000000000Z-modern-1`);
  for (const name of [...names, 'other', 'canary.json']) mkdirSync(join(logs, name));
  pruneRuns(logs, 2);
  assert.deepEqual(readdirSync(logs).sort(), [...names.slice(2), 'canary.json', 'other']);
});

test('the pool keeps order and bound, and passes a failure on after the started tasks are done', async () => {
  let running = 0;
  let most = 0;
  const work = async (ms: number): Promise<number> => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, ms));
    running--;
    if (ms === 13) throw new Error('thirteen');
    return ms;
  };
  assert.deepEqual(await pool([9, 1, 5, 2, 4], 2, work), [9, 1, 5, 2, 4]);
  assert.equal(most, 2);
  await assert.rejects(pool([13, 20], 2, work), /thirteen/);
  assert.equal(running, 0);
});
