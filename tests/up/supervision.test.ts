// SPDX-License-Identifier: Apache-2.0
// `vigil up` with the real QEMU: what ends a guest is found, named, kept and followed by another boot on the same disk; /metrics stays up
// meanwhile with the host's own series, and nothing is ready.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { delimiter } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ControlClient } from '../../runtime/bridge/control.js';
import { startMachine } from '../../runtime/up/machine.js';
import { readRunFile, runFileOf } from '../../runtime/up/run-file.js';
import { decodeSeriesPage } from '../../scripts/view/series-page.js';
import { findQemu } from '../../scripts/gate/find-qemu.js';
import { makePanic, stubbedQemu } from './gdb.js';
import { INTERVAL_MS, TIMEOUT_MS, makeDir, skip, startUnderTest, testConfig, until, valueOf, type UnderTest } from './machine-under-test.js';

const LIMIT_MS = 120_000;
/** A lazy write is on the disk after limits.statefsd lazy_delay_ns, and the time to write it. */
const DURABLE_MS = 2_500;
/** What a loaded machine may add to a time. */
const SLACK_MS = 1_500;

/** While the guest is down: metrics with the host's own series alone, not ready, the reason said. */
async function downPages(up: UnderTest, cause: string): Promise<void> {
  const [metrics, ready, healthy, health] = await Promise.all(['metrics', '-/ready', '-/healthy', 'health'].map((path) => up.page(path)));
  assert.equal(ready!.status, 503, ready!.body);
  assert.equal(health!.status, 503);
  assert.match(ready!.body, new RegExp(`the guest is down: ${cause}`));
  assert.equal(healthy!.status, 200);
  assert.equal(metrics!.status, 200);
  assert.equal(valueOf(metrics!.body, 'vigil_guest_up'), 0);
  assert.ok(!/^hw_/m.test(metrics!.body), 'no value of the guest that is down');
  assert.equal(valueOf(metrics!.body, 'vigil_guest_restarts_total', `cause="${cause}"`), 1);
}

/** Ready, and at least `count` GPU series on the page, each labelled. */
async function readyWith(up: UnderTest, count: number): Promise<void> {
  await until('ready', async () => ((await up.page('-/ready')).status === 200 ? true : null));
  const rows = (await up.page('metrics')).body.split('\n').filter((line) => line.startsWith('hw_'));
  assert.ok(rows.length >= count, `${rows.length} series`);
  assert.deepEqual(rows.filter((line) => !line.includes('source="replay"')), []);
}

