// SPDX-License-Identifier: Apache-2.0
// Sections of a WebAssembly module as byte ranges, and the numbers around them (core specification 2.0, sections 5.2.2 and 5.5.2).
// Limit: modules that the engine has accepted or will check; this reads lengths and nothing inside a section.

export interface Section {
  id: number;
  body: Uint8Array;
}

/** An unsigned LEB128 number of at most 32 bits at `at`. @throws Error when it does not end in time. */
export function readVarU32(bytes: Uint8Array, at: number): { value: number; next: number } {
  let value = 0;
  for (let shift = 0; shift < 35; shift += 7) {
    const byte = bytes[at++];
    if (byte === undefined) throw new Error('a number ends too early');
    value += (byte & 0x7f) * 2 ** shift;
    if ((byte & 0x80) === 0) return { value, next: at };
  }
  throw new Error('a number of more than 32 bits');
}

/** The shortest LEB128 form. */
export function varU32(value: number): Uint8Array {
  const out: number[] = [];
  let left = value;
  do {
    const low = left & 0x7f;
    left >>>= 7;
    out.push(left === 0 ? low : low | 0x80);
  } while (left !== 0);
  return Uint8Array.from(out);
}

/** All sections in file order. @throws Error on a wrong header or a section beyond the end. */
export function sections(wasm: Uint8Array): Section[] {
  if (Buffer.compare(wasm.subarray(0, 8), Buffer.from('\0asm\x01\0\0\0', 'latin1')) !== 0) throw new Error('not a module of version 1');
  const found: Section[] = [];
  for (let at = 8; at < wasm.length;) {
    const id = wasm[at]!;
    const { value, next } = readVarU32(wasm, at + 1);
    if (next + value > wasm.length) throw new Error(`section ${id} goes beyond the end`);
    found.push({ id, body: wasm.subarray(next, next + value) });
    at = next + value;
  }
  return found;
}
