// SPDX-License-Identifier: Apache-2.0
// What many boots of one image have in common and how far their times lie apart: build/determinism.json.
// Invariant: times come from green boots alone (a red one ends anywhere), and every green boot has the same markers in the same
// order, or this throws. A median is a value that was measured: the lower of the two middle ones for an even count.
import type { Ledger } from './evidence.js';

export interface Spread {
  min: number;
  median: number;
  max: number;
}

/** build/determinism.json */
export interface DeterminismRecord {
  /** boots that were asked for and made */
  runs: number;
  /** boots that were green */
  passed: number;
  /** green boots whose transcript is that of the first green one */
  identical: number;
  /** of that transcript; null without a green boot */
  sha256: string | null;
  /** guest time of each marker over the green boots */
  markers: { text: string; min_ns: number; median_ns: number; max_ns: number }[];
  /** host time of the green boots; null without one */
  wall_ms: Spread | null;
}

/** One green boot. */
export interface GreenRun {
  markers: Ledger['markers'];
  wallMs: number;
}

/** @throws Error for an empty list. */
export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) throw new Error('a spread needs a value');
  const sorted = [...values].sort((a, b) => a - b);
  return { min: sorted[0]!, median: sorted[(sorted.length - 1) >> 1]!, max: sorted.at(-1)! };
}

/** @throws Error when two green boots differ in their markers. */
export function recordOf(runs: number, identical: number, sha256: string | null, green: readonly GreenRun[]): DeterminismRecord {
  const texts = (green[0]?.markers ?? []).map(({ text }) => text);
  for (const { markers } of green) {
    const same = markers.length === texts.length && markers.every(({ text }, n) => text === texts[n]);
    if (!same) throw new Error('two green boots differ in their markers');
  }
  return {
    runs,
    passed: green.length,
    identical,
    sha256,
    markers: texts.map((text, n) => {
      const { min, median, max } = spreadOf(green.map(({ markers }) => markers[n]!.guest_ns));
      return { text, min_ns: min, median_ns: median, max_ns: max };
    }),
    wall_ms: green.length === 0 ? null : spreadOf(green.map(({ wallMs }) => wallMs)),
  };
}
