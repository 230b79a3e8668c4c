// SPDX-License-Identifier: Apache-2.0
// `vigil logs`, `metrics`, `traces`, `dump` of a machine that runs: against a scripted control port (loss, restart, refusal, hostile text), and
// against the real image where QEMU and a build are there.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test, type TestContext } from 'node:test';
import type { ControlLine } from '../../runtime/up/control-line.js';
import { startRelay } from '../../runtime/up/control-relay.js';
import { writeRunFile } from '../../runtime/up/run-file.js';
import { fnv1a64 } from '../../scripts/lib/abi.js';
import { skip, start, until } from '../bridge/running-image.js';
import { FakeGuest } from './fake-guest.js';
import { VIGIL, environment, folderOf, vigil } from './run.js';

/** A run file that names this process and that control port. */
function runFile(folder: string, control: string): string {
  const path = join(folder, 'run.json');
  writeRunFile(path, { pid: process.pid, control, metricsUrl: 'http://127.0.0.1:9400/metrics', startedUtc: '2026-11-22T00:00:00Z', transcript: '', source: 'replay', restarts: 0 });
  return path;
}
async function fake(context: TestContext): Promise<{ guest: FakeGuest; run: string }> {
  const folder = folderOf(context);
  const guest = await FakeGuest.listen(join(folder, 'c.sock'));
  context.after(() => { guest.close(); });
  return { guest, run: runFile(folder, guest.path) };
}

test('without a machine: exit code 3, why, and what starts one', async (context) => {
  const run = join(folderOf(context), 'run.json');
  for (const command of ['logs', 'metrics', 'traces']) {
    const { code, out, err } = await vigil([command, '--run', run]);
    assert.deepEqual([code, out], [3, '']);
    assert.equal(err, `vigil: no machine runs here (${run} is not there); start one with: vigil up\n`);
  }
});

test('a machine whose control port is gone, or whose guest refuses: exit code 3, told apart', async (context) => {
  const { guest, run } = await fake(context);
  guest.refuses = 'unavailable';
  const starting = await vigil(['logs', '--run', run]);
  assert.equal(starting.code, 3);
  assert.match(starting.err, /the guest answers unavailable: it starts, or is being started anew \(see http:\/\/127\.0\.0\.1:9400\/-\/ready\)\n$/);
  guest.close();
  const gone = await vigil(['metrics', '--run', run]);
  assert.equal(gone.code, 3);
  assert.match(gone.err, /its control port .* does not answer \(E[A-Z]+\)\n$/);
});

test('logs: every record in order over pages, by level and scope, hostile text made harmless, loss counted', async (context) => {
  const { guest, run } = await fake(context);
  guest.log({ id: 5n, level: 0, message: 'first' }, { id: 6n, level: 1, scope: 'other' }, { id: 7n, level: 4 }, { id: 8n, message: '\u001b[2Jx', fields: 'a=1\nb=2\n' }, { id: 9n, sender: 'nobody' });
  const all = await vigil(['logs', '--run', run]);
  assert.equal(all.code, 0, all.err);
  assert.deepEqual(all.out.trimEnd().split('\n').map((line) => line.trim()), [
    '0.005000000 ERROR dcgmd/dcgmd: first', '0.006000000 WARN  dcgmd/other: message 6', '0.007000000 TRACE dcgmd/dcgmd: message 7',
    '0.008000000 INFO  dcgmd/dcgmd: \\x1b[2Jx a=1 b=2', `0.009000000 INFO  ${fnv1a64('nobody').toString(16).padStart(16, '0')}/dcgmd: message 9`,
  ]);
  assert.equal(all.err, 'vigil: 4 records were let go before they could be read\n');
  assert.equal((await vigil(['logs', '--run', run, '--level', 'warn'])).out.split('\n').length, 3);
  assert.match((await vigil(['logs', '--run', run, '--scope', 'other'])).out, /^ +0\.006000000 WARN .*\n$/);
  const json = (await vigil(['logs', '--run', run, '--json'])).out.trimEnd().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(json[3], { id: 8, timeNs: 8_000_000, level: 'info', sender: 'dcgmd', scope: 'dcgmd', message: '\u001b[2Jx', fields: { a: '1', b: '2' } });
});

