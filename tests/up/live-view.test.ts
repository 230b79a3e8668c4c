// SPDX-License-Identifier: Apache-2.0
// `vigil up` as a person sees it: the live table on a terminal, through an end of the guest, until Ctrl-C; `--once` as table and as JSON;
// and no scrape, said with its reason and a bad exit code.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../scripts/lib/paths.js';
import { TestTerminal } from '../view/terminal.js';
import { makeDir, skip } from './machine-under-test.js';

const LIMIT_MS = 180_000;
const ANSWER_MS = 40_000;
const VIGIL = ['--import', 'tsx', 'scripts/vigil.ts', 'up'];

function configIn(dir: string, more = ''): string {
  const path = join(dir, 'vigil.toml');
  writeFileSync(path, `[source]\nkind = "replay"\nfleet = "h100x8"\n[receivers.dcgm]\ncollection_interval = "1s"\ninitial_delay = "0s"\n`
    + `[exporters.prometheus]\nlisten = "127.0.0.1:0"\n[guest]\nstate = "${dir}/state.img"\nheartbeat_interval = "300ms"\nheartbeat_timeout = "2s"\n${more}`);
  return path;
}

test('a terminal: the fleet live, labelled; a guest that ends is shown and comes back; Ctrl-C gives the terminal back', { skip, timeout: LIMIT_MS }, async () => {
  const dir = makeDir();
  const terminal = new TestTerminal([...VIGIL, '--config', configIn(dir)], 140, 30, { NO_COLOR: '1', VIGIL_STATE: '' });
  try {
    const first = await terminal.until(/^7 +replay +.*\d%(.|\n)*^switch 3 +replay/m, ANSWER_MS);
    assert.ok(terminal.onOwnScreen);
    assert.match(first, /^Vigil up {2}source: REPLAY \(recorded values, not this machine's GPUs\) +UP \d+ s$/m);
    assert.match(first, /GPU +SOURCE .*UTIL .*MEM GiB .*TEMP C .*POWER .*ERRORS/);
    await terminal.until(/exporter: http:\/\/127\.0\.0\.1:\d+\/metrics ready/, ANSWER_MS);
    await terminal.until(/B\/s/, ANSWER_MS); // a rate needs a second scrape
    const pid = Number(/QEMU is process (\d+)/.exec(terminal.screen())?.[1]);
    process.kill(pid, 'SIGKILL');
    await terminal.until(/DOWN signal: QEMU was ended by signal 9/, ANSWER_MS);
    const again = await terminal.until(/UP \d+ s\n(.|\n)*ready\n(.|\n)*boots 2, 1 restart \(signal 1\)/, ANSWER_MS);
    assert.match(again, /guest: up after .* \(boot 2/);
    terminal.press('e');
    await terminal.until(/^(?!(.|\n)*guest: up after)/, ANSWER_MS);
    terminal.resize(70, 14);
    await terminal.until(/^Vigil up(.|\n)*q or Ctrl-C: stop$/, ANSWER_MS);
    terminal.press('\u0003');
    assert.equal(await terminal.exited, 0);
    assert.equal(terminal.onOwnScreen, false);
    assert.match(terminal.screen(), /guest: down: signal/, 'what went wrong is said again where it stays');
    assert.doesNotMatch(terminal.raw, /\u001b\[[\d;]*m/, 'NO_COLOR');
  } finally {
    await terminal.close();
    rmSync(dir, { recursive: true, force: true });
  }
});

test('--once: a table or JSON of one complete scrape; without a sample the reason and exit code 1', { skip, timeout: LIMIT_MS }, () => {
  const dir = makeDir();
  const { NODE_TEST_CONTEXT: _nested, VIGIL_STATE: _state, ...env } = process.env;
  const once = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(process.execPath, [...VIGIL, '--once', '--config', configIn(dir), ...args], { cwd: ROOT, encoding: 'utf8', timeout: 120_000, env });
  try {
    const table = once();
    assert.equal(table.status, 0, table.stderr);
    assert.match(table.stdout, /^source: REPLAY .*; 8 GPUs, 4 switches, \d+ series, .* ready, no restart\n/);
    assert.equal(table.stdout.match(/^\d +replay +NVIDIA H100 80GB HBM3 /gm)?.length, 8);
    const json = once('--json', '--scenario', 'hbm-ecc');
    assert.equal(json.status, 0, json.stderr);
    const read = JSON.parse(json.stdout) as { source: string; ready: boolean; series: number; units: { kind: string; source: string }[] };
    assert.deepEqual([read.source, read.ready, read.units.length], ['replay', true, 12]);
    assert.ok(read.series >= 500 && read.units.every(({ source }) => source === 'replay'));
    const none = once('--source', 'stub');
    assert.equal(none.status, 1, none.stdout);
    assert.match(none.stderr, /^vigil: no fresh sample within \d+ s: the stub source is unavailable: .*\n$/);
    assert.equal(none.stdout, '');
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
