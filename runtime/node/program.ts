// SPDX-License-Identifier: Apache-2.0
// A module as the Node host runs it: compiled once for as long as its bytes live, instantiated per Host; or `Recycled`, where one
// instance is put back to its first state instead, because a fresh linear memory costs a Host more than all that a short run does.
// Invariant: a recycled start is the same as a fresh one: mutable globals and linear memory have the values that instantiation gave
// them, and code, data and global sections are byte for byte the module's (the copy that runs only exports its globals too).
// Limits: one Host at a time on a Recycled; modules that change tables or drop segments are not restored (asc makes none).
import { readVarU32, sections, varU32 } from './sections.js';

/** Functions of import module `sys`, by name. */
export type SystemCalls = Record<string, (...args: (number | bigint)[]) => unknown>;
export type Abort = (message: number, file: number, line: number, column: number) => never;

const compiled = new WeakMap<Uint8Array, Program>();
const PAGE = 4096;

export class Program {
  readonly module: WebAssembly.Module;
  /** names of what the module imports from `sys` */
  readonly calls: string[];

  constructor(wasm: Uint8Array) {
    this.module = new WebAssembly.Module(wasm as BufferSource);
    this.calls = [];
    for (const { module, name } of WebAssembly.Module.imports(this.module)) {
      if (module === 'env' && name === 'abort') continue;
      if (module !== 'sys') throw new Error(`import ${module}.${name} is not allowed`);
      this.calls.push(name);
    }
  }

  /** The program of these bytes: the same one as long as the array lives and nobody changes it. */
  static of(wasm: Uint8Array): Program {
    const known = compiled.get(wasm);
    if (known !== undefined) return known;
    const made = new Program(wasm);
    compiled.set(wasm, made);
    return made;
  }

  /** An instance in its first state, `_init` not yet run. */
  start(sys: SystemCalls, abort: Abort): WebAssembly.Instance {
    return new WebAssembly.Instance(this.module, { sys, env: { abort } } as WebAssembly.Imports);
  }
}

/** An instance and what it was at first: its mutable globals, the pages that are not zero, the length of its memory. */
interface Kept {
  instance: WebAssembly.Instance;
  globals: [WebAssembly.Global, number | bigint][];
  pages: [number, Uint8Array][];
  bytes: number;
}

/** A Program whose instance serves one Host after another. */
export class Recycled extends Program {
  private kept: Kept | null = null;
  private sys: SystemCalls = {};
  private abort: Abort = () => { throw new Error('no host'); };

  constructor(wasm: Uint8Array) {
    super(exportGlobals(wasm));
  }

  override start(sys: SystemCalls, abort: Abort): WebAssembly.Instance {
    this.sys = sys;
    this.abort = abort;
    const memory = this.kept?.instance.exports.memory as WebAssembly.Memory | undefined;
    if (this.kept === null || memory?.buffer.byteLength !== this.kept.bytes) this.kept = this.first();
    else this.restore(this.kept, memory);
    return this.kept.instance;
  }

  private first(): Kept {
    const through = Object.fromEntries(this.calls.map((name) => [name, (...args: (number | bigint)[]) => this.sys[name]!(...args)]));
    const instance = super.start(through, (...args) => this.abort(...args));
    const globals = Object.entries(instance.exports)
      .filter(([name]) => name.startsWith(GLOBAL_PREFIX))
      .map(([, value]): [WebAssembly.Global, number | bigint] => [value as WebAssembly.Global, (value as WebAssembly.Global).value]);
    const bytes = new Uint8Array((instance.exports.memory as WebAssembly.Memory).buffer);
    const pages: [number, Uint8Array][] = [];
    for (let at = 0; at < bytes.length; at += PAGE) {
      const page = bytes.subarray(at, at + PAGE);
      if (page.some((byte) => byte !== 0)) pages.push([at, page.slice()]);
    }
    return { instance, globals, pages, bytes: bytes.length };
  }

  private restore({ globals, pages }: Kept, memory: WebAssembly.Memory): void {
    const bytes = new Uint8Array(memory.buffer);
    bytes.fill(0);
    for (const [at, page] of pages) bytes.set(page, at);
    for (const [global, value] of globals) global.value = value;
  }
}

const GLOBAL_PREFIX = '~global ';
const GLOBAL_SECTION = 6;
const EXPORT_SECTION = 7;
const KIND_GLOBAL = 3;

/** The module with every mutable global exported as `~global N`; nothing else differs. @throws Error on a malformed module. */
export function exportGlobals(wasm: Uint8Array): Uint8Array {
  const all = sections(wasm);
  const mutable = mutableGlobals(all.find(({ id }) => id === GLOBAL_SECTION)?.body ?? new Uint8Array([0]));
  const parts: Uint8Array[] = [wasm.subarray(0, 8)];
  for (const { id, body } of all) {
    const grown = id === EXPORT_SECTION ? withExports(body, mutable) : body;
    parts.push(new Uint8Array([id]), varU32(grown.length), grown);
  }
  return Buffer.concat(parts);
}

/** Indexes of the mutable globals; asc imports none, so the section's first is 0. */
function mutableGlobals(body: Uint8Array): number[] {
  const count = readVarU32(body, 0);
  let at = count.next;
  const found: number[] = [];
  for (let i = 0; i < count.value; i++) {
    if (body[at + 1] === 1) found.push(i);
    at += 2;
    const op = body[at++];
    // A constant of that type, then `end`: asc writes no other initialiser.
    if (op === 0x41 || op === 0x42) while ((body[at++]! & 0x80) !== 0);
    else if (op === 0x43) at += 4;
    else if (op === 0x44) at += 8;
    else throw new Error(`global ${i}: initialiser 0x${op?.toString(16)} is not a constant`);
    if (body[at++] !== 0x0b) throw new Error(`global ${i}: its initialiser does not end`);
  }
  return found;
}

function withExports(body: Uint8Array, globals: number[]): Uint8Array {
  const count = readVarU32(body, 0);
  const added = globals.flatMap((index) => {
    const name = Buffer.from(`${GLOBAL_PREFIX}${index}`);
    return [varU32(name.length), name, new Uint8Array([KIND_GLOBAL]), varU32(index)];
  });
  return Buffer.concat([varU32(count.value + globals.length), body.subarray(count.next), ...added]);
}
