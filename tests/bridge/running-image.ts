// SPDX-License-Identifier: Apache-2.0
// Owns: a running image (profile=run, real time) over a bridge, for tests: its control port, its console, its end.
// Invariant: `stop` ends QEMU and the bridge and drops the private image. Limits: needs a built image and QEMU; `skip` says which is missing.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { QEMU, bootArgs, qemuArgv } from '../../boot/machines.js';
import { ControlClient, type LogRecord } from '../../runtime/bridge/control.js';
import { VIEW_RECEIVER_CONFIG, startReplayBridge } from '../../runtime/bridge/index.js';
import type { BridgeServer } from '../../runtime/bridge/server.js';
import { onPath } from '../../scripts/gate/find-qemu.js';
import { dropImage, privateImage } from '../../scripts/gate/private-image.js';
import { pathsOf, ROOT } from '../../scripts/lib/paths.js';
import { decodeSeriesPage } from '../../scripts/view/series-page.js';

const qemu = onPath(QEMU);
const built = existsSync(join(pathsOf(ROOT, 'shipping').image, 'bundle.vgb'));
export const skip = qemu === null ? `${QEMU} is missing` : built ? false : 'the image is not built';
const PATIENCE_MS = 30_000;

/** Repeats until `attempt` gives something; throws its last error, or that it gave nothing, after PATIENCE_MS. */
export async function until<T>(what: string, attempt: () => Promise<T | null>): Promise<T> {
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

/** One image that runs: its control port, its export socket, its console so far, and what ends it. */
export interface Running { readonly control: ControlClient; readonly exportSocket: string; readonly console: () => string; stop(): Promise<void> }
/** `exportMs`: between two exports of the image's own series. */
export interface RunOptions { readonly recipe?: 'gpu'; readonly exportMs?: number }

export async function start(
  makeBridge: (socketPath: string) => Promise<BridgeServer> = (socketPath) => startReplayBridge({ socketPath, receiverConfig: VIEW_RECEIVER_CONFIG }), options: RunOptions = {},
): Promise<Running> {
  const image = privateImage('shipping');
  const bridge = await makeBridge(image.sockets.dcgm);
  const append = bootArgs({ profile: 'run', nonce: '00000000000000ab', bundle: image.bundleIdentity, idle: 'sleep', ...options });
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
    return { control, exportSocket: image.sockets.exports, console: () => Buffer.concat(output).toString(), stop: () => { control.close(); return stop(); } };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Every record that logd still has. */
export async function journal(control: ControlClient): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for (let pages = 0; pages < 256; pages++) {
    const page = await control.logs(records.at(-1)?.id ?? 0n);
    if (page.records.length === 0) return records;
    records.push(...page.records);
  }
  throw new Error('the journal has no end');
}

/** Every series of dcgmd that metricsd has. */
export async function gpuSeries(control: ControlClient): Promise<ReturnType<typeof decodeSeriesPage>['rows']> {
  const rows = [];
  for (let cursor: number | null = 0; cursor !== null;) {
    const page = decodeSeriesPage(await control.series(cursor), String);
    rows.push(...page.rows.filter(({ name }) => name.startsWith('hw.')));
    cursor = page.next;
  }
  return rows;
}
