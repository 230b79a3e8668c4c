// SPDX-License-Identifier: Apache-2.0
// Owns: the proof on the real machine that a running image (profile=run, real time) scrapes the bridge by itself and answers the
// host's questions on the control port. Needs a built image and QEMU; skipped by name without them (the gate covers profile=proof).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { QEMU, bootArgs, qemuArgv } from '../../boot/machines.js';
import { ControlClient, ControlError, type LogRecord } from '../../runtime/bridge/control.js';
import { startReplayBridge } from '../../runtime/bridge/index.js';
import { dropImage, onPath, privateImage } from '../../scripts/gate/machine.js';
import { pathsOf, ROOT } from '../../scripts/lib/paths.js';
import { decodeSeriesPage } from '../../scripts/view/series-page.js';

const qemu = onPath(QEMU);
const built = existsSync(join(pathsOf(ROOT, 'shipping').image, 'bundle.vgb'));
const skip = qemu === null ? `${QEMU} is missing` : built ? false : 'the image is not built';
const PATIENCE_MS = 30_000;

/** Repeats until `attempt` gives something; throws its last error, or that it gave nothing, after PATIENCE_MS. */
async function until<T>(what: string, attempt: () => Promise<T | null>): Promise<T> {
  const end = Date.now() + PATIENCE_MS;
  let last: unknown = new Error(`${what}: not in ${PATIENCE_MS} ms`);
  while (Date.now() < end) {
    try {
      const got = await attempt();
      if (got !== null) return got;
    } catch (error) {
      last = error;
    }
    await sleep(200);
  }
  throw last;
}

/** One image that runs: its control port, its console so far, and what ends it. */
interface Running { readonly control: ControlClient; readonly console: () => string; stop(): Promise<void> }

async function start(): Promise<Running> {
  const image = privateImage('shipping');
  const bridge = await startReplayBridge({ socketPath: image.sockets.dcgm });
  const append = bootArgs({ profile: 'run', nonce: '00000000000000ab', bundle: image.bundleIdentity, idle: 'sleep' });
  const child = spawn(qemu!, qemuArgv({ transport: 'modern', mode: 'run', kernelPath: image.kernelPath, bundlePath: image.bundlePath,
    append, sockets: image.sockets, console: 'pty', devices: true }), { stdio: ['pipe', 'pipe', 'ignore'] });
  const ended = new Promise((resolve) => { child.once('close', resolve); });
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await ended;
    await bridge.close();
    dropImage(image);
  };
  try {
    const control = await until('control port', () => ControlClient.open(image.sockets.control));
    return { control, console: () => Buffer.concat(output).toString(), stop: () => { control.close(); return stop(); } };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Every record that logd still has. */
async function journal(control: ControlClient): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for (let pages = 0; pages < 256; pages++) {
    const page = await control.logs(records.at(-1)?.id ?? 0n);
    if (page.records.length === 0) return records;
    records.push(...page.records);
  }
  throw new Error('the journal has no end');
}

const scrapesIn = (records: readonly LogRecord[]): LogRecord[] =>
  records.filter(({ scope, message }) => scope === 'dcgmd' && message === 'gpu scrape');

test('profile run: the image scrapes by itself and the control port tells', { skip, timeout: 120_000 }, async () => {
  const image = await start();
  const { control } = image;
  try {
    const gpu = await until('30 series of dcgmd', async () => {
      const rows = [];
      for (let cursor: number | null = 0; cursor !== null;) {
        const page = decodeSeriesPage(await control.series(cursor), String);
        rows.push(...page.rows.filter(({ name }) => name.startsWith('hw.')));
        cursor = page.next;
      }
      return rows.length >= 30 ? rows : null;
    });
    assert.equal(gpu.length, 30);
    assert.ok(gpu.every(({ labels }) => labels['source'] === 'replay'));
    assert.deepEqual(gpu.filter(({ name }) => name === 'hw.temperature').map(({ value }) => Number(value)), [30, 29, 26, 29, 28, 26, 28, 26]);
    const scrapes = await until('two scrapes in the journal', async () => {
      const records = await journal(control);
      const ids = records.map(({ id }) => id);
      assert.deepEqual(ids, [...new Set(ids)].sort((a, b) => (a < b ? -1 : 1)), 'every record once, in order');
      return scrapesIn(records).length >= 2 ? scrapesIn(records) : null;
    });
    assert.ok(scrapes.every(({ fields }) => fields.includes('source=replay')));
    const status = await control.status(['logd', 'dcgmd', 'nobody']);
    assert.deepEqual(status.services.map(({ registered }) => registered), [true, true, false]);
    assert.ok(status.ports.find(({ name }) => name === 'org.vigil.dcgm')!.connected);
    await assert.rejects(control.logs(0n, 0), (error: ControlError) => error.status === 'bad_request');
    assert.ok(!/FAIL|PANIC|trap/.test(image.console()), image.console());
  } finally {
    await image.stop();
  }
});
