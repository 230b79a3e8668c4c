// SPDX-License-Identifier: Apache-2.0
// Reads a linked RISC-V ELF64 and checks what the loader relies on: static, at most two PT_LOAD, none writable, no writable
// or zeroed data, nothing undefined, no symbol that we did not mean to link. Source: System V ABI, ELF-64 object file format.
import { wrong } from './fail.js';

export interface ElfSegment {
  flags: number;
  vaddr: bigint;
  fileBytes: bigint;
  memoryBytes: bigint;
  offset: bigint;
}
export interface ElfSection {
  name: string;
  type: number;
  flags: bigint;
  addr: bigint;
  offset: number;
  size: number;
}
export interface ElfSymbol {
  name: string;
  value: bigint;
  size: bigint;
  global: boolean;
  section: number;
}
export interface Elf {
  entry: bigint;
  segments: ElfSegment[];
  sections: ElfSection[];
  symbols: ElfSymbol[];
}

const EM_RISCV = 243;
const PT_LOAD = 1;
export const PF_X = 1;
export const PF_W = 2;
const SHT_SYMTAB = 2;
const SHT_STRTAB = 3;
const SHF_WRITE = 1n;
const SHF_ALLOC = 2n;

/** Parses headers, sections and symbols. @throws Failure 1 when it is not an ELF64 RISC-V executable. */
export function readElf(bytes: Uint8Array, name: string): Elf {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    return parse(view, name);
  } catch (error) {
    if (error instanceof RangeError) return wrong(`${name}: an offset lies outside the file`);
    throw error;
  }
}

function parse(file: Buffer, name: string): Elf {
  if (file.length < 64 || file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) {
    wrong(`${name}: not a little-endian ELF64`);
  }
  if (file.readUInt16LE(16) !== 2 || file.readUInt16LE(18) !== EM_RISCV) wrong(`${name}: not a RISC-V executable`);
  const phoff = Number(file.readBigUInt64LE(32));
  const segments: ElfSegment[] = [];
  for (let i = 0; i < file.readUInt16LE(56); i++) {
    const at = phoff + i * 56;
    if (file.readUInt32LE(at) !== PT_LOAD) continue;
    segments.push({
      flags: file.readUInt32LE(at + 4),
      offset: file.readBigUInt64LE(at + 8),
      vaddr: file.readBigUInt64LE(at + 16),
      fileBytes: file.readBigUInt64LE(at + 32),
      memoryBytes: file.readBigUInt64LE(at + 40),
    });
  }
  const sections = readSections(file);
  return { entry: file.readBigUInt64LE(24), segments, sections, symbols: readSymbols(file, sections) };
}

function textAt(file: Buffer, at: number): string {
  const end = file.indexOf(0, at);
  return file.toString('latin1', at, end < 0 ? file.length : end);
}

function readSections(file: Buffer): ElfSection[] {
  const shoff = Number(file.readBigUInt64LE(40));
  const count = file.readUInt16LE(60);
  if (count === 0) return [];
  const header = (i: number): number => shoff + i * 64;
  const names = Number(file.readBigUInt64LE(header(file.readUInt16LE(62)) + 24));
  return Array.from({ length: count }, (_, i) => ({
    name: textAt(file, names + file.readUInt32LE(header(i))),
    type: file.readUInt32LE(header(i) + 4),
    flags: file.readBigUInt64LE(header(i) + 8),
    addr: file.readBigUInt64LE(header(i) + 16),
    offset: Number(file.readBigUInt64LE(header(i) + 24)),
    size: Number(file.readBigUInt64LE(header(i) + 32)),
  }));
}

function readSymbols(file: Buffer, sections: ElfSection[]): ElfSymbol[] {
  const table = sections.find(({ type }) => type === SHT_SYMTAB);
  const names = sections.find(({ type, name }) => type === SHT_STRTAB && name === '.strtab');
  if (table === undefined || names === undefined) return [];
  return Array.from({ length: Math.floor(table.size / 24) }, (_, i) => {
    const at = table.offset + i * 24;
    return {
      name: textAt(file, names.offset + file.readUInt32LE(at)),
      global: file[at + 4]! >> 4 !== 0,
      section: file.readUInt16LE(at + 6),
      value: file.readBigUInt64LE(at + 8),
      size: file.readBigUInt64LE(at + 16),
    };
  }).filter(({ name }) => name !== '');
}

/** Global names that a service's ELF may hold: its entry, the module's own functions, and the runtime's. */
const SERVICE_SYMBOLS = new RegExp(
  '^(_start|vigil_instance_bytes|mem(cpy|move|set|cmp)|(floor|ceil|trunc|nearbyint)f?|' +
    'w2c_svc_\\w+|wasm2c_svc_\\w+|TEXT_BASE|__BSS_END__|_edata|_end)$',
);

/** Checks a service's linked ELF before it is stripped; returns the size of its instance struct in bytes. */
export function checkServiceElf(bytes: Uint8Array, name: string, textBase: bigint, spanBytes: bigint): number {
  const elf = readElf(bytes, name);
  if (elf.segments.length === 0 || elf.segments.length > 2) wrong(`${name}: ${elf.segments.length} PT_LOAD, 1 or 2 allowed`);
  for (const { flags, vaddr, memoryBytes, fileBytes } of elf.segments) {
    if (flags & PF_W) wrong(`${name}: a PT_LOAD is writable; a service has no writable globals`);
    if (memoryBytes !== fileBytes) wrong(`${name}: a PT_LOAD has zeroed data; a service has no writable globals`);
    if (vaddr < textBase || vaddr + memoryBytes > textBase + spanBytes) {
      wrong(`${name}: a PT_LOAD lies outside 0x${textBase.toString(16)} + 0x${spanBytes.toString(16)}`);
    }
  }
  for (const section of elf.sections) {
    if ((section.flags & SHF_ALLOC) !== 0n && (section.flags & SHF_WRITE) !== 0n && section.size > 0) {
      wrong(`${name}: section ${section.name} is writable (${section.size} bytes); a service has no writable globals`);
    }
  }
  for (const symbol of elf.symbols) {
    if (symbol.section === 0) wrong(`${name}: symbol ${symbol.name} is undefined`);
    if (symbol.global && !SERVICE_SYMBOLS.test(symbol.name)) wrong(`${name}: unexpected symbol ${symbol.name}`);
  }
  return instanceBytes(elf, bytes, name);
}

function instanceBytes(elf: Elf, bytes: Uint8Array, name: string): number {
  const symbol = elf.symbols.find((item) => item.name === 'vigil_instance_bytes');
  const section = symbol === undefined ? undefined : elf.sections[symbol.section];
  if (symbol === undefined || section === undefined) return wrong(`${name}: symbol vigil_instance_bytes is missing`);
  const at = section.offset + Number(symbol.value - section.addr);
  return Number(Buffer.from(bytes.buffer, bytes.byteOffset).readBigUInt64LE(at));
}
