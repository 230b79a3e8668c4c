// SPDX-License-Identifier: Apache-2.0
// Searches of the kernel's tests over fixed seeds, so that a run repeats; a failure names its seed.
// KERNEL_SEED=N runs that seed alone; KERNEL_BUDGET_MS=N changes how long a search may take (a run of the suite takes the default).
import { Random } from '../random.js';

/** Runs `body` on `seeds` seeds from 1 up; when time is short (`budgetMs`), on at least `least` of them. */
export function search(seeds: number, least: number, body: (random: Random, seed: number) => void, budgetMs = 2000): number {
  const only = process.env['KERNEL_SEED'];
  const end = performance.now() + Number(process.env['KERNEL_BUDGET_MS'] ?? budgetMs);
  let done = 0;
  for (let seed = only === undefined ? 1 : Number(only); done < (only === undefined ? seeds : 1); seed++) {
    if (done >= least && performance.now() > end) break;
    try {
      body(new Random(seed), seed);
    } catch (error) {
      throw new Error(`KERNEL_SEED=${seed}: ${(error as Error).message}`, { cause: error });
    }
    done++;
  }
  return done;
}
