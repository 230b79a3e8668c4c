// SPDX-License-Identifier: Apache-2.0
// Owns: the host's reading of abi/bridge.toml. Invariant: no number of the protocol is written twice on the host side.
// Limits: read once, synchronously, at import; a malformed table throws here and nowhere later.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'smol-toml';

type Row = Readonly<Record<string, unknown>>;

/** One GPU field the guest knows: raw DCGM id and type, and the integer gauge it becomes. */
export interface FieldRow {
  readonly id: number; readonly name: string; readonly type: 'int64' | 'double'; readonly prom: string;
  readonly metric: string; readonly unit: string; readonly scale: number; readonly label: string;
}

const path = fileURLToPath(new URL('../../abi/bridge.toml', import.meta.url));
const table = parse(readFileSync(path, 'utf8')) as Record<string, unknown>;

function rows(key: string): readonly Row[] {
  const value = table[key];
  if (!Array.isArray(value) || value.length === 0) throw new Error(`abi/bridge.toml: [[${key}]] is missing`);
  return value as Row[];
}

function codes(key: string): Readonly<Record<string, number>> {
  const out: Record<string, number> = {};
  const seen = new Set<number>();
  for (const row of rows(key)) {
    const name = String(row['name']);
    const code = Number(row['code']);
    if (!Number.isInteger(code) || code < 0 || code > 127 || seen.has(code) || name in out) {
      throw new Error(`abi/bridge.toml: [[${key}]] ${name}: code ${code} is out of range or used twice`);
    }
    seen.add(code);
    out[name] = code;
  }
  return out;
}

function need(map: Readonly<Record<string, number>>, what: string, name: string): number {
  const value = map[name];
  if (value === undefined) throw new Error(`abi/bridge.toml: ${what} ${name} is missing`);
  return value;
}

const limits = table['limits'] as Readonly<Record<string, number>>;
const types = codes('type');
const statuses = codes('status');
const sources = codes('source');
const valueTypes = codes('value_type');
const sampleKinds = codes('sample_kind');
const streams = codes('stream');

/** Protocol version of every frame. */
export const VERSION = Number(table['version']);
/** Four ASCII bytes that open a frame. */
export const MAGIC = Buffer.from(String(table['magic']), 'ascii');
export const REPLY_BIT = 0x80;
export const limit = (name: string): number => need(limits, 'limit', name);
export const typeCode = (name: string): number => need(types, 'type', name);
export const statusCode = (name: string): number => need(statuses, 'status', name);
export const sourceCode = (name: string): number => need(sources, 'source', name);
export const valueType = (name: string): number => need(valueTypes, 'value_type', name);
/** What a value is (gauge, counter, rate, last), as each sample says it. */
export const sampleKind = (name: string): number => need(sampleKinds, 'sample kind', name);
/** Whose metrics a frame of the export port carries. */
export const streamCode = (name: string): number => need(streams, 'stream', name);
export const statusName = (code: number): string => nameOf(statuses, code);

/** The label of a source or a stream by its number; null: none has it. */
export const sourceName = (code: number): string | null => Object.keys(sources).find((name) => sources[name] === code) ?? null;
export const streamName = (code: number): string | null => Object.keys(streams).find((name) => streams[name] === code) ?? null;

function nameOf(map: Readonly<Record<string, number>>, code: number): string {
  return Object.keys(map).find((name) => map[name] === code) ?? `unknown(${code})`;
}

/** Fields in table order. */
export const fields: readonly FieldRow[] = rows('field').map((row) => row as unknown as FieldRow);
