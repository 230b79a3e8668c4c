// SPDX-License-Identifier: Apache-2.0
// The bench's figures against budgets and against the golden file. Pure but for the two readers.
// Invariant: every key of boot/budgets.toml is measured exactly once a run, and nothing else is; a golden entry is exact
// for instructions. A golden entry belongs to one toolchain, because other compilers emit other instructions.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { wrong } from '../lib/fail.js';
import { ROOT } from '../lib/paths.js';
import { readToml } from '../lib/table.js';

const rowSchema = z
  .strictObject({
    key: z.string().regex(/^[a-z][a-z0-9_]*$/),
    what: z.string().min(1),
    unit: z.enum(['instructions', 'bytes', 'flushes']),
    max: z.int().positive().optional(),
    ratio_of: z.string().optional(),
    ratio_max: z.number().positive().optional(),
    /** who measures it: selftest in the image, a bare image (scripts/bench/bare-image.ts), or the host */
    source: z.enum(['guest', 'hash', 'gpu', 'files']).default('guest'),
  })
  .refine((row) => (row.ratio_of === undefined) === (row.ratio_max === undefined), 'ratio_of and ratio_max belong together');
export type BudgetRow = z.infer<typeof rowSchema>;

/** Figures by key. */
export type Figures = Record<string, number>;

/** What decides the instructions that are emitted. QEMU's version is noted, not part of the key: icount counts the same in each. */
export interface Toolchain {
  gcc: string;
  asc: string;
  wabt: string;
}

const goldenSchema = z.record(
  z.string(),
  z.strictObject({ qemu: z.string(), recorded_utc: z.string(), figures: z.record(z.string(), z.int().nonnegative()) }),
);
export type Golden = z.infer<typeof goldenSchema>;

export const GOLDEN = 'boot/bench.golden.json';

/** @throws Failure 1 naming the row. */
export function readBudgets(root: string = ROOT): BudgetRow[] {
  const parsed = z.strictObject({ row: z.array(rowSchema).min(1) }).safeParse(readToml(join(root, 'boot/budgets.toml')));
  if (!parsed.success) return wrong(`boot/budgets.toml: ${parsed.error.issues[0]!.path.join('.')}: ${parsed.error.issues[0]!.message}`);
  const rows = parsed.data.row;
  const keys = rows.map((row) => row.key);
  if (new Set(keys).size !== keys.length) wrong('boot/budgets.toml: a key appears twice');
  const lost = rows.find((row) => row.ratio_of !== undefined && !keys.includes(row.ratio_of));
  if (lost !== undefined) wrong(`boot/budgets.toml: ${lost.key}: no row ${lost.ratio_of}`);
  return rows;
}

/** @throws Failure 1 when the file is malformed. */
export function readGolden(root: string = ROOT): Golden {
  const file = join(root, GOLDEN);
  if (!existsSync(file)) return {};
  try {
    return goldenSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    return wrong(`${GOLDEN}: ${(error as Error).message.split('\n')[0]}`);
  }
}

/** The key of a golden entry. */
export function toolchainKey({ gcc, asc, wabt }: Toolchain): string {
  return `gcc ${gcc}, asc ${asc}, wabt ${wabt}`;
}

const FIGURE = /^([a-z][a-z0-9_]*)=(\d{1,15})$/;

/**
 * The figures that one boot printed as PREFIX KEY=VALUE: exactly the rows of that source.
 * @throws Failure 1 on a malformed, repeated, unknown or missing figure.
 */
export function guestFigures(
  lines: readonly string[], prefix: string, budgets: readonly BudgetRow[], source: 'guest' | 'hash' | 'gpu' = 'guest',
): Figures {
  const wanted = budgets.filter((row) => row.source === source).map((row) => row.key);
  const figures: Figures = {};
  for (const line of lines) {
    if (!line.startsWith(prefix)) continue;
    const match = FIGURE.exec(line.slice(prefix.length));
    if (match === null) return wrong(`the guest printed a malformed figure: "${line}"`);
    const [key, value] = [match[1]!, Number(match[2])];
    if (!wanted.includes(key)) wrong(`the guest printed "${key}", which is no row of source "${source}" in boot/budgets.toml`);
    if (key in figures) wrong(`the guest printed "${key}" twice`);
    figures[key] = value;
  }
  const missing = wanted.filter((key) => !(key in figures));
  if (missing.length > 0) wrong(`the guest printed no figure for ${missing.join(', ')}`);
  return figures;
}

export interface Compared {
  key: string;
  figure: number;
  budget: string;
  overBudget: boolean;
  golden: number | null;
  differs: boolean;
  what: string;
}

/** Each row beside its budget and its golden figure. */
export function compare(figures: Figures, budgets: readonly BudgetRow[], golden: Figures | null): Compared[] {
  return budgets.map((row) => {
    const figure = figures[row.key]!;
    const ratio = row.ratio_of === undefined ? null : figure / figures[row.ratio_of]!;
    const overBudget = (row.max !== undefined && figure > row.max) || (ratio !== null && !(ratio <= row.ratio_max!));
    const budget = ratio === null ? (row.max === undefined ? '-' : String(row.max)) : `${ratio.toFixed(3)}x of ${row.ratio_max}x`;
    const before = golden?.[row.key] ?? null;
    // Any change moves the image's size by some bytes; its budget holds it. Instruction counts are held exactly.
    const differs = golden !== null && before !== figure && row.unit === 'instructions';
    return { key: row.key, figure, budget, overBudget, golden: before, differs, what: row.what };
  });
}

function goldenCell({ figure, golden }: Compared): string {
  if (golden === null) return '-';
  return golden === figure ? 'same' : `${golden} (${figure > golden ? '+' : ''}${figure - golden})`;
}

/** A table for a terminal, one row a line. */
export function benchTable(rows: readonly Compared[]): string[] {
  const cells = rows.map((row) => [
    row.key,
    String(row.figure),
    row.budget,
    row.overBudget ? 'OVER' : 'ok',
    goldenCell(row),
    row.what,
  ]);
  const all = [['key', 'measured', 'budget', '', 'golden', 'what'], ...cells];
  const widths = all[0]!.map((_, column) => Math.max(...all.map((line) => line[column]!.length)));
  const pad = (cell: string, column: number): string =>
    column === 1 ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!);
  return all.map((line) => line.map(pad).join('  ').trimEnd());
}