test('logs: what metricsd writes for series and spans is left out, counted, and shown on request', async (context) => {
  const { guest, run } = await fake(context);
  guest.log({ id: 1n, message: 'a' }, { id: 2n, scope: 'metricsd', message: 'metrics snapshot gauge name=x value=1' },
    { id: 3n, scope: 'metricsd', message: 'tracing span end name=x status=ok' }, { id: 4n, scope: 'metricsd', message: 'quarantined' });
  const lines = async (...args: string[]): Promise<number> => (await vigil(['logs', '--run', run, ...args])).out.split('\n').length - 1;
  assert.deepEqual([await lines(), await lines('--all'), await lines('--scope', 'metricsd'), await lines('--json')], [2, 4, 3, 2]);
  assert.equal((await vigil(['logs', '--run', run])).err, 'vigil: 2 records of series and spans are not shown (--all shows them)\n');
});

test('logs -f: what comes later, and on after a new start of the guest; a signal ends it with 0', async (context) => {
  const { guest, run } = await fake(context);
  guest.log({ id: 1n });
  const child = spawn(process.execPath, [...VIGIL, 'logs', '-f', '--run', run], { env: environment(), stdio: ['ignore', 'pipe', 'pipe'] });
  context.after(() => child.kill('SIGKILL'));
  let [out, err] = ['', ''];
  child.stdout.on('data', (bytes: Buffer) => { out += bytes.toString(); });
  child.stderr.on('data', (bytes: Buffer) => { err += bytes.toString(); });
  const saw = (text: string): Promise<boolean> => until(text, async () => (out.includes(text) ? true : null));
  await saw('message 1');
  guest.log({ id: 2n });
  await saw('message 2');
  guest.records = [];
  guest.guestNs = 5n;
  guest.log({ id: 1n, message: 'after the start' });
  await saw('after the start');
  assert.match(err, /the guest was started anew/);
  guest.refuses = 'unavailable';
  await until('trouble', async () => (err.includes('trying again') ? true : null));
  guest.refuses = null;
  guest.log({ id: 2n, message: 'there again' });
  await saw('there again');
  assert.equal(out.split('message 1').length, 2, 'each record once');
  child.kill('SIGINT');
  assert.equal(await new Promise((resolve) => { child.once('close', resolve); }), 0);
});

test('metrics: over pages, by name; a name that nobody has is exit code 1', async (context) => {
  const { guest, run } = await fake(context);
  guest.series = [1, 2, 3, 4, 5].map((i) => ({ name: i === 5 ? 'other' : `vigil.x${i}`, kind: 2, producer: 'dcgmd', labels: `gpu=${i}\n`, value: BigInt(-i) }));
  const all = await vigil(['metrics', '--run', run]);
  assert.equal(all.out.trimEnd().split('\n').length, 6);
  assert.match(all.out, /^vigil\.x4 +gauge +dcgmd +-4 {2}gpu=4$/m);
  assert.equal((await vigil(['metrics', '--run', run, '--name', 'vigil.*'])).out.trimEnd().split('\n').length, 5);
  const json = JSON.parse((await vigil(['metrics', '--run', run, '--name', 'other', '--json'])).out) as { series: unknown[] };
  assert.deepEqual(json.series, [{ name: 'other', kind: 'gauge', producer: 'dcgmd', labels: { gpu: '5' }, value: -5, count: 0 }]);
  const none = await vigil(['metrics', '--run', run, '--name', 'nothing']);
  assert.deepEqual(none, { code: 1, out: '', err: 'vigil: no series is named nothing (5 series)\n' });
});

