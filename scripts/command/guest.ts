// SPDX-License-Identifier: Apache-2.0
// The machine that runs, for commands that ask it: found by its run file, asked over its control port.
// Invariant: without a running machine the command ends with exit code 3 and says how to start one; the connection is closed whatever
// happens. Limits: LOG_PAGES_MAX pages of records a question.
import { ControlClient, ControlError, type GuestStatus, type LogRecord } from '../../runtime/bridge/control.js';
import { readRunFile, runFileOf, type Run } from '../../runtime/up/run-file.js';
import { infra } from '../lib/fail.js';
import { loadServices } from '../lib/services.js';
import { senderNames } from '../view/poll.js';
import { allSeries as readSeries } from '../view/series-page.js';
import type { SeriesRow } from '../view/model.js';
import { readConfig } from './config.js';

export { LEVELS } from '../view/poll.js';

export const RUN_OPTION = ['--run <file>', "the machine's run file (default: run.json beside the guest's disk)"] as const;
const LOG_PAGES_MAX = 1024;
const HINT = 'start one with: vigil up';

export interface GuestOptions { config?: string; run?: string }

/** Service names by the id that the kernel stamps. */
export const nameOfSender = (): ((id: bigint) => string) => senderNames(loadServices().map(({ name }) => name));

const runPath = (options: GuestOptions): string => options.run ?? runFileOf(readConfig(options.config));

/** The machine that runs. @throws Failure 3 when there is none */
export function findRun(options: GuestOptions): Run {
  const found = readRunFile(runPath(options));
  return found.state === 'running' ? found.run : infra(`${found.why}; ${HINT}`);
}

/** Asks the running guest. @throws Failure 3 when there is no machine, or its guest does not answer */
export async function askGuest<T>(options: GuestOptions, ask: (client: ControlClient, run: Run) => Promise<T>): Promise<T> {
  const run = findRun(options);
  const client = await ControlClient.open(run.control)
    .catch((error: NodeJS.ErrnoException) =>
      infra(`process ${run.pid} runs, and its control port ${run.control} does not answer (${error.code ?? error.message})`));
  try {
    return await ask(client, run);
  } catch (error) {
    if (error instanceof ControlError) {
      const where = run.metricsUrl === '' ? 'vigil up' : `${run.metricsUrl.replace(/\/metrics$/, '')}/-/ready`;
      return infra(`the guest answers ${error.status}: it starts, or is being started anew (see ${where})`);
    }
    if (error instanceof RangeError) throw error;
    return infra(`the guest does not answer: ${(error as Error).message}`);
  } finally {
    client.close();
  }
}

/** Every series that metricsd has now. */
export const allSeries = (client: ControlClient): Promise<SeriesRow[]> => readSeries(client, nameOfSender());

/** `lost`: records that logd let go before they were read. */
export interface Journal { readonly records: readonly LogRecord[]; readonly after: bigint; readonly lost: bigint }

/** The records after `after` that logd still holds. */
export async function readJournal(client: ControlClient, after: bigint): Promise<Journal> {
  const records: LogRecord[] = [];
  let at = after;
  let lost = 0n;
  for (let pages = 0; pages < LOG_PAGES_MAX; pages++) {
    const page = await client.logs(at);
    if (page.records.length === 0) break;
    lost += page.records[0]!.id - at - 1n; // ids have no gaps: what is missing was overwritten
    at = page.records.at(-1)!.id;
    records.push(...page.records);
  }
  return { records, after: at, lost };
}

/** Every service that init-lite keeps up. */
export async function statusOf(client: ControlClient): Promise<GuestStatus> {
  return client.status(loadServices().filter(({ exec, index }) => !exec && index > 0).map(({ name }) => name));
}
