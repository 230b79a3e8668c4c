// SPDX-License-Identifier: Apache-2.0
// `vigil validate --config FILE`: everything that is wrong with a configuration at once; on request what it resolves to, and what it emits.
// Invariant: nothing is started and nothing written; a secret is not shown. Exit codes: 0 valid, 1 faults, 2 usage, 3 the file cannot be
// read.
import type { Command } from 'commander';
import { emissionsOf, type Emissions, type Kind } from '../../runtime/config/emissions.js';
import { loadConfig, renderError } from '../../runtime/config/load.js';
import { checkFiles } from '../../runtime/config/files.js';
import { renderToml, rowsOf } from '../../runtime/config/show.js';
import { CONFIG_OPTION, faultLines } from '../command/config.js';
import { examples, note, print, printJson, table } from '../command/output.js';
import type { Job } from '../vigil.js';

interface Options { config?: string; showDefaults?: boolean; showEmissions?: boolean; json?: boolean }

const HEADS: Readonly<Record<Kind, string>> = { gpu: 'GPU', gpu_instance: 'MIG instance', nvswitch: 'NVSwitch', nvlink: 'NVLink' };
const KIND_NAMES = Object.keys(HEADS) as Kind[];

function printEmissions({ rows, totals, fleets, cap }: Emissions): void {
  const numbers = KIND_NAMES.map((_, i) => i + 1);
  print('# series a scrape by entity: every field that the kind of entity can have (XID: one a code seen)');
  for (const line of table([
    ['metric', ...KIND_NAMES.map((kind) => HEADS[kind]), 'groups'],
    ...rows.map(({ metric, series, groups }) => [metric, ...KIND_NAMES.map((kind) => String(series[kind])), groups.join(', ')]),
    ['sum', ...KIND_NAMES.map((kind) => String(totals[kind])), ''],
  ], numbers)) print(line);
  print(`\n# reference nodes against max_series_per_scrape = ${cap}`);
  for (const line of table([
    ['node', ...KIND_NAMES.map((kind) => `${HEADS[kind]}s`), 'healthy', 'at most', 'left out of a healthy node'],
    ...fleets.map((row) => [row.fleet, ...KIND_NAMES.map((kind) => String(row.entities[kind])), String(row.healthy), String(row.most),
      Object.entries(row.dropped).map(([group, count]) => `${count} of ${group}`).join(', ') || 'nothing']),
  ], [...numbers, KIND_NAMES.length + 1, KIND_NAMES.length + 2])) print(line);
}

function validate(options: Options): number {
  const path = options.config ?? 'the defaults';
  const loaded = loadConfig(options.config);
  const { errors, listed } = 'config' in loaded ? checkFiles(loaded.config) : { errors: loaded.errors, listed: null };
  if (!('config' in loaded) || errors.length > 0) {
    if (options.json === true) printJson({ file: options.config ?? null, valid: false, errors });
    else for (const [i, line] of faultLines(path, errors).entries()) process.stderr.write(`${i === 0 ? 'vigil: ' : ''}${line}\n`);
    return 'unreadable' in loaded && loaded.unreadable === true ? 3 : 1;
  }
  const { config } = loaded;
  const warnings = listed === null ? [] : listed.warnings.map(renderError);
  const emissions = options.showEmissions === true ? emissionsOf(config, listed?.ids) : null;
  if (options.json === true) {
    const settings = options.showDefaults === true
      ? { settings: rowsOf(config).map(({ path: at, value, set }) => ({ path: at, value, set })) } : {};
    printJson({ file: options.config ?? null, valid: true, warnings, ...settings, ...(emissions === null ? {} : { emissions }) });
    return 0;
  }
  for (const warning of warnings) note(warning);
  if (options.showDefaults === true) process.stdout.write(renderToml(config));
  if (options.showDefaults === true && emissions !== null) print('');
  if (emissions !== null) printEmissions(emissions);
  if (options.showDefaults !== true && emissions === null) print(`${path}: valid`);
  return 0;
}

/** Registers `vigil validate`. */
export function register(program: Command, run: (job: Job) => void): void {
  program.command('validate').description('Check a configuration: every fault at once, each with its path.')
    .option(...CONFIG_OPTION)
    .option('--show-defaults', 'print every key with its value; what the file sets is marked')
    .option('--show-emissions', 'print which metrics it emits, how many series each, and what the cap leaves')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('validate --config vigil.example.toml', 'validate --config vigil.toml --show-emissions',
      'validate --show-defaults > vigil.toml'))
    .action((options: Options) => run(() => Promise.resolve(validate(options))));
}
