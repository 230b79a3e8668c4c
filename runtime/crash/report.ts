// SPDX-License-Identifier: Apache-2.0
// A crash record as a report for people. Pure: record, names and tables in, lines out; every text in it is a number, a name of our own
// tables or one that the decoder has checked, so nothing can steer a terminal.
import { explain, hex } from './address.js';
import { EVENT_START, type CrashCall, type CrashRecord } from './record.js';
import type { Found } from './symbols.js';

/** Names by number, from abi/. */
export interface Tables {
  traps: Map<number, string>;
  calls: Map<number, string>;
  errors: Map<number, string>;
}

const REGISTERS = [
  'zero', 'ra', 'sp', 'gp', 'tp', 't0', 't1', 't2', 's0', 's1', 'a0', 'a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'a7',
  's2', 's3', 's4', 's5', 's6', 's7', 's8', 's9', 's10', 's11', 't3', 't4', 't5', 't6',
];
const RA = 1;
const REGISTERS_A_LINE = 3;
const LABEL_WIDTH = 18;

export function trapName(tables: Tables, record: CrashRecord): string {
  return tables.traps.get(record.cause) ?? `trap ${record.cause}`;
}

/** Guest time since power-on as the console shows it, in seconds. */
export function time(ns: bigint): string {
  return `${ns / 1_000_000_000n}.${(ns % 1_000_000_000n).toString().padStart(9, '0')}`;
}

/** A place in text: its function if it is known, always the number. */
export function where(pc: bigint, found: Found): string {
  const named = 'symbols' in found ? found.symbols.at(pc) : null;
  return named === null ? hex(pc) : `${named.name} + 0x${named.offset.toString(16)} (${hex(pc)})`;
}

/** The function to look at: where it was, or, where that is the runtime's own, who called it. */
export function culprit(record: CrashRecord, found: Found): string {
  if (!('symbols' in found)) return hex(record.pc);
  const here = found.symbols.at(record.pc);
  const caller = returned(record, found);
  if (here !== null && isRuntime(here.name) && caller !== null) return caller;
  return here?.name ?? hex(record.pc);
}

function isRuntime(name: string): boolean {
  return /^(wasm_rt_|mem(cpy|move|set|cmp)$)/.test(name);
}

/** The function that ra returns into, when it was saved and lies in the module's text. */
function returned(record: CrashRecord, found: Found): string | null {
  const ra = record.registers.get(RA);
  if (ra === undefined || !('symbols' in found)) return null;
  return found.symbols.at(ra - 1n)?.name ?? null; // the call itself is before the return address
}

/** One call, as it was made. */
export function callText(call: CrashCall, tables: Tables, withheld = false): string {
  if (call.nr === EVENT_START) return 'start';
  const name = tables.calls.get(call.nr) ?? `call ${call.nr}`;
  const made = `${name}(${withheld ? 'withheld' : hex(BigInt(call.argument))})`;
  if (call.result === null) return `${made}: it ended here`;
  const error = call.result < 0 ? tables.errors.get(-call.result) : undefined;
  return `${made} = ${call.result}${error === undefined ? '' : ` ${error}`}`;
}

/** Lines of a whole report. */
export function report(record: CrashRecord, tables: Tables, found: Found): string[] {
  const line = (label: string, text: string): string => `  ${label.padEnd(LABEL_WIDTH)}${text}`;
  const trap = trapName(tables, record);
  const lines = [
    `crash ${record.sequence}: ${record.service} ${trap}, ${time(record.timeNs)} s into its boot`,
    line('in', where(record.pc, found)),
  ];
  const caller = returned(record, found);
  if (caller !== null) lines.push(line('called from', `${caller} (ra; reliable only where the function had not yet called another)`));
  if ('without' in found) lines.push(line('names', `none: ${found.without}`));
  lines.push(line('fault address', explain(record, trap)));
  const { generation, restarts, memoryPages } = record;
  lines.push(line('instance', `generation ${generation}, ${restarts} restarts before in this boot, ${memoryPages} pages of memory`));
  lines.push(line('started by', record.parent === 0 ? 'init-lite' : `manifest entry ${record.parent}`));
  if (record.servingCount > 0) lines.push(line('waiting for it', waiting(record)));
  lines.push(line('module', `sha256 ${record.moduleSha256}`));
  lines.push(line('text', `sha256 ${record.elfSha256}`));
  lines.push(line('bundle', record.bundleSha256));
  lines.push('  last calls, oldest first: the first argument\'s low 24 bits, the result');
  lines.push(...record.calls.map((call) => `    ${callText(call, tables, record.withheld)}`));
  if (record.calls.length === 0) lines.push('    none');
  if (record.withheld) lines.push('  registers withheld: the manifest says crash_registers = false for this service');
  else lines.push('  registers, those that were saved', ...registerLines(record));
  return lines;
}

function waiting(record: CrashRecord): string {
  const more = record.servingCount - record.serving.length;
  return record.serving.join(', ') + (more > 0 ? ` and ${more} more` : '');
}

function registerLines(record: CrashRecord): string[] {
  const shown = [...record.registers].map(([x, value]) => `${REGISTERS[x]!.padStart(4)} 0x${value.toString(16).padStart(16, '0')}`);
  const lines: string[] = [];
  for (let at = 0; at < shown.length; at += REGISTERS_A_LINE) lines.push(`  ${shown.slice(at, at + REGISTERS_A_LINE).join('  ')}`);
  return lines;
}

/** A record for machines: 64-bit numbers as hexadecimal texts, the rest as it is. */
export function json(record: CrashRecord, tables: Tables, found: Found): Record<string, unknown> {
  const named = 'symbols' in found ? found.symbols.at(record.pc) : null;
  return {
    sequence: Number(record.sequence),
    service: record.service,
    trap: trapName(tables, record),
    time_ns: Number(record.timeNs),
    generation: record.generation,
    restarts: record.restarts,
    function: named?.name ?? null,
    function_offset: named?.offset ?? null,
    culprit: 'symbols' in found ? culprit(record, found) : null,
    names: 'symbols' in found ? 'found' : found.without,
    pc: hex(record.pc),
    address: hex(record.address),
    address_meaning: explain(record, trapName(tables, record)),
    manifest_index: record.index,
    parent_index: record.parent,
    waiting_for_it: { count: record.servingCount, names: record.serving },
    module_sha256: record.moduleSha256,
    elf_sha256: record.elfSha256,
    bundle_sha256: record.bundleSha256,
    memory_pages: record.memoryPages,
    stack_bytes: record.stackBytes,
    calls: record.calls.map((call) => ({ ...call, text: callText(call, tables, record.withheld) })),
    withheld: record.withheld,
    registers: Object.fromEntries([...record.registers].map(([x, value]) => [REGISTERS[x]!, hex(value)])),
  };
}
