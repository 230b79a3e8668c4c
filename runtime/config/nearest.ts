// SPDX-License-Identifier: Apache-2.0
// Owns: the name that somebody probably meant. Invariant: the same answer for the same names, first in their order among equals.
// Limits: at most a third of the letters may differ (Levenshtein), case and the difference of `-` and `_` cost nothing.

const plain = (name: string): string => name.toLowerCase().replace(/-/g, '_');

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The nearest of `names`, or null when none is near. */
export function nearest(wanted: string, names: readonly string[]): string | null {
  let best: string | null = null;
  let least = Infinity;
  for (const name of names) {
    const apart = distance(plain(wanted).slice(0, 64), plain(name).slice(0, 64));
    if (apart < least) [best, least] = [name, apart];
  }
  return best !== null && least <= Math.max(1, Math.floor(Math.max(wanted.length, best.length) / 3)) ? best : null;
}
