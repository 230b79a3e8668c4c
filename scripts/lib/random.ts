// SPDX-License-Identifier: Apache-2.0
// The one random source of host tools and tests: a fixed seed gives the same numbers on every machine, so what names its seed repeats.
// Limit: good enough to choose test cases, nothing more.

/** xorshift32 over a mixed seed, so that neighbouring seeds differ from the first number on. */
export class Random {
  private state: number;
  constructor(seed: number) { this.state = (Math.imul(seed + 1, 0x9e3779b1) >>> 0) || 1; }
  next(): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x >>> 0;
    return this.state;
  }
  /** An integer in [0, end). */
  below(end: number): number { return this.next() % end; }
  pick<T>(list: readonly T[]): T { return list[this.below(list.length)]!; }
  chance(percent: number): boolean { return this.below(100) < percent; }
}

/** A function that gives integers in [0, end). */
export function randomBelow(seed: number): (end: number) => number {
  const random = new Random(seed);
  return (end) => random.below(end);
}
