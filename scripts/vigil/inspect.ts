// SPDX-License-Identifier: Apache-2.0
// `vigil inspect [--probe-fields]`: the entities of the configured source and, field by field, what it has for each of them.
// Invariant: one line an entity and field with exactly one status; values are raw, in the field's unit; a replay is labelled.
// Exit codes: 0 asked, 1 a field answered with an error or there is no entity, 2 usage, 3 the source cannot be had.
import { Option, type Command } from 'commander';
import { catalog } from '../../runtime/bridge/catalog.js';
import { STATUSES, entityName, type CellReport, type CellStatus } from '../../runtime/bridge/inspect.js';
import type { EntityRef } from '../../runtime/bridge/source.js';
import { watchedFields } from '../../runtime/config/emissions.js';
import { readListed } from '../../runtime/config/fields.js';
import { renderError } from '../../runtime/config/load.js';
import type { Config } from '../../runtime/config/schema.js';
import { CONFIG_OPTION, readConfig } from '../command/config.js';
import { colors, examples, note, print, printJson, safe, table } from '../command/output.js';
import { askSource, type Asked } from '../command/source.js';
import { usage, wrong } from '../lib/fail.js';
import type { Job } from '../vigil.js';

interface Options { config?: string; probeFields?: boolean; allFields?: boolean; status?: CellStatus; json?: boolean }

/** The fields that a configuration watches. @throws Failure 1 when its fields_file is at fault */
export function fieldsOf(config: Config): number[] {
  const listed = readListed(config);
  if (listed !== null && 'errors' in listed) return wrong(listed.errors.map(renderError).join('\n'));
  for (const warning of listed?.warnings ?? []) note(renderError(warning));
  return watchedFields(config, listed?.ids);
}

const same = (a: EntityRef, b: EntityRef): boolean => a.group === b.group && a.id === b.id;
const valueText = ({ value, unit }: CellReport): string => (unit === '1' ? String(value) : `${String(value)} ${unit}`);
const TONES: Readonly<Record<CellStatus, (text: string) => string>> = {
  ok: String, 'no data': colors.dim, 'not supported': colors.dim, 'no permission': colors.red,
  blank: colors.yellow, stale: colors.yellow, error: colors.red,
};

function printEntities({ entities }: Asked): void {
  for (const line of table([
    ['entity', 'uuid', 'address', 'model', 'part of'],
    ...entities.map((entity) => [entityName(entity), safe(entity.uuid), safe(entity.bdf), safe(entity.model),
      entity.parent === undefined ? '' : entityName(entity.parent)]),
  ])) print(line);
}

function printCells(cells: readonly CellReport[]): void {
  const rows = cells.map((cell) => [entityName(cell.entity), String(cell.field), cell.name, cell.status,
    cell.status === 'ok' ? valueText(cell) : cell.detail]);
  const lines = table([['entity', 'field', 'name', 'status', 'value'], ...rows], [1]);
  print(lines[0]!);
  cells.forEach(({ status }, i) => { print(TONES[status](lines[i + 1]!)); });
  const counts = STATUSES.map((status) => [status, cells.filter((cell) => cell.status === status).length] as const)
    .filter(([, count]) => count > 0);
  print(`# ${cells.length} fields: ${counts.map(([status, count]) => `${count} ${status}`).join(', ')}`);
}

async function inspect(options: Options): Promise<number> {
  if (options.probeFields !== true && (options.allFields === true || options.status !== undefined))
    usage('--all-fields and --status belong to --probe-fields');
  const config = readConfig(options.config);
  const fields = options.probeFields !== true ? [] : options.allFields === true ? catalog.map(({ id }) => id) : fieldsOf(config);
  const found = await askSource(config, fields);
  const cells = found.cells.filter(({ status }) => options.status === undefined || status === options.status);
  if (options.json === true) {
    const ofCell = ({ entity, ...cell }: CellReport): Record<string, unknown> => ({
      entity: entityName(entity), uuid: found.entities.find((one) => same(one, entity))?.uuid ?? '', ...cell,
    });
    printJson({
      source: found.label, state: found.state, version: found.version,
      entities: found.entities.map((entity) => ({ ...entity, name: entityName(entity) })),
      ...(options.probeFields === true ? { cells: cells.map(ofCell) } : {}),
    });
  } else {
    print(`# source [${found.label}]: ${found.entities.length} entities; ${safe(found.version)}`);
    if (options.probeFields === true) printCells(cells);
    else printEntities(found);
  }
  if (found.entities.length === 0) note('the source has no entity');
  return found.entities.length === 0 || found.cells.some(({ status }) => status === 'error') ? 1 : 0;
}

/** Registers `vigil inspect`. */
export function register(program: Command, run: (job: Job) => void): void {
  program.command('inspect').description('Ask the configured source once: its entities, or each field of each entity.')
    .option(...CONFIG_OPTION)
    .option('--probe-fields', 'read the fields that the configuration watches: one status each')
    .option('--all-fields', 'with --probe-fields: every field that Vigil knows')
    .addOption(new Option('--status <status>', 'with --probe-fields: only fields with this status').choices(STATUSES))
    .option('--json', 'print JSON')
    .addHelpText('after', examples('inspect', 'inspect --probe-fields --config vigil.toml',
      "inspect --probe-fields --all-fields --status 'no permission'"))
    .action((options: Options) => run(() => inspect(options)));
}
