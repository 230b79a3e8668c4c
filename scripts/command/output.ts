// SPDX-License-Identifier: Apache-2.0
// What a subcommand prints. Invariant: text that came from elsewhere cannot steer a terminal; colours only in a terminal that wants them
// (not with NO_COLOR, not on TERM=dumb), so that a pipe gets the same bytes everywhere.
import picocolors from 'picocolors';

/** Everything but printable ASCII is escaped. */
export function safe(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

export function print(line: string): void { process.stdout.write(`${line}\n`); }
export function note(line: string): void { process.stderr.write(`vigil: ${line}\n`); }

/** JSON for machines; 64-bit numbers are numbers where they are exact and decimal strings where not. */
export function printJson(value: unknown): void { print(JSON.stringify(value, exact, 2)); }
export const exact = (_key: string, value: unknown): unknown => (typeof value !== 'bigint' ? value
  : value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : String(value));

const wanted = process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb' && process.env.TERM !== undefined;
export const colors = picocolors.createColors(wanted);

/** Columns, the last one as long as it is. `right`: numbers of columns that are aligned to the right. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  const placed = (cell: string, i: number): string => (right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!));
  return rows.map((row) => row.map(placed).join('  ').trimEnd());
}

/** Examples under a help text. */
export const examples = (...lines: string[]): string => `\nExamples:\n${lines.map((line) => `  vigil ${line}`).join('\n')}`;
