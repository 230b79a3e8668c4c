// SPDX-License-Identifier: Apache-2.0
// Reads what the build must know of a .wasm: imports with their types, exports, memory, table, global constants.
// It trusts nothing: every count and length is checked against the file, as the kernel's own loader does (assembly/kernel).
// Source: WebAssembly core specification 2.0, chapter 5 (binary format). Limit: files up to 4 MiB.
import { wrong } from './fail.js';

/** A function type; letters i (i32), I (i64), f, d. */
export interface FuncType {
  params: string;
  results: string;
}
export interface WasmImport {
  module: string;
  name: string;
  kind: 'func' | 'table' | 'memory' | 'global';
  type: FuncType | null;
}
export interface WasmExport {
  name: string;
  kind: number;
  index: number;
}
export interface WasmInfo {
  imports: WasmImport[];
  exports: WasmExport[];
  /** own memories; `maxPages` null when unbounded */
  memories: { pages: number; maxPages: number | null; shared: boolean }[];
  tables: { elements: number; maxElements: number | null }[];
  /** per function index (imports first): its type */
  functions: FuncType[];
  /** per global index (imports first): the constant, or null when it is not an i32 constant or is mutable */
  globals: (number | null)[];
}

export const EXPORT_FUNC = 0;
export const EXPORT_MEMORY = 2;
export const EXPORT_GLOBAL = 3;
const FILE_BYTES_MAX = 4 << 20;
const KINDS = ['func', 'table', 'memory', 'global'] as const;
const TYPES: Record<number, string> = { 0x7f: 'i', 0x7e: 'I', 0x7d: 'f', 0x7c: 'd', 0x7b: 'v', 0x70: 'r', 0x6f: 'e' };

class Reader {
  at = 0;
  constructor(
    readonly bytes: Uint8Array,
    readonly name: string,
    readonly base: number,
  ) {}

  fail(what: string): never {
    return wrong(`${this.name}: offset ${this.base + this.at}: ${what}`);
  }
  get done(): boolean {
    return this.at >= this.bytes.length;
  }
  byte(): number {
    return this.bytes[this.at++] ?? this.fail('ends too early');
  }
  /** LEB128, at most 32 bits. */
  u32(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value <= 0xffffffff ? value : this.fail('number exceeds 32 bits');
    }
    return this.fail('number is longer than 5 bytes');
  }
  i32(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value |= shift < 32 ? (byte & 0x7f) << shift : 0;
      if (byte < 0x80) return shift < 25 && byte & 0x40 ? value | (-1 << (shift + 7)) : value;
    }
    return this.fail('number is longer than 5 bytes');
  }
  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.at) this.fail(`wants ${length} bytes, ${this.bytes.length - this.at} are left`);
    const part = this.bytes.subarray(this.at, this.at + length);
    this.at += length;
    return part;
  }
  text(): string {
    return Buffer.from(this.take(this.u32())).toString('utf8');
  }
  valueType(): string {
    const byte = this.byte();
    return TYPES[byte] ?? this.fail(`unknown value type 0x${byte.toString(16)}`);
  }
  limits(): { min: number; max: number | null; shared: boolean } {
    const flags = this.byte();
    if (flags > 3) this.fail(`limits flags ${flags} need a feature that we do not use`);
    const min = this.u32();
    return { min, max: flags & 1 ? this.u32() : null, shared: (flags & 2) !== 0 };
  }
  list<T>(each: () => T): T[] {
    const count = this.u32();
    if (count > this.bytes.length) this.fail(`a list of ${count} cannot fit`);
    return Array.from({ length: count }, each);
  }
}

/** Parses the sections that matter. @throws Failure 1 naming file and offset. */
export function readWasm(bytes: Uint8Array, name: string): WasmInfo {
  if (bytes.length > FILE_BYTES_MAX) wrong(`${name}: larger than ${FILE_BYTES_MAX} bytes`);
  const file = new Reader(bytes, name, 0);
  if (Buffer.from(file.take(8)).toString('hex') !== '0061736d01000000') wrong(`${name}: not a WebAssembly 1 module`);
  const info: WasmInfo = { imports: [], exports: [], memories: [], tables: [], functions: [], globals: [] };
  const types: FuncType[] = [];
  let last = 0;
  let bodies = 0;
  while (!file.done) {
    const id = file.byte();
    const length = file.u32();
    const base = file.at;
    const body = new Reader(file.take(length), name, base);
    if (id !== 0) {
      const order = id === 12 ? 9.5 : id; // the data count section stands before code
      if (order <= last) body.fail(`section ${id} is out of order`);
      last = order;
    }
    if (id === 10) bodies = new Reader(body.bytes, name, base).u32();
    else section(id, body, info, types);
  }
  const own = info.functions.length - info.imports.filter(({ kind }) => kind === 'func').length;
  if (own !== bodies) file.fail(`${own} functions are declared, ${bodies} have code`);
  return info;
}

function section(id: number, body: Reader, info: WasmInfo, types: FuncType[]): void {
  const typeOf = (index: number): FuncType => types[index] ?? body.fail(`type ${index} does not exist`);
  switch (id) {
    case 1:
      types.push(
        ...body.list(() => {
          if (body.byte() !== 0x60) body.fail('only function types are known');
          return { params: body.list(() => body.valueType()).join(''), results: body.list(() => body.valueType()).join('') };
        }),
      );
      break;
    case 2:
      info.imports.push(...body.list(() => importEntry(body, info, typeOf)));
      break;
    case 3:
      info.functions.push(...body.list(() => typeOf(body.u32())));
      break;
    case 4:
      body.list(() => {
        if (body.byte() !== 0x70) body.fail('only a funcref table is known');
        const { min, max } = body.limits();
        info.tables.push({ elements: min, maxElements: max });
      });
      break;
    case 5:
      body.list(() => {
        const { min, max, shared } = body.limits();
        info.memories.push({ pages: min, maxPages: max, shared });
      });
      break;
    case 6:
      body.list(() => info.globals.push(globalEntry(body)));
      break;
    case 7:
      info.exports.push(...body.list(() => ({ name: body.text(), kind: body.byte(), index: body.u32() })));
      break;
    default:
      return; // code, data, elements and custom sections are validated by wabt
  }
  if (!body.done) body.fail(`section ${id} is longer than its content`);
}

function importEntry(body: Reader, info: WasmInfo, typeOf: (index: number) => FuncType): WasmImport {
  const module = body.text();
  const name = body.text();
  const kind = KINDS[body.byte()] ?? body.fail(`import ${module}.${name} has an unknown kind`);
  let type: FuncType | null = null;
  if (kind === 'func') {
    type = typeOf(body.u32());
    info.functions.push(type);
  } else if (kind === 'table') {
    body.byte();
    body.limits();
  } else if (kind === 'memory') {
    body.limits();
  } else {
    body.take(2);
    info.globals.push(null);
  }
  return { module, name, kind, type };
}

/** A global's i32 constant; other initialisers are skipped by their shape. */
function globalEntry(body: Reader): number | null {
  const type = body.valueType();
  const mutable = body.byte() === 1;
  const opcode = body.byte();
  let value: number | null = null;
  if (opcode === 0x41) value = body.i32();
  else if (opcode === 0x42) while (body.byte() >= 0x80);
  else if (opcode === 0x43) body.take(4);
  else if (opcode === 0x44) body.take(8);
  else if (opcode === 0x23) body.u32();
  else body.fail(`global initialiser 0x${opcode.toString(16)} is not a constant`);
  if (body.byte() !== 0x0b) body.fail('global initialiser is more than one instruction');
  return type === 'i' && !mutable ? value : null;
}
