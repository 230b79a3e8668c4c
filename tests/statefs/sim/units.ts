// SPDX-License-Identifier: Apache-2.0
// Units of the crash simulation: what unit n of a seed does, and the process that runs them one after another for scripts/crash-sim.ts.
// Invariant: a unit depends on its seed and number alone, so any process repeats it; units are handed out in order.
import { pathToFileURL } from 'node:url';
import type { Program } from '../../../runtime/node/index.js';
import { programWith } from './bugs.js';
import { Unit } from './explore.js';
import { PROFILES } from './profiles.js';
import { RotUnit } from './rot.js';
import type { Failure, Plan, Tally } from './unit.js';

/** What a worker is told, and what it answers. */
export interface Order { seed: number; unit: number; stopAt: number }
export interface Result { unit: number; profile: string; tally: Tally; failure: Failure | null; ms: number }

/** Every so many units are rot (rot.ts) instead of power cuts, each of so many images. */
const ROT_EVERY = 10;
const ROT_IMAGES = 400;

/** The plan of unit `n`. */
export function planOf(unit: number): Plan {
  const profile = PROFILES[unit % PROFILES.length]!;
  const recoveryPercent = profile.forgePercent > 0 ? 20 : 4;
  return { profile, agingBursts: 40, bursts: 50, variants: 6, recoveryPercent, nextPercent: 1, nextBursts: 12 };
}

/** Runs one unit. `stopAt`: see Unit. */
export function runUnit(program: Program, mutant: number, { seed, unit, stopAt }: Order): Result {
  const plan = planOf(unit);
  const from = performance.now();
  const number = seed * 65_537 + unit;
  if (unit % ROT_EVERY === ROT_EVERY - 1) {
    const rot = new RotUnit(program, plan, number, mutant, stopAt);
    rot.run(ROT_IMAGES);
    return { unit, profile: `${plan.profile.name}, rot`, tally: rot.tally, failure: rot.failure, ms: performance.now() - from };
  }
  const one = new Unit(program, plan, number, mutant, stopAt);
  one.run();
  return { unit, profile: plan.profile.name, tally: one.tally, failure: one.failure, ms: performance.now() - from };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { program, mutant } = await programWith(process.argv[2] ?? 'none');
  process.on('message', (order: Order) => process.send!(runUnit(program, mutant, order)));
  process.send!('ready');
}
