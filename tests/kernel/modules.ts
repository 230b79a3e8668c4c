// SPDX-License-Identifier: Apache-2.0
// Builds what a kernel test loads: minimal WebAssembly modules, minimal service ELFs, device trees, and bundles of them through the
// image's own packer. Everything is valid unless a test asks for one exact fault.
import { packBundle, type BundleFile, type BundleService } from '../../image/pack.js';
import { fnv1a64, loadAbi } from '../../scripts/lib/abi.js';

export const abi = loadAbi();
export const TEXT_FIRST = 0x1000_0000_0000n;
export const TEXT_STRIDE = 0x1000_0000n;
const I32 = 0x7f;
const I64 = 0x7e;

/** Unsigned LEB128. */
export function leb(value: number): number[] {
  const bytes: number[] = [];
  do {
    const low = value % 128;
    value = Math.floor(value / 128);
    bytes.push(value === 0 ? low : low | 0x80);
  } while (value !== 0);
  return bytes;
}
export const ascii = (text: string): number[] => [...Buffer.from(text, 'latin1')];
export const named = (text: string): number[] => [...leb(text.length), ...ascii(text)];
export const section = (id: number, ...body: number[]): number[] => [id, ...leb(body.length), ...body];
export const vector = (items: number[][]): number[] => [...leb(items.length), ...items.flat()];

/** What a module is made of; each part may be replaced by raw section bytes. */
export interface Wasm {
  /** system calls imported from `sys` */
  imports: string[];
  pages: number;
  pagesMax: number;
  table: number;
  abiVersion: number;
  exports: string[];
  /** sections that take the place of the made ones, by section id; an empty list leaves the section out */
  replace: Record<number, number[]>;
}

/** The wasm type of a system call: parameters, then its i64 result (none: never returns). */
export function callType(name: string): number[] {
  const call = abi.syscalls.find((row) => row.name === name);
  if (call === undefined) throw new Error(`no system call ${name}`);
  const params = call.params.map(({ type }) => (type === 'u64' ? I64 : I32));
  return [0x60, ...leb(params.length), ...params, ...(call.never ? [0] : [1, I64])];
}

const EXPORTS: Record<string, number[]> = { memory: [2, 0], vigil_abi: [3, 0], main: [0], _init: [0] };

/** A module with one empty function, which is both main and _init. */
export function makeWasm(options: Partial<Wasm> = {}): Buffer {
  const wasm: Wasm = {
    imports: ['null'], pages: 1, pagesMax: 1, table: 0, abiVersion: 1, exports: ['memory', 'vigil_abi', 'main', '_init'], replace: {}, ...options,
  };
  const own = wasm.imports.length;
  const types = [...wasm.imports.map(callType), [0x60, 0, 0]];
  const exported = wasm.exports.map((name) => {
    const what = EXPORTS[name]!;
    return [...named(name), ...what, ...(what.length === 1 ? leb(own) : [])];
  });
  const sections: [number, number[]][] = [
    [1, vector(types)],
    [2, vector(wasm.imports.map((name, i) => [...named('sys'), ...named(name), 0, ...leb(i)]))],
    [3, vector([leb(own)])],
    [4, wasm.table === 0 ? [] : vector([[0x70, 1, ...leb(wasm.table), ...leb(wasm.table)]])],
    [5, vector([[1, ...leb(wasm.pages), ...leb(wasm.pagesMax)]])],
    [6, vector([[I32, 0, 0x41, wasm.abiVersion, 0x0b]])],
    [7, vector(exported)],
    [10, vector([[2, 0, 0x0b]])],
  ];
  const bytes = sections.flatMap(([id, body]) => wasm.replace[id] ?? (body.length === 0 ? [] : section(id, ...body)));
  return Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...bytes]);
}

/** One program header; offsets and sizes in bytes. */
export interface Segment {
  type: number;
  flags: number;
  offset: bigint;
  va: bigint;
  fileBytes: bigint;
  memoryBytes: bigint;
}
export interface Elf {
  base: bigint;
  entry: bigint;
  textBytes: number;
  dataBytes: number;
  /** changes the program headers before they are written */
  edit: (segments: Segment[]) => Segment[];
}
const PF_X = 1;
const PF_R = 4;

