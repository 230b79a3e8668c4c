// SPDX-License-Identifier: Apache-2.0
// `vigil metrics`: every series that the running guest's metricsd has now. Values are as the guest keeps them: integers, in the unit that
// the name's producer chose. Exit codes: 0 done, 1 no series has the name, 2 usage, 3 no machine runs or its guest does not answer.
import type { Command } from 'commander';
import { CONFIG_OPTION } from '../command/config.js';
import { RUN_OPTION, allSeries, askGuest, type GuestOptions } from '../command/guest.js';
import { examples, note, print, printJson, safe, table } from '../command/output.js';
import type { Job } from '../vigil.js';

interface Options extends GuestOptions { name?: string; json?: boolean }

/** A name, or with `*` at its end every name that begins so. */
const matches = (wanted: string | undefined, name: string): boolean =>
  wanted === undefined || (wanted.endsWith('*') ? name.startsWith(wanted.slice(0, -1)) : name === wanted);

async function metrics(options: Options): Promise<number> {
  const all = await askGuest(options, allSeries);
  const rows = all.filter(({ name }) => matches(options.name, name));
  if (options.json === true) printJson({ series: rows });
  else {
    const lines = rows.map(({ name, kind, producer, labels, value, count }) => [
      safe(name), kind, safe(producer), kind === 'histogram' ? `sum ${value} of ${count}` : String(value),
      Object.entries(labels).map(([key, text]) => `${safe(key)}=${safe(text)}`).join(' '),
    ]);
    if (lines.length > 0) for (const line of table([['name', 'kind', 'producer', 'value', 'labels'], ...lines], [3])) print(line);
  }
  if (rows.length > 0 || options.name === undefined) return 0;
  note(`no series is named ${safe(options.name)} (${all.length} series)`);
  return 1;
}

/** Registers `vigil metrics`. */
export function register(program: Command, run: (job: Job) => void): void {
  program.command('metrics').description('Print the series of the running guest with their latest values.')
    .option('--name <name>', 'only this name; NAME* for all that begin so')
    .option('--json', 'print JSON')
    .option(...CONFIG_OPTION)
    .option(...RUN_OPTION)
    .addHelpText('after', examples('metrics', "metrics --name 'hw.*'", 'metrics --name vigil.receiver.errors --json'))
    .action((options: Options) => run(() => metrics(options)));
}
