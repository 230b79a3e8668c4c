// SPDX-License-Identifier: Apache-2.0
// Where and how the power goes in cut N of a run. Pure: seed and number decide. Limits: CUT_AT_MAX writes and flushes into the boot.
import { CUT_MODES, MOMENTS, type CutMode, type Moment } from '../../runtime/nbd/index.js';
import { Random } from '../lib/random.js';

/** A workload of one boot has more than this many writes and flushes; a cut beyond its end would cut an idle machine. */
export const CUT_AT_MAX = 240;
/** Of each CYCLE cuts one lands among the first requests (mounting, recovery), and one is aimed at the first compaction of its boot. */
const CYCLE = 5;
const EARLY = 1;
const COMPACTION = 3;
const EARLY_AT_MAX = 6;
/** A small compaction has this many writes and flushes, its superblock and the request after it included. */
const COMPACTION_AT_MAX = 8;

export interface CutPlan {
  /** number of the write or flush, from 1: of the boot, or of its first compaction */
  at: number;
  aim: 'boot' | 'compaction';
  moment: Moment;
  mode: CutMode;
}

/** What decides the fates of the sectors in cut `n`. */
export function fateSeed(seed: number, n: number): number {
  return (seed ^ Math.imul(n + 1, 0x9e3779b1)) >>> 0;
}

export function planCut(seed: number, n: number): CutPlan {
  const random = new Random(fateSeed(seed, n) ^ 0x5bd1e995);
  const turn = n % CYCLE;
  const aim = turn === COMPACTION ? 'compaction' : 'boot';
  const at = 1 + random.below(aim === 'compaction' ? COMPACTION_AT_MAX : turn === EARLY ? EARLY_AT_MAX : CUT_AT_MAX);
  const mode = random.chance(50) ? 'mixed' : random.pick(CUT_MODES);
  return { at, aim, moment: random.pick(MOMENTS), mode };
}