/** A service ELF: `textBytes` of text at base, `dataBytes` of read-only data in the page after it. Contents count up, so that tests see them. */
export function makeElf(options: Partial<Elf> & { base: bigint }): Buffer {
  const { base, textBytes, dataBytes, edit } = { textBytes: 64, dataBytes: 32, edit: (all: Segment[]) => all, ...options };
  const textPages = BigInt(Math.ceil(textBytes / 4096)) * 4096n;
  const start = 64 + 56 * 8;
  const made: Segment[] = [
    { type: 1, flags: PF_R | PF_X, offset: BigInt(start), va: base, fileBytes: BigInt(textBytes), memoryBytes: BigInt(textBytes) },
    { type: 1, flags: PF_R, offset: BigInt(start + textBytes), va: base + textPages, fileBytes: BigInt(dataBytes), memoryBytes: BigInt(dataBytes) },
  ];
  const segments = edit(dataBytes === 0 ? made.slice(0, 1) : made);
  const bytes = Buffer.alloc(start + textBytes + dataBytes);
  for (let i = start; i < bytes.length; i++) bytes[i] = (i - start + 1) & 0xff;
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1], 0);
  bytes.writeUInt16LE(2, 16);
  bytes.writeUInt16LE(243, 18);
  bytes.writeUInt32LE(1, 20);
  bytes.writeBigUInt64LE(options.entry ?? base, 24);
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(64, 52);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(segments.length, 56);
  segments.forEach((segment, i) => {
    const at = 64 + 56 * i;
    if (at + 56 > start) return;
    bytes.writeUInt32LE(segment.type, at);
    bytes.writeUInt32LE(segment.flags, at + 4);
    const words = [segment.offset, segment.va, segment.va, segment.fileBytes, segment.memoryBytes, 4096n];
    words.forEach((word, n) => bytes.writeBigUInt64LE(BigInt.asUintN(64, word), at + 8 + 8 * n));
  });
  return bytes;
}

/** A service of a test bundle: module 0 unless told otherwise. */
export function makeService(name: string, options: Partial<BundleService> & { module?: number; wasmOptions?: Partial<Wasm> } = {}): BundleService {
  const { module = 0, wasmOptions = {}, ...rest } = options;
  const base = rest.textBase ?? TEXT_FIRST + BigInt(module) * TEXT_STRIDE;
  const pages = rest.memoryPages ?? 1;
  const pagesMax = rest.memoryPagesMax ?? pages;
  const table = rest.tableEntries ?? 0;
  const wasm = makeWasm({ pages, pagesMax, table, ...wasmOptions });
  const mask = (wasmOptions.imports ?? ['null']).reduce((bits, call) => {
    const row = abi.syscalls.find((known) => known.name === call)!;
    return row.kind === 'inline' ? bits : bits | (1n << BigInt(row.nr));
  }, 0n);
  return {
    name, id: fnv1a64(name), wasm, elf: makeElf({ base }), memoryPages: pages, memoryPagesMax: pagesMax, stackBytes: 8192, depth: 4,
    restartBudget: 3, flags: 0, callsMask: 0n, slotsMask: 0, devices: [], console: '', textBase: base, instanceBytes: 256,
    tableEntries: table, importsMask: mask, ...rest,
  };
}

export const pack = (services: BundleService[], files: BundleFile[] = []): Buffer => packBundle({ services, files }).bytes;

/** What the firmware passes. */
export interface Tree {
  bootargs: string;
  initrdStart: bigint;
  initrdEnd: bigint;
  ramStart: bigint;
  ramBytes: bigint;
}

/** A flattened device tree with /chosen and /memory, and nodes around them that must be passed over. */
export function makeTree({ bootargs, initrdStart, initrdEnd, ramStart, ramBytes }: Tree): Buffer {
  const names: string[] = [];
  const nameAt = (name: string): number => {
    if (!names.includes(name)) names.push(name);
    return names.slice(0, names.indexOf(name)).reduce((sum, text) => sum + text.length + 1, 0);
  };
  const word = (value: number): number[] => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
  const pad = (bytes: number[]): number[] => [...bytes, ...new Array<number>((4 - (bytes.length % 4)) % 4).fill(0)];
  const cells = (value: bigint): number[] => [...word(Number(value >> 32n)), ...word(Number(value & 0xffffffffn))];
  const begin = (name: string): number[] => [...word(1), ...pad([...ascii(name), 0])];
  const property = (name: string, value: number[]): number[] => [...word(3), ...word(value.length), ...word(nameAt(name)), ...pad(value)];
  const end = word(2);
  const body = [
    ...begin(''), ...property('#address-cells', word(2)), ...word(4),
    ...begin('cpus'), ...begin('cpu@0'), ...property('reg', word(0)), ...end, ...end,
    ...begin('memory@80000000'), ...property('device_type', [...ascii('memory'), 0]),
    ...property('reg', [...cells(ramStart), ...cells(ramBytes)]), ...end,
    ...begin('chosen'), ...property('linux,initrd-start', cells(initrdStart)), ...property('linux,initrd-end', cells(initrdEnd)),
    ...property('bootargs', [...ascii(bootargs), 0]), ...end,
    ...end, ...word(9),
  ];
  const strings = names.flatMap((name) => [...ascii(name), 0]);
  const header = [0xd00dfeed, 56 + body.length + strings.length, 56, 56 + body.length, 40, 17, 16, 0, strings.length, body.length];
  return Buffer.from([...header.flatMap(word), ...new Array<number>(16).fill(0), ...body, ...strings]);
}
