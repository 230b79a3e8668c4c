// SPDX-License-Identifier: Apache-2.0
// Owns: how long to leave alone what has just failed: first, twice that, and so on to a greatest wait, with jitter.
// Invariant: a wait is never longer than `maxMs`; a success starts over. Limits: none beyond the two figures.

export class Backoff {
  private failures = 0;
  constructor(private readonly firstMs: number, private readonly maxMs: number, private readonly random: () => number = Math.random) {}

  /** The next wait, in ms: between half of and the whole step, so that many nodes do not come back together. */
  next(): number {
    const step = Math.min(this.maxMs, this.firstMs * 2 ** Math.min(this.failures, 30));
    this.failures += 1;
    return step * (0.5 + this.random() / 2);
  }
  /** It worked. */
  reset(): void { this.failures = 0; }
}
