// SPDX-License-Identifier: Apache-2.0
// The compiler's flags and version, and what a compile job is. The work is done by compile-worker.mjs.
// Flags are here and in asconfig.json (a test holds them together).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Flags of every module; no --converge (it doubles the time for a few bytes), no --noAssert (an assert is a named trap). */
export const ASC_FLAGS = ['-O3', '--runtime', 'stub', '--exportStart', '_init'];

export interface AscJob {
  root: string;
  /** entry file relative to the root */
  source: string;
  flags: string[];
  /** texts that replace files, by path relative to the root */
  replace: Record<string, string>;
}
export interface AscResult {
  wasm: Uint8Array;
  /** files read, relative to the root, with the SHA-256 of the text that was compiled (an edit meanwhile must not count as
   *  built); null: absent candidates, because their appearance would change the result */
  read: Record<string, string | null>;
}

/** Version of the installed compiler, part of every cache key. */
export function ascVersion(root: string): string {
  const manifest = join(root, 'node_modules/assemblyscript/package.json');
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}
