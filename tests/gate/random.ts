// SPDX-License-Identifier: Apache-2.0
// Property tests of the gate: fresh seeds each run, and a failure prints its seed.
// Rerun one seed with GATE_SEED=N; GATE_CASES=N changes how many cases a property runs.
import { Random } from '../random.js';

/** Runs a property on fresh seeds; a failure names the seed and the command that repeats it. */
export function property(name: string, cases: number, check: (random: Random) => void): void {
  const fixed = process.env.GATE_SEED;
  const first = fixed === undefined ? (Date.now() & 0x7fffffff) : Number(fixed);
  const count = fixed === undefined ? Number(process.env.GATE_CASES ?? cases) : 1;
  for (let n = 0; n < count; n++) {
    const seed = (first + n) >>> 0;
    try {
      check(new Random(seed));
    } catch (error) {
      (error as Error).message = `${name}: seed ${seed} (repeat: GATE_SEED=${seed}): ${(error as Error).message}`;
      throw error;
    }
  }
}
