// SPDX-License-Identifier: Apache-2.0
// Asks the running image what it knows (control port), once a second, and turns the answers into the view's events.
// Invariant: every record of the journal is shown once, in order of its id; a question that fails is shown, never skipped over.
// Limits: LOG_PAGES_MAX pages of records a round; one round at a time.
import { setTimeout as sleep } from 'node:timers/promises';
import { ControlClient, ControlError, type GuestStatus, type LogRecord } from '../../runtime/bridge/control.js';
import { fnv1a64 } from '../lib/abi.js';
import { loadServices } from '../lib/services.js';
import type { LogRow, SystemRow, ViewEvent } from './model.js';
import { readPast } from './history.js';
import { allSeries } from './series-page.js';

const ROUND_MS = 1_000;
/** The windows of history are as long. */
const PAST_ROUNDS = 10;
const RETRY_MS = 500;
const LOG_PAGES_MAX = 16;
/** logd's levels (docs/format/wire-logd.md). */
export const LEVELS = ['error', 'warn', 'info', 'debug', 'trace'] as const;

/** Service name of a sender id; the id itself in hexadecimal when the image has no such service. */
export function senderNames(services: readonly string[]): (id: bigint) => string {
  const names = new Map(services.map((name) => [fnv1a64(name), name]));
  return (id) => names.get(id) ?? (id === 0n ? 'kernel' : id.toString(16).padStart(16, '0'));
}

export function logRow(record: LogRecord, nameOf: (id: bigint) => string): LogRow {
  return {
    id: record.id, guestNs: record.tsNs, level: LEVELS[record.level] ?? String(record.level), sender: nameOf(record.sender),
    scope: record.scope, message: record.message, fields: record.fields.trim().replaceAll('\n', ' '),
  };
}

/** Counters, services and ports as labelled values. */
export function systemRows(status: GuestStatus): SystemRow[] {
  const counters = Object.entries(status.counters).map(([label, value]) => ({ label: label.replaceAll('_', ' '), value: String(value) }));
  const services = status.services.map(({ name, registered, dead, registrations }) => ({
    label: `service ${name}`,
    value: dead ? 'dead' : registered ? `up, started ${registrations}x` : 'not registered',
  }));
  const ports = status.ports.map((port) => ({
    label: `port ${port.name}`,
    value: `${port.connected ? 'connected' : 'closed'}, in ${port.bytesIn} B, out ${port.bytesOut} B, lost ${port.lostIn + port.lostOut} B`,
  }));
  return [...counters, ...services, ...ports];
}

/** Polls until `signal` aborts; reconnects when the port closes. Never throws: trouble is an event. */
export async function pollControl(socketPath: string, say: (event: ViewEvent) => void, signal: AbortSignal): Promise<void> {
  const all = loadServices();
  const nameOf = senderNames(all.map(({ name }) => name));
  // init-lite is who registers the others; what execd starts comes and goes.
  const services = all.filter(({ exec, index }) => !exec && index > 0).map(({ name }) => name);
  let after = 0n;
  let rounds = 0;
  while (!signal.aborted) {
    let client: ControlClient | null = null;
    try {
      client = await ControlClient.open(socketPath);
      while (!signal.aborted) {
        for (let pages = 0; pages < LOG_PAGES_MAX; pages++) {
          const page = await client.logs(after);
          after = page.records.at(-1)?.id ?? after;
          say({ kind: 'logs', rows: page.records.map((record) => logRow(record, nameOf)), dropped: page.dropped });
          if (page.records.length === 0) break;
        }
        say({ kind: 'series', rows: await allSeries(client, nameOf) });
        const status = await client.status(services);
        say({ kind: 'system', rows: systemRows(status), guestNs: Number(status.timeNs) });
        if (rounds++ % PAST_ROUNDS === 0) await past(client, say);
        say({ kind: 'control', trouble: null });
        await pause(ROUND_MS, signal);
      }
    } catch (error) {
      say({ kind: 'control', trouble: `control port: ${(error as Error).message}; trying again` });
      await pause(RETRY_MS, signal);
    } finally {
      client?.close();
    }
  }
}

/** The GPUs' history; without retention there is none, and the port goes on. */
async function past(client: ControlClient, say: (event: ViewEvent) => void): Promise<void> {
  try {
    say({ kind: 'past', past: await readPast(client) });
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    say({ kind: 'past', past: new Map() });
  }
}

/** Waits, or less when `signal` aborts. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}
