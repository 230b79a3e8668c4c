// SPDX-License-Identifier: Apache-2.0
// The random source of the gate's property tests: a small generator whose seed each failure prints.
// Rerun one seed with GATE_SEED=N; GATE_CASES=N changes how many cases a property runs.

/** mulberry32: 32 bits of state, good enough to choose test cases. */
export class Random {
  constructor(private state: number) {}

  /** An integer in [0, below). */
  below(below: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

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
