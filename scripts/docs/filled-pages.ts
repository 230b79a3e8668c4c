// SPDX-License-Identifier: Apache-2.0
// Pages that people write and whose tables come from abi/*.toml, the table of keys or the command line: a block
// between `<!-- table: NAME -->` and `<!-- end of table -->`.
// Invariant: everything outside of the blocks is kept byte for byte; an unknown name or a block without its end is an error.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { commandSections } from './command-tables.js';
import { keyTable, switchTable } from './config-tables.js';
import { seriesByFleet, seriesByGroup, totalsByHosts } from './cardinality-tables.js';
import { fieldTable, groupTable, metricTable, selfTable } from './metric-tables.js';

/** Pages with blocks, below the root. */
export const FILLED: readonly string[] = ['metrics', 'cardinality', 'configuration', 'command'].map((name) => `docs/operators/${name}.md`);

const TABLES: Readonly<Record<string, () => string[]>> = {
  groups: groupTable, metrics: metricTable, fields: fieldTable, self: selfTable,
  'series by group': seriesByGroup, 'series by fleet': seriesByFleet, 'hosts': totalsByHosts,
  'configuration keys': keyTable, 'configuration groups': switchTable, 'commands': commandSections,
};
const BLOCK = /^<!-- table: ([a-z ]+) -->$/;
const END = '<!-- end of table -->';

/** The text with each block filled anew. @throws Error naming the block at fault. */
export function fillBlocks(text: string): string {
  const lines = text.split('\n');
  const out: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!;
    out.push(line);
    const name = BLOCK.exec(line)?.[1];
    if (name === undefined) continue;
    const table = TABLES[name];
    if (table === undefined) throw new Error(`no table "${name}"`);
    const end = lines.indexOf(END, at);
    if (end < 0) throw new Error(`table "${name}" has no "${END}"`);
    out.push('', ...table(), '', END);
    at = end;
  }
  return out.join('\n');
}

/** Path and wanted text of every page with blocks. */
export const filledPages = (root: string): [string, string][] =>
  FILLED.map((path) => [path, fillBlocks(readFileSync(join(root, path), 'utf8'))]);
