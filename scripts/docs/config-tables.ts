// SPDX-License-Identifier: Apache-2.0
// The tables of docs/operators/configuration.md, from the table of keys. Pure.
// Invariant: every key of runtime/config/knobs.ts has one row, and nothing else has.
import { KNOBS, SETTABLE, TABLES, type KnobPath } from '../../runtime/config/knobs.js';
import { tomlValue } from '../../runtime/config/show.js';

const cell = (text: string): string => text.replaceAll('|', '\\|');

/** Every key that is a value, and every table with keys of its own (`NAME` stands for them). */
export function keyTable(): string[] {
  const single = (Object.keys(KNOBS) as KnobPath[]).map((path) => {
    const { default: fallback, range, brief } = KNOBS[path];
    return `| \`${path}\` | \`${tomlValue(fallback as string)}\` | ${cell(range)} | ${cell(brief)} |`;
  });
  const tables = Object.entries(TABLES).map(([path, { range, brief, default: fallback }]) =>
    `| \`${path}.NAME\` | ${Object.keys(fallback).length === 0 ? 'none' : 'see below'} | ${cell(range)} | ${cell(brief)} |`);
  return ['| key | default | takes | what it is for |', '|---|---|---|---|', ...single, ...tables];
}

/** The groups that can be switched. */
export function switchTable(): string[] {
  return ['| name | default | what it switches |', '|---|---|---|',
    ...SETTABLE.map(({ name, default: fallback, brief }) => `| \`${name}\` | \`"${fallback}"\` | ${cell(brief)} |`)];
}
