// SPDX-License-Identifier: Apache-2.0
// Function names of a service's text, kept beside the image in build/symbols/DIGEST.json (DIGEST: SHA-256 of the ELF that ships), so that
// `vigil crash show` can name a program counter: two modules may have the same .wasm and other text (a forged ELF, another compiler).
// A module is compiled with a name section, which is cut off before anything else sees the module: what ships has the same bytes as
// without it (a test compares).
// Invariant: a name belongs to the ELF whose digest stands in the file; offsets count from the module's text address.
// Sources: WebAssembly core specification 2.0, appendix "Name section"; wasm2c's names: w2c_svc_fN for function N, w2c_svc_EXPORT_0 for an
// exported one, wrap_... for one that is also called through the table; GCC adds .constprop, .isra, .part, .cold.
import { readVarU32, sections, varU32 } from '../../runtime/node/sections.js';
import type { Elf } from './elf.js';
import { EXPORT_FUNC, type WasmInfo } from './wasm.js';

/** One stretch of text with a name. */
export interface FunctionSymbol {
  /** bytes from the module's text address */
  at: number;
  bytes: number;
  name: string;
}
/** Contents of build/symbols/DIGEST.json. */
export interface SymbolFile {
  format: 1;
  module: string;
  wasm_sha256: string;
  elf_sha256: string;
  functions: FunctionSymbol[];
}

const CUSTOM = 0;
const FUNCTION_NAMES = 1;
const SHF_EXECINSTR = 4n;

/** Cuts the name section off: the module without it, and its functions' names by index. @throws Error when the module is malformed. */
export function cutNames(wasm: Uint8Array): { shipped: Uint8Array; names: Record<string, string> } {
  const names: Record<string, string> = {};
  const kept: Uint8Array[] = [wasm.subarray(0, 8)];
  for (const { id, body } of sections(wasm)) {
    if (id === CUSTOM) {
      const title = text(body, 0);
      if (title.value === 'name') {
        readFunctionNames(body.subarray(title.next), names);
        continue;
      }
    }
    kept.push(Uint8Array.of(id), varU32(body.length), body);
  }
  return { shipped: Buffer.concat(kept), names };
}

function text(bytes: Uint8Array, at: number): { value: string; next: number } {
  const length = readVarU32(bytes, at);
  return { value: Buffer.from(bytes.subarray(length.next, length.next + length.value)).toString('utf8'), next: length.next + length.value };
}

function readFunctionNames(body: Uint8Array, names: Record<string, string>): void {
  for (let at = 0; at < body.length;) {
    const id = body[at]!;
    const size = readVarU32(body, at + 1);
    const end = size.next + size.value;
    if (id === FUNCTION_NAMES) {
      const count = readVarU32(body, size.next);
      let next = count.next;
      for (let n = 0; n < count.value && next < end; n++) {
        const index = readVarU32(body, next);
        const name = text(body, index.next);
        names[index.value] = name.value;
        next = name.next;
      }
    }
    at = end;
  }
}

/** A symbol of the ELF as people know the function; null for what is no function of the module or its runtime. */
export function nameOf(symbol: string, names: Record<string, string>, info: WasmInfo): string | null {
  const plain = symbol.replace(/\.(constprop|isra|part|cold|lto_priv)(\.\d+)*/g, '').replace(/^wrap_(?=w2c_svc_)/, '');
  const numbered = /^w2c_svc_f(\d+)$/.exec(plain);
  if (numbered !== null) return names[numbered[1]!] ?? `function ${numbered[1]}`;
  const exported = /^w2c_svc_(\w+?)(_0)?$/.exec(plain);
  if (exported !== null) {
    const wanted = exported[1]!.replace(/0x([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
    const found = info.exports.find(({ kind, name }) => kind === EXPORT_FUNC && name === wanted);
    return found === undefined ? null : (names[found.index] ?? wanted);
  }
  return /^(_start|wasm_rt_\w+|wasm2c_svc_\w+|mem(cpy|move|set|cmp)|native_main)$/.test(plain) ? plain : null;
}

/** The named stretches of a linked, not yet stripped service, in order of address. Functions of which the compiler made one share it. */
export function functionsOf(elf: Elf, textBase: bigint, names: Record<string, string>, info: WasmInfo): FunctionSymbol[] {
  const found = new Map<number, FunctionSymbol>();
  for (const { name, value, size, section } of elf.symbols) {
    const shown = nameOf(name, names, info);
    const inText = section !== 0 && section < elf.sections.length && (elf.sections[section]!.flags & SHF_EXECINSTR) !== 0n;
    if (size === 0n || !inText || shown === null) continue;
    const at = Number(value - textBase);
    const other = found.get(at);
    if (other === undefined) found.set(at, { at, bytes: Number(size), name: shown });
    else if (!other.name.split(' or ').includes(shown)) other.name += ` or ${shown}`;
  }
  return [...found.values()].sort((a, b) => a.at - b.at);
}
