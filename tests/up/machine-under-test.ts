// SPDX-License-Identifier: Apache-2.0
// A machine of `vigil up` in this process, with short times, a disk and a folder of its own, and what it said. Not a test by itself.
// Invariant: stop() ends it and removes its folder. Limits: every wait has PATIENCE_MS and says what it saw.
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { guestConfig } from '../../runtime/config/fields.js';
import { parseConfig } from '../../runtime/config/load.js';
import type { Config } from '../../runtime/config/schema.js';
import { startMachine, type Machine, type MachineEvent } from '../../runtime/up/machine.js';
import { saltOf } from '../../scripts/command/config.js';
export { skip } from '../bridge/running-image.js';

export const PATIENCE_MS = 40_000;
export const INTERVAL_MS = 200;
export const TIMEOUT_MS = 1_500;

/** Short times, a scrape a second, replay, any free port; `more` is added to the text, `dcgm` and `prometheus` to their parts. */
export function testConfig(dir: string, more = '', dcgm = '', prometheus = ''): Config {
  const loaded = parseConfig(`
${/^\[source\]/m.test(more) ? '' : '[source]\nkind = "replay"'}
[receivers.dcgm]
collection_interval = "1s"
initial_delay = "0s"
${dcgm}
[exporters.prometheus]
listen = "127.0.0.1:0"
${prometheus}
[guest]
state = "${join(dir, 'state.img')}"
heartbeat_interval = "${INTERVAL_MS}ms"
heartbeat_timeout = "${TIMEOUT_MS}ms"
restart_backoff_first = "200ms"
restart_backoff_max = "2s"
export_interval = "1s"
${more}`);
  if ('errors' in loaded) throw new Error(JSON.stringify(loaded.errors));
  return loaded.config;
}

export interface UnderTest {
  readonly dir: string; readonly config: Config; readonly machine: Machine; readonly events: MachineEvent[];
  /** waits for the nth event (from 1) of a kind */
  event<K extends MachineEvent['kind']>(kind: K, nth?: number): Promise<Extract<MachineEvent, { kind: K }>>;
  page(path: string): Promise<{ status: number; body: string }>;
  stop(): Promise<void>;
}

/** Repeats until `attempt` gives something. */
export async function until<T>(what: string, attempt: () => T | null | Promise<T | null>, limitMs = PATIENCE_MS): Promise<T> {
  const end = Date.now() + limitMs;
  for (;;) {
    const got = await attempt();
    if (got !== null) return got;
    if (Date.now() > end) throw new Error(`${what}: not within ${limitMs} ms`);
    await sleep(20);
  }
}

export const makeDir = (): string => mkdtempSync(join(tmpdir(), 'vup-'));

export async function startUnderTest(options: { dir?: string; more?: string; dcgm?: string; prometheus?: string } = {}): Promise<UnderTest> {
  const dir = options.dir ?? makeDir();
  const config = testConfig(dir, options.more, options.dcgm, options.prometheus);
  const events: MachineEvent[] = [];
  const guest = guestConfig(config);
  if ('errors' in guest) throw new Error(JSON.stringify(guest.errors));
  const machine = await startMachine(config, { receiverLines: guest.text, identitySalt: saltOf(config), say: (event) => { events.push(event); } });
  return {
    dir, config, machine, events,
    event: (kind, nth = 1) => until(`${kind} ${nth}`, () => (events.filter((event) => event.kind === kind)[nth - 1] as never) ?? null)
      .catch((error: Error) => { throw new Error(`${error.message}; events: ${JSON.stringify(events.filter(({ kind: each }) => each !== 'console'))}`); }),
    page: async (path) => {
      const response = await fetch(`${machine.exporter.url}${path}`);
      return { status: response.status, body: await response.text() };
    },
    stop: async () => {
      await machine.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** The value of a series on a page; null when it is not there. */
export function valueOf(body: string, name: string, ...labels: string[]): number | null {
  const line = body.split('\n').find((each) => each.startsWith(`${name}{`) && labels.every((label) => each.includes(label)));
  return line === undefined ? null : Number(line.slice(line.lastIndexOf(' ') + 1));
}

/** Process ids whose parent is `parent`. */
export function childrenOf(parent = process.pid): number[] {
  return readdirSync(`/proc/${parent}/task`)
    .flatMap((task) => readFileSync(`/proc/${parent}/task/${task}/children`, 'utf8').trim().split(' ')).filter((each) => each !== '').map(Number);
}
