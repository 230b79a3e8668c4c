// SPDX-License-Identifier: Apache-2.0
// determinism as a process, with a stand-in for QEMU, and its record on recorded ledgers: what is counted, and that the times in
// build/determinism.json are those of the runs' own ledgers. That the real image is deterministic is shown by the real command alone.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { ledgerSchema, type Ledger } from '../../scripts/gate/evidence.js';
import { readLadder } from '../../scripts/gate/ladder.js';
import { recordOf, spreadOf, type DeterminismRecord } from '../../scripts/gate/spread.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { checkout, type Checkout } from './checkout.js';
import { consoleOf, haltLine } from './transcript.js';

const good = readLadder('proof', 'modern').markers.map((marker) => marker.text);
const green = consoleOf(good, haltLine(good, 'modern', '@NONCE@'));
/** The same boot, each line `ns` later. */
const later = (ns: number): Buffer => Buffer.from(
  green.toString('latin1').replace(/^\[00000\.(\d{9})\]/gm, (_whole, time: string) => `[00000.${String(Number(time) + ns).padStart(9, '0')}]`), 'latin1');

interface Prepared {
  at: Checkout;
  file: (name: string, bytes: Buffer) => string;
  env: Record<string, string>;
  /** the record; null when there is none */
  record: () => DeterminismRecord | null;
  ledgers: () => Ledger[];
}
function prepared(context: TestContext): Prepared {
  const at = checkout(context);
  const file = (name: string, bytes: Buffer): string => {
    writeFileSync(join(at.root, name), bytes);
    return join(at.root, name);
  };
  const path = join(at.root, 'build/determinism.json');
  const logs = join(at.root, 'build/logs');
  return {
    at, file, env: { STAND_IN_CONSOLE: file('good.bin', green), STAND_IN_PIDS: join(at.root, 'pids') },
    record: () => (existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as DeterminismRecord) : null),
    ledgers: () => readdirSync(logs).filter((name) => name !== 'latest')
      .map((name) => ledgerSchema.parse(JSON.parse(readFileSync(join(logs, name, 'ledger.json'), 'utf8')))),
  };
}

test('the same transcript N times is identical, although nonce and times differ; the record has the spread of the ledgers', async (context) => {
  const { at, env, file, record, ledgers } = prepared(context);
  const ran = await at.run('determinism', ['3', '--jobs', '1'], { ...env, STAND_IN_NTH_CONSOLE: `2:${file('later.bin', later(700))}` });
  assert.match(ran.last, /^identical 3\/3 sha256=[0-9a-f]{64}$/, ran.stdout + ran.stderr);
  assert.equal(ran.status, 0);
  const recorded = ledgers();
  assert.equal(new Set(recorded.map(({ nonce }) => nonce)).size, 3);
  const made = record()!;
  assert.deepEqual([made.runs, made.passed, made.identical], [3, 3, 3]);
  assert.ok(ran.last.endsWith(`sha256=${made.sha256}`));
  assert.deepEqual(made.markers.map(({ text }) => text), good);
  for (const [n, { text, min_ns, median_ns, max_ns }] of made.markers.entries()) {
    const times = recorded.map(({ markers }) => markers[n]!.guest_ns).sort((a, b) => a - b);
    assert.deepEqual([min_ns, median_ns, max_ns], times, text);
    assert.equal(max_ns - min_ns, 700, text);
  }
  const { min, median, max } = made.wall_ms!;
  assert.ok(min > 0 && min <= median && median <= max);
});

test('a red boot is counted and the rest still runs, status 1', async (context) => {
  const { at, env, file, record, ledgers } = prepared(context);
  const red = file('red.bin', consoleOf(good.slice(0, -1), null));
  const ran = await at.run('determinism', ['3', '--jobs', '1'], { ...env, STAND_IN_NTH_CONSOLE: `1:${red}` });
  assert.equal(ran.status, 1);
  assert.match(ran.last, /^DIFFERENT 2\/3 sha256=[0-9a-f]{64}$/, ran.stdout + ran.stderr);
  assert.match(ran.stdout, /^pass rate 2\/3 \(66\.7 %\)$/m);
  assert.match(ran.stdout, /^RED modern: /m);
  assert.deepEqual([record()!.runs, record()!.passed, record()!.identical, record()!.markers.length], [3, 2, 2, good.length]);
  assert.equal(ledgers().length, 3);
});

test('red boots alone: nothing is identical and the record holds no time', async (context) => {
  const { at, env, file, record } = prepared(context);
  const ran = await at.run('determinism', ['2'], { ...env, STAND_IN_CONSOLE: file('red.bin', consoleOf(good.slice(0, -1), null)) });
  assert.deepEqual([ran.status, ran.last], [1, 'DIFFERENT 0/2 sha256=none'], ran.stdout + ran.stderr);
  assert.deepEqual(record(), { runs: 2, passed: 0, identical: 0, sha256: null, markers: [], wall_ms: null });
});

test('trouble of the host ends it with status 3 and leaves no record, not even an old one', async (context) => {
  const { at, env, record } = prepared(context);
  writeFileSync(join(at.root, 'build/determinism.json'), '{}');
  const ran = await at.run('determinism', ['3', '--jobs', '1'], { ...env, STAND_IN_CONSOLE: '', STAND_IN_STATUS: '1', STAND_IN_STDERR: 'no such machine' });
  assert.deepEqual([ran.status, record()], [3, null], ran.stdout + ran.stderr);
  assert.match(ran.stdout, /^pass rate 0\/3 \(0\.0 %\), cut short$/m);
  assert.equal((await at.run('determinism', ['1'])).status, 2);
  assert.equal((await at.run('determinism', ['many'])).status, 2);
});

test('the record of three ledgers of real boots: least, middle and greatest time of each marker', () => {
  const folder = join(ROOT, 'tests/fixtures/ledgers');
  const ledgers = readdirSync(folder).sort().map((name) => ledgerSchema.parse(JSON.parse(readFileSync(join(folder, name), 'utf8'))));
  assert.equal(ledgers.length, 3);
  const record = recordOf(3, 3, ledgers[0]!.digest, ledgers.map(({ markers }, n) => ({ markers, wallMs: 900 - n })));
  assert.equal(record.markers.length, ledgers[0]!.markers.length);
  const all = (at: number): number[] => ledgers.map(({ markers }) => markers[at]!.guest_ns);
  for (const [n, { min_ns, median_ns, max_ns }] of record.markers.entries()) {
    assert.deepEqual(new Set([min_ns, median_ns, max_ns]), new Set(all(n)));
    assert.ok(min_ns <= median_ns && median_ns <= max_ns);
  }
  assert.ok(record.markers.some(({ min_ns, max_ns }) => min_ns < max_ns), 'real boots differ in their times');
  assert.deepEqual(record.wall_ms, { min: 898, median: 899, max: 900 });
  const cut = { markers: ledgers[1]!.markers.slice(1), wallMs: 1 };
  assert.throws(() => recordOf(2, 2, null, [{ markers: ledgers[0]!.markers, wallMs: 1 }, cut]), /differ in their markers/);
  assert.deepEqual(spreadOf([4, 1, 3, 2]), { min: 1, median: 2, max: 4 });
  assert.throws(() => spreadOf([]));
});
