// SPDX-License-Identifier: Apache-2.0
// The kinds of work that crash-sim turns over: which disk, how many keys, how large the values. Unit n runs profile n modulo their number.
// Invariant: on each of them compaction happens several times in one trace (crash-sim.test.ts holds them to it).
import type { Profile } from './workload.js';

const base = { usualBytesMax: 300, largePercent: 0, largeBytesMax: 8000, burstMax: 4, deletePercent: 12, forgePercent: 0 };

export const PROFILES: readonly Profile[] = [
  { ...base, name: 'churn', diskSectors: 112, keys: 10, bytesMax: 400 },
  { ...base, name: 'bursts', diskSectors: 144, keys: 16, bytesMax: 600, burstMax: 12 },
  { ...base, name: 'single', diskSectors: 96, keys: 6, bytesMax: 300, burstMax: 1 },
  { ...base, name: 'forger', diskSectors: 112, keys: 6, bytesMax: 300, burstMax: 1, forgePercent: 60 },
  { ...base, name: 'full', diskSectors: 96, keys: 44, usualBytesMax: 1300, bytesMax: 1500, deletePercent: 8 },
  { ...base, name: 'wide', diskSectors: 256, keys: 40, bytesMax: 3000 },
  { ...base, name: 'large', diskSectors: 720, keys: 8, bytesMax: 6000, largePercent: 60, largeBytesMax: 65_536 },
];
