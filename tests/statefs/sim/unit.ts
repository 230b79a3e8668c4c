// SPDX-License-Identifier: Apache-2.0
// Owns: what every unit of the simulation has: its plan, its tally, the failure that ended it, and what its seed decides.
// Invariant: the generator, the contents and the disk are made in this order, so that a seed means the same crash for ever.
// Limits: one disk a unit.
import type { Program } from '../../../runtime/node/index.js';
import { Random } from '../../random.js';
import { Contents } from './contents.js';
import { BlkDevice } from './device.js';
import { SimDisk, type Cut } from './disk.js';
import type { Profile } from './workload.js';

/** What a unit does, beside its seed. */
export interface Plan {
  profile: Profile;
  /** bursts that only age the disk, then bursts that are cut */
  agingBursts: number;
  bursts: number;
  /** outcomes of each cut of the first generation */
  variants: number;
  /** percent of crashes whose recovery is itself cut at every request; whose survivor goes on to the next generation */
  recoveryPercent: number;
  nextPercent: number;
  nextBursts: number;
}

/** What one unit saw; sums of units are the report. */
export interface Tally {
  crashes: number;
  /** crashes of the second and later generations, and those in the middle of a recovery */
  later: number;
  inRecovery: number;
  operations: number;
  acknowledged: number;
  compactions: number;
  /** cuts that left nothing pending, that lost or tore something, that ended in a state before the last submitted operation */
  clean: number;
  damaged: number;
  rolledBack: number;
  refused: number;
  /** rotten images (rot.ts), and those that cost something */
  rotten: number;
  rotLost: number;
}
export function emptyTally(): Tally {
  return {
    crashes: 0, later: 0, inRecovery: 0, operations: 0, acknowledged: 0, compactions: 0, clean: 0, damaged: 0, rolledBack: 0, refused: 0,
    rotten: 0, rotLost: 0,
  };
}

/** A crash that went wrong. */
export interface Failure {
  /** counts from 1 in the unit */
  crash: number;
  generation: number;
  cut: Cut | 'none';
  lines: string[];
}

/** One unit of work; a subclass says what it does to the disk. */
export abstract class SimUnit {
  readonly tally = emptyTally();
  failure: Failure | null = null;
  protected readonly random: Random;
  protected readonly contents: Contents;
  protected readonly device: BlkDevice;

  /** `stopAt`: the crash after which to stop, for one that is looked at again; 0: none. */
  constructor(readonly program: Program, readonly plan: Plan, seed: number, readonly mutant = 0, readonly stopAt = 0) {
    this.random = new Random(seed);
    this.contents = new Contents(this.random);
    this.device = new BlkDevice(new SimDisk(plan.profile.diskSectors));
  }
}
