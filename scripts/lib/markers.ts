// SPDX-License-Identifier: Apache-2.0
// What code generation needs of markers/: the texts of all lines and the names of all mutants. The gate has the strict reader.
// Invariant: a mutant's number is its place in the sorted list of names, counted from 1 (0: none), in every build of one tree.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { wrong } from './fail.js';
import { ROOT } from './paths.js';
import { readToml } from './table.js';

/** One console line of the ladder and its constant in assembly/gen/markers.ts. */
export interface MarkerText {
  text: string;
  constant: string;
}

/** Files of markers/ and markers/profiles/ in order. */
export function markerFiles(root: string): string[] {
  const folders = [join(root, 'markers'), join(root, 'markers/profiles')];
  return folders.flatMap((folder) =>
    existsSync(folder)
      ? readdirSync(folder)
          .filter((name) => name.endsWith('.toml'))
          .sort()
          .map((name) => join(folder, name))
      : [],
  );
}

/** `logd: reject over_limit` -> `M_LOGD_REJECT_OVER_LIMIT`. */
export function markerConstant(text: string): string {
  return `M_${text.toUpperCase().replace(/[^A-Z0-9]+/g, '_').replace(/_+$/, '')}`;
}

function collect(value: unknown, texts: Set<string>, mutants: Set<string>, file: string): void {
  if (Array.isArray(value)) {
    for (const item of value) collect(item, texts, mutants, file);
    return;
  }
  if (typeof value !== 'object' || value === null) return;
  for (const [key, item] of Object.entries(value)) {
    if (key === 'mutant') {
      if (typeof item !== 'string' || !/^[a-z][a-z0-9_]*$/.test(item)) {
        wrong(`${file}: mutant "${String(item)}" is not a lower-case name`);
      }
      mutants.add(item);
    } else if (key === 'text' && typeof item === 'string') {
      if (!/^[\x20-\x7e]+$/.test(item)) wrong(`${file}: "${item}" is not printable ASCII`);
      texts.add(item);
    } else {
      collect(item, texts, mutants, file);
    }
  }
}

/** All marker texts and mutant names. @throws Failure 1 when two texts share a constant. */
export function loadMarkers(root: string = ROOT): { markers: MarkerText[]; mutants: Map<string, number> } {
  const texts = new Set<string>();
  const names = new Set<string>();
  for (const file of markerFiles(root)) collect(readToml(file), texts, names, file.slice(root.length + 1));
  const seen = new Map<string, string>();
  const markers = [...texts].map((text) => {
    const constant = markerConstant(text);
    const other = seen.get(constant);
    if (other !== undefined) wrong(`markers/: "${other}" and "${text}" share the constant ${constant}`);
    seen.set(constant, text);
    return { text, constant };
  });
  const mutants = new Map([...names].sort().map((name, index) => [name, index + 1]));
  return { markers, mutants };
}
