// SPDX-License-Identifier: Apache-2.0
// Strict reading of our TOML tables: every key is known, every value has its type, every message names file and key.
// Limit: files up to 1 MiB.
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { infra, wrong } from './fail.js';
import { ROOT } from './paths.js';

export type Table = Record<string, unknown>;

const FILE_BYTES_MAX = 1 << 20;

/** Parses one TOML file. @throws Failure 1 with file:line:col when malformed, 3 when it cannot be read. */
export function readToml(path: string): Table {
  const shown = relative(ROOT, path);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    return infra(`${shown}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  if (text.length > FILE_BYTES_MAX) wrong(`${shown}: larger than ${FILE_BYTES_MAX} bytes`);
  try {
    return parse(text) as Table;
  } catch (error) {
    if (error instanceof TomlError) {
      const first = error.message.split('\n')[0];
      return wrong(`${shown}:${error.line}:${error.column}: ${first}`);
    }
    throw error;
  }
}

/** Refuses keys that nothing reads, so that a misspelt key cannot pass as a default. */
export function onlyKeys(table: Table, allowed: readonly string[], where: string): void {
  for (const key of Object.keys(table)) {
    if (!allowed.includes(key)) wrong(`${where}: unknown key "${key}" (known: ${allowed.join(', ')})`);
  }
}

/** A string value. `fallback` undefined means that the key is required. */
export function text(table: Table, key: string, where: string, fallback?: string): string {
  const value = table[key];
  if (value === undefined && fallback !== undefined) return fallback;
  if (typeof value !== 'string') return wrong(`${where}: "${key}" must be a text`);
  return value;
}

/** An integer in [min, max]. */
export function int(table: Table, key: string, where: string, min: number, max: number, fallback?: number): number {
  const value = table[key];
  if (value === undefined && fallback !== undefined) return fallback;
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) return wrong(`${where}: "${key}" must be an integer`);
  if (value < min || value > max) return wrong(`${where}: "${key}" = ${value} is outside ${min}..${max}`);
  return value;
}

/** A boolean. */
export function flag(table: Table, key: string, where: string, fallback: boolean): boolean {
  const value = table[key];
  if (value === undefined) return fallback;
  if (typeof value !== 'boolean') return wrong(`${where}: "${key}" must be true or false`);
  return value;
}

/** A list of texts without repeats. */
export function texts(table: Table, key: string, where: string, fallback?: string[]): string[] {
  const value = table[key];
  if (value === undefined && fallback !== undefined) return fallback;
  if (!Array.isArray(value) || value.some((item) => typeof item !== 'string')) {
    return wrong(`${where}: "${key}" must be a list of texts`);
  }
  const list = value as string[];
  const repeated = list.find((item, index) => list.indexOf(item) !== index);
  if (repeated !== undefined) return wrong(`${where}: "${key}" names "${repeated}" twice`);
  return list;
}

/** An array of tables. */
export function rows(table: Table, key: string, where: string): Table[] {
  const value = table[key];
  if (!Array.isArray(value) || value.some((row) => typeof row !== 'object' || row === null || Array.isArray(row))) {
    return wrong(`${where}: "${key}" must be an array of tables`);
  }
  return value as Table[];
}
