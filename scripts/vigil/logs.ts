// SPDX-License-Identifier: Apache-2.0
// `vigil logs [-f]`: the journal of the running guest. Invariant: each record once, in order; what logd let go before it was read is
// counted on stderr, never passed over. Exit codes: 0 done, 1 a wrong configuration, 2 usage, 3 no machine runs or its guest does not
// answer.
import { setTimeout as sleep } from 'node:timers/promises';
import { Option, type Command } from 'commander';
import type { ControlClient, LogRecord } from '../../runtime/bridge/control.js';
import { CONFIG_OPTION } from '../command/config.js';
import { LEVELS, RUN_OPTION, askGuest, nameOfSender, readJournal, type GuestOptions } from '../command/guest.js';
import { colors, exact, examples, note, print, safe } from '../command/output.js';
import { fieldsOf } from '../command/spans.js';
import { Failure } from '../lib/fail.js';
import type { Job } from '../vigil.js';

interface Options extends GuestOptions { follow?: boolean; level: (typeof LEVELS)[number]; scope?: string; all?: boolean; json?: boolean }

const ROUND_MS = 500;
const RETRY_MS = 1_000;
const TONES: readonly ((text: string) => string)[] = [colors.red, colors.yellow, String, colors.dim, colors.dim];

const seconds = (ns: bigint): string => `${String(ns / 1_000_000_000n).padStart(5)}.${String(ns % 1_000_000_000n).padStart(9, '0')}`;

function line(record: LogRecord, sender: string): string {
  const level = (LEVELS[record.level] ?? String(record.level)).toUpperCase().padEnd(5);
  const fields = record.fields.trim() === '' ? '' : ` ${record.fields.trim().split('\n').map(safe).join(' ')}`;
  const from = `${safe(sender)}/${safe(record.scope)}`;
  return `${seconds(record.tsNs)} ${(TONES[record.level] ?? String)(level)} ${from}: ${safe(record.message)}${colors.dim(fields)}`;
}

const toJson = (record: LogRecord, sender: string): string => JSON.stringify({
  id: record.id, timeNs: record.tsNs, level: LEVELS[record.level] ?? record.level, sender, scope: record.scope, message: record.message,
  fields: fieldsOf(record.fields),
}, exact);

/** metricsd writes series and spans into the journal too (docs/format/wire-metricsd.md): `vigil metrics` and `vigil traces` show them. */
const isExported = ({ scope, message }: LogRecord): boolean =>
  scope === 'metricsd' && /^(metrics snapshot|tracing span end) /.test(message);

/** What has been shown of one boot's journal. */
class Tail {
  private after = 0n;
  /** records of series and spans that were passed over */
  hidden = 0;
  private guestNs = 0n;
  constructor(private readonly options: Options, private readonly nameOf: (id: bigint) => string) {}

  /** Shows what came since the last time. */
  async show(client: ControlClient): Promise<void> {
    const [{ timeNs }, { total }] = [await client.status(), await client.logs(this.after, 1)];
    if (timeNs < this.guestNs || total < this.after) {
      note(timeNs < this.guestNs ? 'the guest was started anew' : 'logd was started anew');
      this.after = 0n;
    }
    this.guestNs = timeNs;
    const { records, after, lost } = await readJournal(client, this.after);
    if (lost > 0n) note(`${lost} records were let go before they could be read`);
    this.after = after;
    const { level, scope, all, json } = this.options;
    const least = LEVELS.indexOf(level);
    for (const record of records) {
      if (record.level > least || (scope !== undefined && record.scope !== scope)) continue;
      if (all !== true && scope === undefined && isExported(record)) {
        this.hidden++;
        continue;
      }
      print(json === true ? toJson(record, this.nameOf(record.sender)) : line(record, this.nameOf(record.sender)));
    }
  }
}

/** Shows and waits until a signal; a guest that goes away after it was there is waited for. */
async function follow(tail: Tail, options: Options): Promise<number> {
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => { stop.abort(); });
  const pause = (ms: number): Promise<void> => sleep(ms, undefined, { signal: stop.signal }).catch(() => undefined);
  let began = false;
  let trouble = '';
  while (!stop.signal.aborted) {
    try {
      await askGuest(options, async (client) => {
        for (; !stop.signal.aborted; await pause(ROUND_MS)) {
          await tail.show(client);
          began = true;
          trouble = '';
        }
      });
    } catch (error) {
      if (!began || !(error instanceof Failure)) throw error;
      if (error.message !== trouble) note(`${error.message}; trying again`);
      trouble = error.message;
      await pause(RETRY_MS);
    }
  }
  return 0;
}

async function logs(options: Options): Promise<number> {
  const tail = new Tail(options, nameOfSender());
  if (options.follow === true) return follow(tail, options);
  await askGuest(options, (client) => tail.show(client));
  if (tail.hidden > 0) note(`${tail.hidden} records of series and spans are not shown (--all shows them)`);
  return 0;
}

/** Registers `vigil logs`. */
export function register(program: Command, run: (job: Job) => void): void {
  program.command('logs').description('Print the journal of the running guest, oldest first.')
    .option('-f, --follow', 'go on until Ctrl-C, also over a new start of the guest')
    .addOption(new Option('--level <level>', 'this level and graver ones').choices(LEVELS).default('trace'))
    .option('--scope <scope>', 'only records of this scope')
    .option('--all', 'also the series and spans that metricsd writes into the journal')
    .option('--json', 'print one JSON object a line')
    .option(...CONFIG_OPTION)
    .option(...RUN_OPTION)
    .addHelpText('after', examples('logs', 'logs -f --level warn', 'logs --scope dcgmd --json'))
    .action((options: Options) => run(() => logs(options)));
}