test('traces: trees, halves joined, an orphan as a root, a lost half counted', async (context) => {
  const { guest, run } = await fake(context);
  const producer = fnv1a64('dcgmd').toString(16).padStart(16, '0');
  const span = (id: string, parent: string, startNs: number, more = ''): string =>
    `duration_ns=2000000\nend_ns=${startNs + 2_000_000}\nparent=${parent.padStart(16, '0')}\n${more}producer=${producer}\n`
    + `span=${id.padStart(16, '0')}\nstart_ns=${startNs}\nstatus=ok\ntrace=${'a'.padStart(16, '0')}\n`;
  guest.log(
    { id: 1n, scope: 'metricsd', message: 'tracing span end name=read status=ok', fields: span('2', '1', 2_000_000, 'attr.entities=8\n') },
    { id: 2n, scope: 'metricsd', message: 'tracing span end name=scrape status=ok', fields: span('1', '0', 1_000_000) },
    { id: 3n, scope: 'metricsd', message: 'tracing span end name=lost parent status=error', fields: span('9', '8', 5_000_000) },
    { id: 4n, scope: 'metricsd', message: 'tracing span end name=half status=ok', fields: 'attr.a=1\npart=1\nspan=0000000000000007\n' },
    { id: 5n, scope: 'metricsd', message: 'tracing span end name=half status=ok', fields: `part=2\n${span('7', '0', 7_000_000)}` },
    { id: 6n, scope: 'metricsd', message: 'tracing span end name=gone status=ok', fields: 'part=1\nspan=0000000000000006\n' },
    { id: 7n, scope: 'other', message: 'tracing span end name=forged status=ok', fields: span('5', '0', 1) },
  );
  const { code, out, err } = await vigil(['traces', '--run', run]);
  assert.equal(code, 0);
  assert.deepEqual(out.trimEnd().split('\n'), [
    'trace 000000000000000a at 1.000 ms', '  scrape 2.000 ms ok dcgmd', '    read 2.000 ms ok dcgmd entities=8',
    'trace 000000000000000a at 5.000 ms', '  lost parent 2.000 ms error dcgmd', 'trace 000000000000000a at 7.000 ms', '  half 2.000 ms ok dcgmd a=1',
  ]);
  assert.equal(err, 'vigil: 1 spans are not whole in the journal any more\n');
  const { spans, incomplete } = JSON.parse((await vigil(['traces', '--run', run, '--json'])).out) as { spans: { name: string; parent: string }[]; incomplete: number };
  assert.deepEqual([spans.length, incomplete, spans.find(({ name }) => name === 'read')?.parent], [4, 1, '0000000000000001']);
});

test('dump: the guest is in it, with what is grave', async (context) => {
  const { guest, run } = await fake(context);
  guest.log({ id: 1n, level: 0, message: 'bad' }, { id: 2n });
  guest.series = [{ name: 'vigil.receiver.emissions', kind: 1, producer: 'dcgmd', labels: '', value: 3n }, { name: 'hw.power', kind: 2, producer: 'dcgmd', labels: '', value: 1n }];
  interface Dumped { guest: { seriesCount: number; series: unknown[]; journal: { records: number; errorsAndWarnings: { message: string; sender: string }[] } } }
  const { guest: part } = JSON.parse((await vigil(['dump', '--run', run])).out) as Dumped;
  assert.deepEqual([part.seriesCount, part.series.length, part.journal.records], [2, 1, 2]);
  assert.deepEqual(part.journal.errorsAndWarnings.map(({ message, sender }) => [message, sender]), [['bad', 'dcgmd']]);
});

test('the real image: its journal, series and spans', { skip }, async (context) => {
  const folder = folderOf(context);
  const running = await start();
  const relay = await startRelay(join(folder, 'r.sock'), { ask: (type: number, payload: Buffer) => running.control.exchange(type, payload) } as unknown as ControlLine, 4);
  context.after(async () => { await relay.close(); await running.stop(); });
  const run = runFile(folder, relay.socketPath);
  await until('a series of a GPU', async () => (/^hw\./m.test((await vigil(['metrics', '--run', run])).out) ? true : null));
  const logs = await vigil(['logs', '--run', run]);
  assert.equal(logs.code, 0, logs.err);
  assert.match(logs.out, /^ +\d+\.\d{9} [A-Z]+ +\S+\/\S+: /m);
  const { series } = JSON.parse((await vigil(['metrics', '--run', run, '--json'])).out) as { series: { name: string; producer: string }[] };
  assert.ok(series.some(({ producer }) => producer === 'dcgmd'));
  await sleep(500);
  const traces = await vigil(['traces', '--run', run, '--json']);
  assert.equal(traces.code, 0, traces.err);
  assert.ok(Array.isArray((JSON.parse(traces.out) as { spans: unknown[] }).spans));
});