test('kill -9 of QEMU: named, kept, booted again on the same disk; history from before is there', { skip, timeout: LIMIT_MS }, async () => {
  const up = await startUnderTest();
  try {
    const { machine } = up;
    await up.event('up');
    await readyWith(up, 24);
    const root = await up.page('');
    assert.ok(root.status === 200 && /<title>/.test(root.body) && /replay/.test(root.body), 'the page for people');
    const control = await ControlClient.open(machine.relay.socketPath);
    // A counter of the guest's own that has a raw interval on the disk.
    const { rows } = decodeSeriesPage(await control.series(0), String);
    const { name } = rows.find(({ kind, value }) => kind === 'counter' && value > 0n)!;
    const before = await until(`history of ${name}`, async () => {
      const page = await control.history({ level: 0, name }).catch(() => null);
      return page === null || page.points.every(({ open }) => open) ? null : page;
    });
    await sleep(DURABLE_MS);
    const pid = machine.supervisor.pid!;
    process.kill(pid, 'SIGKILL');
    const ended = await up.event('ended');
    assert.deepEqual([ended.cause, ended.detail, ended.boot, ended.retryMs], ['signal', 'QEMU was ended by signal 9', 1, 200]);
    await downPages(up, 'signal');
    assert.equal((await control.status().catch((error: Error) => error.message)), 'the guest answered unavailable', 'the relay says so too');
    const again = await up.event('up', 2);
    assert.notEqual(again.pid, pid);
    assert.equal(machine.supervisor.lifecycle.boots, 2);
    const transcript = readFileSync((ended.transcript as { path: string }).path, 'utf8');
    assert.match(transcript, /^# .* boot 1: signal: QEMU was ended by signal 9\n# QEMU emulator version .*; bundle [0-9a-f]{64}\n/);
    assert.match(transcript, /init: ready\r?\n$/);
    const after = await until('history again', () => control.history({ level: 0, name }).catch(() => null));
    const [kept] = before.points.filter(({ open }) => !open);
    assert.ok(after.points.some(({ startNs, sum }) => startNs === kept!.startNs && sum === kept!.sum), `${name} of before is still there`);
    const run = readRunFile(runFileOf(up.config, {}));
    assert.ok(run.state === 'running' && run.run.restarts === 1, JSON.stringify(run));
    control.close();
    await readyWith(up, 24);
    const { body } = await up.page('metrics');
    assert.deepEqual([valueOf(body, 'vigil_guest_up'), valueOf(body, 'vigil_guest_boots_total')], [1, 2]);
    assert.equal(valueOf(body, 'vigil_guest_transcripts_total', 'outcome="kept"'), 1);
  } finally {
    await up.stop();
  }
});

test('SIGSTOP: a hang, found within the timeout and an interval; QEMU killed; up again', { skip, timeout: LIMIT_MS }, async () => {
  const up = await startUnderTest();
  try {
    const { pid } = await up.event('up');
    const stoppedMs = performance.now();
    process.kill(pid, 'SIGSTOP');
    const ended = await up.event('ended');
    const tookMs = performance.now() - stoppedMs;
    assert.equal(ended.cause, 'hang');
    assert.ok(tookMs >= TIMEOUT_MS - INTERVAL_MS - 50, `not before its time: ${tookMs}`);
    assert.ok(tookMs <= TIMEOUT_MS + INTERVAL_MS + SLACK_MS, `within the timeout: ${tookMs}`);
    await downPages(up, 'hang');
    assert.throws(() => process.kill(pid, 0), /ESRCH/, 'the stopped QEMU is gone');
    await up.event('up', 2);
  } finally {
    await up.stop();
  }
});

test('a panic of the guest: its own line is the cause, its console is kept, and it boots again', { skip, timeout: LIMIT_MS }, async () => {
  const dir = makeDir();
  const stub = stubbedQemu(dir, findQemu().path);
  const path = process.env.PATH;
  process.env.PATH = `${dir}${delimiter}${path}`;
  const up = await startUnderTest({ dir }).finally(() => { process.env.PATH = path; });
  try {
    await up.event('up');
    await makePanic(stub);
    const ended = await up.event('ended');
    assert.equal(ended.cause, 'panic');
    assert.match(ended.detail, /^PANIC kernel: trap in supervisor mode: scause sepc stval /);
    await downPages(up, 'panic');
    assert.match(readFileSync((ended.transcript as { path: string }).path, 'utf8'), /PANIC kernel: trap in supervisor mode/);
    await up.event('up', 2);
  } finally {
    await up.stop();
  }
});

test('a second machine on the same disk is refused, and told which process has it', { skip, timeout: LIMIT_MS }, async () => {
  const up = await startUnderTest();
  try {
    await up.event('up');
    const second = startMachine(testConfig(up.dir), { receiverLines: '' });
    await assert.rejects(second, { exitCode: 3, message: new RegExp(`state\\.img is in use by process ${process.pid};`) });
    process.kill(up.machine.supervisor.pid!, 'SIGKILL');
    await up.event('ended');
    const meanwhile = startMachine(testConfig(up.dir), { receiverLines: '' });
    await assert.rejects(meanwhile, { exitCode: 3, message: /in use by process/ }, 'also while no QEMU runs');
    await up.event('up', 2);
    assert.equal(up.machine.supervisor.lifecycle.boots, 2, 'the first is not disturbed');
  } finally {
    await up.stop();
  }
});

test('a transcript that cannot be written is counted and said, and the guest comes back', { skip, timeout: LIMIT_MS }, async () => {
  const dir = makeDir();
  const up = await startUnderTest({ dir });
  try {
    const { pid } = await up.event('up');
    mkdirSync(`${dir}/transcripts`, { recursive: true });
    symlinkSync('/dev/full', `${dir}/transcripts/.partial`);
    process.kill(pid, 'SIGKILL');
    const ended = await up.event('ended');
    assert.match((ended.transcript as { lost: string }).lost, /ENOSPC/);
    await up.event('up', 2);
    assert.equal(valueOf((await up.page('metrics')).body, 'vigil_guest_transcripts_total', 'outcome="lost"'), 1);
    rmSync(`${dir}/transcripts/.partial`);
  } finally {
    await up.stop();
  }
});
