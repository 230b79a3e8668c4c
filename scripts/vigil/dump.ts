// SPDX-License-Identifier: Apache-2.0
// `vigil dump`: one JSON for a bug report: versions, configuration, the source with every entity and field, the guest where one runs.
// Invariant: no secret is in it (headers are hidden, addresses without passwords, identities hashed where the configuration says so); a
// part that cannot be had says why in its place and hides no other. Exit codes: 0 done, 1 a wrong configuration, 2 usage, 3 a file cannot
// be read or written.
import { readFileSync, writeFileSync } from 'node:fs';
import { arch, platform, release } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { entityName } from '../../runtime/bridge/inspect.js';
import { emissionsOf } from '../../runtime/config/emissions.js';
import { guestConfig, readListed } from '../../runtime/config/fields.js';
import { renderError } from '../../runtime/config/load.js';
import { rowsOf } from '../../runtime/config/show.js';
import type { Config } from '../../runtime/config/schema.js';
import { CONFIG_OPTION, readConfig } from '../command/config.js';
import { LEVELS, RUN_OPTION, allSeries, askGuest, nameOfSender, readJournal, statusOf, type GuestOptions } from '../command/guest.js';
import { exact, examples } from '../command/output.js';
import { askSource } from '../command/source.js';
import { Failure, infra } from '../lib/fail.js';
import { ROOT } from '../lib/paths.js';
import type { Job } from '../vigil.js';
import { fieldsOf } from './inspect.js';

interface Options extends GuestOptions { output?: string; json?: boolean }

const SCHEMA = 'vigil-dump-1';

/** A part of the dump, or why it cannot be had. */
async function part<T>(make: () => Promise<T>): Promise<T | { readonly unavailable: string }> {
  try {
    return await make();
  } catch (error) {
    if (error instanceof Failure) return { unavailable: error.message };
    throw error;
  }
}

async function sourcePart(config: Config): Promise<unknown> {
  const { label, state, version, entities, cells } = await askSource(config, fieldsOf(config));
  return {
    label, state, version, entities: entities.map((entity) => ({ ...entity, name: entityName(entity) })),
    cells: cells.map(({ entity, ...cell }) => ({ entity: entityName(entity), ...cell })),
  };
}

async function guestPart(options: GuestOptions): Promise<unknown> {
  return askGuest(options, async (client, run) => {
    const status = await statusOf(client);
    const series = await allSeries(client);
    const { records, lost } = await readJournal(client, 0n);
    const nameOf = nameOfSender();
    const grave = records.filter(({ level }) => level <= 1)
      .map(({ level, sender, ...record }) => ({ ...record, level: LEVELS[level] ?? level, sender: nameOf(sender) }));
    return { run, status, series: series.filter(({ name }) => name.startsWith('vigil.')), seriesCount: series.length,
      journal: { records: records.length, lost, errorsAndWarnings: grave } };
  });
}

async function dump(options: Options): Promise<number> {
  const config = readConfig(options.config);
  const listed = readListed(config);
  const lines = guestConfig(config);
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  const whole = {
    schema: SCHEMA, madeUtc: new Date().toISOString(),
    versions: { vigil: version, node: process.version, system: `${platform()} ${release()} ${arch()}` },
    config: {
      file: options.config ?? null, settings: Object.fromEntries(rowsOf(config).map(({ path, value }) => [path, value])),
      receiver: 'text' in lines ? lines.text.trim().split('\n') : { unavailable: lines.errors.map(renderError).join('; ') },
    },
    emissions: emissionsOf(config, listed !== null && 'ids' in listed ? listed.ids : undefined),
    source: await part(() => sourcePart(config)),
    guest: await part(() => guestPart(options)),
  };
  const text = `${JSON.stringify(whole, exact, 2)}\n`;
  if (options.output === undefined) process.stdout.write(text);
  else {
    try {
      writeFileSync(options.output, text, { mode: 0o600 });
    } catch (error) {
      return infra(`${options.output} cannot be written: ${(error as Error).message}`);
    }
  }
  return 0;
}

/** Registers `vigil dump`. */
export function register(program: Command, run: (job: Job) => void): void {
  program.command('dump').description('Print one JSON for a bug report: versions, configuration, source, guest. No secret is in it.')
    .option('--output <file>', 'write it to this file instead')
    .option('--json', 'taken for the sake of scripts: it is JSON with or without')
    .option(...CONFIG_OPTION)
    .option(...RUN_OPTION)
    .addHelpText('after', examples('dump > dump.json', 'dump --config vigil.toml --output dump.json'))
    .action((options: Options) => run(() => dump(options)));
}
