// SPDX-License-Identifier: Apache-2.0
// `npm start` as a person sees it: the real program on a terminal, the real image, until Ctrl-C gives the terminal back.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { readLadder } from '../../scripts/gate/ladder.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { TestTerminal } from './terminal.js';

const PROOF_MS = 90_000;
const ANSWER_MS = 15_000;
const PAGES_MAX = 16;
const GPU_SERIES = /^dcgmd +gauge +hw\.[a-z.]+ +\d+/m;
const START = ['--import', 'tsx', 'scripts/start.ts'];
const count = readLadder('proof', 'modern').markers.length;

test('proves, then shows the running image until Ctrl-C', { timeout: 3 * PROOF_MS }, async () => {
  const terminal = new TestTerminal(START, 120, 30, { NO_COLOR: '1' });
  try {
    const proved = await terminal.until(/PASS|RED|ENDED/, PROOF_MS);
    assert.match(proved, new RegExp(`PASS ${count}/${count} in `), proved);
    assert.ok(terminal.onOwnScreen);
    terminal.press('2');
    await terminal.until(/\d+ records; logd dropped|\d+ records, \d+ older/, ANSWER_MS);
    await terminal.until(/info {2}metricsd/, ANSWER_MS);
    terminal.press('3');
    await terminal.until(/^metricsd +counter +metricsd\.start +\d+/m, ANSWER_MS);
    // On a blank disk the GPUs' series come after those that every service has from its start: some pages down.
    for (let page = 0; page < PAGES_MAX && !GPU_SERIES.test(terminal.screen()); page++) {
      terminal.press('\u001b[6~');
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    await terminal.until(GPU_SERIES, ANSWER_MS);
    terminal.press('4');
    const gpus = await terminal.until(/source: REPLAY(.|\n)*^7 +replay /m, ANSWER_MS);
    assert.equal(gpus.match(/^\d +replay .* \d+% /gm)?.length, 8, gpus);
    await terminal.until(/sparklines: windows of 10 s/, 3 * ANSWER_MS);
    terminal.press('5');
    const before = await terminal.until(/service logd +up, started 1x/, ANSWER_MS);
    assert.match(before, /port org\.vigil\.dcgm +connected/);
    const clock = (screen: string): number => Number(/running ([\d.]+) s/.exec(screen)?.[1]);
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    assert.ok(clock(terminal.screen()) > clock(before), 'the guest goes on');
    terminal.resize(70, 16);
    await terminal.until(/^Vigil modern(.|\n)*q or Ctrl-C: …$/, ANSWER_MS);
    terminal.press('\u0003');
    assert.equal(await terminal.exited, 0);
    assert.equal(terminal.onOwnScreen, false);
    assert.match(terminal.screen(), new RegExp(`PASS modern ${count}/${count} markers`));
    assert.doesNotMatch(terminal.raw, /\u001b\[[\d;]*m/, 'NO_COLOR');
  } finally {
    await terminal.close();
  }
});

test('without a terminal: plain lines, then the gate\'s verdict and exit code', { timeout: 2 * PROOF_MS }, () => {
  const { NODE_TEST_CONTEXT: _nested, ...env } = process.env;
  const run = spawnSync(process.execPath, START, { cwd: ROOT, encoding: 'utf8', timeout: PROOF_MS, env });
  assert.equal(run.status, 0, run.stdout + run.stderr);
  const lines = run.stdout.trimEnd().split('\n');
  assert.equal(lines.at(-1), `PASS modern ${count}/${count} markers`);
  assert.ok(lines.includes('build: up to date'), 'a build that is there is not made again');
  assert.doesNotMatch(run.stdout, /\u001b/);
});

test('wrong usage is exit code 2', () => {
  const run = spawnSync(process.execPath, [...START, '--frobnicate'], { cwd: ROOT, encoding: 'utf8', timeout: ANSWER_MS });
  assert.equal(run.status, 2);
  assert.match(run.stderr, /unknown option --frobnicate/);
});
