// SPDX-License-Identifier: Apache-2.0
// The tables of abi/*.toml as typed values: the one reader that the generators, the packer and host tests share.
// Invariant: numbers and names are unique in each table; a duplicate or an unknown key is a Failure.
import { join } from 'node:path';
import { int, onlyKeys, readToml, rows, text, texts, type Table } from './table.js';
import { wrong } from './fail.js';
import { ROOT } from './paths.js';

/** One numbered name of a table. */
export interface Numbered {
  name: string;
  number: number;
}

export type CallKind = 'call' | 'inline' | 'runtime' | 'mutant';

/** One parameter of a system call; `meta` is an address at the wasm level and travels in no register. */
export interface Param {
  name: string;
  type: 'u32' | 'u64' | 'meta';
}

/** One row of abi/syscalls.toml. */
export interface Syscall {
  nr: number;
  name: string;
  kind: CallKind;
  params: Param[];
  never: boolean;
  errors: string[];
  brief: string;
}

/** Everything under abi/. */
export interface Abi {
  version: number;
  errors: Numbered[];
  traps: Numbered[];
  slots: Numbered[];
  counters: Numbered[];
  reasons: Numbered[];
  syscalls: Syscall[];
  /** section -> key -> value */
  limits: Map<string, Map<string, number>>;
}

const NAME = /^[a-z][a-z0-9_]*$/;
const KINDS: readonly string[] = ['call', 'inline', 'runtime', 'mutant'];
/** Calls below this number trap; the import mask has one bit each. */
export const TRAPPING_NR_MAX = 63;

function numbered(file: string, key: string, numberKey: string, extra: string[], max: number): Numbered[] {
  const table = readToml(file);
  const where = file.split('/').slice(-2).join('/');
  onlyKeys(table, [key], where);
  const list = rows(table, key, where).map((row, index) => {
    const at = `${where}: ${key} ${index + 1}`;
    onlyKeys(row, [numberKey, 'name', ...extra], at);
    return { name: ident(text(row, 'name', at), at), number: int(row, numberKey, at, 0, max) };
  });
  unique(list, where);
  return list;
}

function ident(name: string, at: string): string {
  return NAME.test(name) ? name : wrong(`${at}: "${name}" is not a lower-case name`);
}

function unique(list: Numbered[], where: string): void {
  const names = new Set<string>();
  const numbers = new Set<number>();
  for (const { name, number } of list) {
    if (names.has(name)) wrong(`${where}: name "${name}" appears twice`);
    if (numbers.has(number)) wrong(`${where}: number ${number} appears twice`);
    names.add(name);
    numbers.add(number);
  }
}

function parameter(spec: string, at: string): Param {
  if (spec === 'meta') return { name: 'meta', type: 'meta' };
  const match = /^([a-z][a-z0-9_]*):(u32|u64)$/.exec(spec);
  if (match === null) return wrong(`${at}: parameter "${spec}" must be NAME:u32, NAME:u64 or meta`);
  return { name: match[1]!, type: match[2] as 'u32' | 'u64' };
}

function syscalls(table: Table, errors: Numbered[]): Syscall[] {
  const list = rows(table, 'call', 'abi/syscalls.toml').map((row, index): Syscall => {
    const at = `abi/syscalls.toml: call ${index + 1}`;
    onlyKeys(row, ['nr', 'name', 'params', 'errors', 'brief', 'kind', 'result'], at);
    const kind = text(row, 'kind', at, 'call');
    if (!KINDS.includes(kind)) wrong(`${at}: kind "${kind}" is not one of ${KINDS.join(', ')}`);
    const result = text(row, 'result', at, 'i64');
    if (result !== 'i64' && result !== 'never') wrong(`${at}: result must be i64 or never`);
    const nr = int(row, 'nr', at, 0, 255);
    if ((kind === 'inline') === (nr <= TRAPPING_NR_MAX)) {
      wrong(`${at}: trapping calls have numbers up to ${TRAPPING_NR_MAX}, inline ones above`);
    }
    const params = texts(row, 'params', at).map((spec) => parameter(spec, at));
    if (params.filter((param) => param.type !== 'meta').length > 6) wrong(`${at}: more than six registers`);
    const causes = texts(row, 'errors', at);
    for (const cause of causes) {
      if (!errors.some((error) => error.name === cause)) wrong(`${at}: error "${cause}" is not in abi/errors.toml`);
    }
    return {
      nr,
      name: ident(text(row, 'name', at), at),
      kind: kind as CallKind,
      params,
      never: result === 'never',
      errors: causes,
      brief: text(row, 'brief', at),
    };
  });
  unique(
    list.map((call) => ({ name: call.name, number: call.nr })),
    'abi/syscalls.toml',
  );
  return list.sort((a, b) => a.nr - b.nr);
}

/** Reads limits.toml: section -> key -> non-negative integer. */
function limits(file: string): Map<string, Map<string, number>> {
  const result = new Map<string, Map<string, number>>();
  for (const [section, keys] of Object.entries(readToml(file))) {
    const at = `abi/limits.toml: [${section}]`;
    if (typeof keys !== 'object' || keys === null || Array.isArray(keys)) wrong(`${at}: must be a section`);
    ident(section, at);
    const values = new Map<string, number>();
    for (const key of Object.keys(keys as Table)) {
      values.set(ident(key, at), int(keys as Table, key, at, 0, Number.MAX_SAFE_INTEGER));
    }
    result.set(section, values);
  }
  return result;
}

/** Loads every table. @throws Failure 1 naming file and row. */
export function loadAbi(root: string = ROOT): Abi {
  const file = (name: string): string => join(root, 'abi', name);
  const errors = numbered(file('errors.toml'), 'error', 'code', ['cause'], 255);
  const calls = readToml(file('syscalls.toml'));
  onlyKeys(calls, ['abi_version', 'call'], 'abi/syscalls.toml');
  return {
    version: int(calls, 'abi_version', 'abi/syscalls.toml', 1, 255),
    errors,
    traps: numbered(file('traps.toml'), 'trap', 'code', ['cause'], 255),
    slots: numbered(file('slots.toml'), 'slot', 'slot', ['brief'], 31),
    counters: numbered(file('counters.toml'), 'counter', 'which', ['scope'], 255),
    reasons: numbered(file('loader.toml'), 'reason', 'code', ['cause'], 255),
    syscalls: syscalls(calls, errors),
    limits: limits(file('limits.toml')),
  };
}

/** One limit by section and key. @throws Failure 1 when the table lacks it. */
export function limit(abi: Abi, section: string, key: string): number {
  return abi.limits.get(section)?.get(key) ?? wrong(`abi/limits.toml: [${section}] lacks ${key}`);
}

/** FNV-1a, 64 bits, of a name's ASCII bytes: the identity that the kernel stamps on messages. */
export function fnv1a64(name: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(name, 'ascii')) {
    hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  }
  return hash;
}
