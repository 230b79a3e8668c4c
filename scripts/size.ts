// SPDX-License-Identifier: Apache-2.0
// How big the privileged part is: lines of C and assembly (runtime/guest) and of the AssemblyScript kernel, and the largest file of each.
// A line counts as it stands in the file, comments and blanks included. Use: `npx tsx scripts/size.ts`, one `KEY VALUE` a line.
// Invariant: nothing is left out but runtime/guest/bench, which is in no image that ships, and generated files, which are no sources.
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { runMain, wrong } from './lib/fail.js';
import { ROOT } from './lib/paths.js';
import { listFiles } from './lib/steps.js';

/** The target for C and assembly. */
export const NATIVE_LINES_MAX = 800;

export interface Size {
  lines: number;
  files: number;
  largest: { path: string; lines: number };
}

export interface Sizes {
  /** C, headers, assembly and linker scripts of runtime/guest */
  native: Size;
  /** assembly/kernel without specs */
  kernel: Size;
}

function sizeOf(root: string, folder: string, keep: (path: string) => boolean): Size {
  const files = listFiles(join(root, folder)).map((path) => relative(root, path)).filter(keep);
  const counted = files.map((path) => ({ path, lines: readFileSync(join(root, path), 'utf8').split('\n').length - 1 }));
  const largest = counted.reduce((a, b) => (b.lines > a.lines ? b : a), counted[0] ?? wrong(`${folder}: no files`));
  return { lines: counted.reduce((sum, { lines }) => sum + lines, 0), files: counted.length, largest };
}

/** Counts the files of a checkout. @throws Failure 1 when a folder is empty. */
export function readSizes(root: string = ROOT): Sizes {
  return {
    native: sizeOf(root, 'runtime/guest', (path) => /\.(c|h|S|ld)$/.test(path) && !path.startsWith('runtime/guest/bench/')),
    kernel: sizeOf(root, 'assembly/kernel', (path) => path.endsWith('.ts') && !path.endsWith('.spec.ts')),
  };
}

/** One `KEY VALUE` a line; docs quote these figures, and a test holds the two together. */
export function sizeLines({ native, kernel }: Sizes): string[] {
  return [
    `native_lines ${native.lines} (C and assembly of runtime/guest, ${native.files} files, target under ${NATIVE_LINES_MAX})`,
    `native_largest_file ${native.largest.lines} (${native.largest.path})`,
    `kernel_lines ${kernel.lines} (AssemblyScript of assembly/kernel, ${kernel.files} files)`,
    `kernel_largest_file ${kernel.largest.lines} (${kernel.largest.path})`,
  ];
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runMain('size', async () => {
    for (const line of sizeLines(readSizes())) console.log(line);
    return 0;
  });
}
