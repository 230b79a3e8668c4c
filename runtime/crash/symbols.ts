// SPDX-License-Identifier: Apache-2.0
// Names for program counters, from build/symbols/DIGEST.json (written by the build, scripts/lib/symbols.ts).
// Invariant: names are used only where both digests, of the module and of the text made from it, are the record's; otherwise the reason why
// there are none is told. Limit: a name stands for a stretch of text; what the compiler inlined is under the function it was put into.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TEXT_FIRST, TEXT_STRIDE } from './address.js';
import type { CrashRecord } from './record.js';

interface FunctionSymbol {
  at: number;
  bytes: number;
  name: string;
}
interface SymbolFile {
  format: number;
  wasm_sha256: string;
  elf_sha256: string;
  functions: FunctionSymbol[];
}

/** Names of one module's text. */
export interface Symbols {
  /** `FUNCTION + OFFSET` (hexadecimal), or null outside every function */
  at(pc: bigint): { name: string; offset: number } | null;
}
/** Names, or why there are none. */
export type Found = { symbols: Symbols } | { without: string };

/** Looks the record's module up in `folder`. */
export function findSymbols(folder: string, record: CrashRecord): Found {
  const path = join(folder, `${record.elfSha256}.json`);
  if (!existsSync(path)) return { without: `${folder} has no names of this text: it is of another build` };
  let file: SymbolFile;
  try {
    file = JSON.parse(readFileSync(path, 'utf8')) as SymbolFile;
  } catch {
    return { without: `${path} is damaged; build again` };
  }
  if (file.format !== 1 || !Array.isArray(file.functions)) return { without: `${path} is not a file of names that this command reads` };
  const same = file.elf_sha256 === record.elfSha256 && file.wasm_sha256 === record.moduleSha256;
  if (!same) return { without: `${path} is of another text; build again` };
  return {
    symbols: {
      at: (pc) => {
        if (pc < TEXT_FIRST) return null;
        const offset = Number((pc - TEXT_FIRST) % TEXT_STRIDE);
        const found = file.functions.find(({ at, bytes }) => offset >= at && offset < at + bytes);
        return found === undefined ? null : { name: found.name, offset: offset - found.at };
      },
    },
  };
}
