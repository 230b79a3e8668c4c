// SPDX-License-Identifier: Apache-2.0
// Owns: the one loop that renews an attribution: read, keep the answer, say what went wrong, try again.
// Invariant: one reading at a time; a failed one leaves the last answer in force for holdMs and then nothing; every change of state is
// said once. Limits: ATTRIBUTION_LIMITS.refreshMs between readings; the reader bounds its own waiting.
import type { AttributionState } from './attributor.js';
import { ATTRIBUTION_LIMITS } from './limits.js';

/** A reading that failed for a reason with a name. */
export class AttributionFailure extends Error {
  constructor(readonly state: string, message: string) { super(message); }
}

export interface RefreshOptions {
  readonly refreshMs?: number; readonly holdMs?: number;
  /** monotonic, ms */
  readonly now?: () => number;
  readonly say?: (line: string) => void;
}

export class Refresher<T> {
  readonly counters = { refreshes: 0, failures: 0 };
  private readonly failures = new Map<string, number>();
  private answer: { readonly value: T; readonly atMs: number } | null = null;
  private current: { name: string; detail: string; sinceMs: number };
  private timer: NodeJS.Timeout | null = null;
  private turn: Promise<void> | null = null;
  private closed = false;
  private readonly abort = new AbortController();
  private readonly now: () => number;

  constructor(
    readonly source: string, private readonly read: (signal: AbortSignal) => Promise<T>, private readonly options: RefreshOptions,
  ) {
    this.now = options.now ?? (() => performance.now());
    this.current = { name: 'starting', detail: 'not read yet', sinceMs: this.now() };
  }

  /** The answer in force: null before the first, and when the last good one is too old. */
  value(): T | null {
    if (this.answer === null || this.closed) return null;
    const fresh = this.current.name === 'ok' || this.now() - this.answer.atMs <= (this.options.holdMs ?? ATTRIBUTION_LIMITS.holdMs);
    return fresh ? this.answer.value : null;
  }

  state(): AttributionState {
    return { source: this.source, ...this.current, attributing: this.value() !== null, answerMs: this.answer?.atMs ?? null };
  }

  /** Failures by the name of their state. */
  failuresByState(): Readonly<Record<string, number>> { return Object.fromEntries(this.failures); }

  async start(): Promise<void> {
    if (this.closed || this.turn !== null || this.timer !== null) return;
    await this.once();
  }

  /** Reads now, or waits for the reading under way. */
  once(): Promise<void> {
    this.turn ??= this.reading().finally(() => {
      this.turn = null;
      if (this.closed) return;
      if (this.timer !== null) clearTimeout(this.timer);
      this.timer = setTimeout(() => { this.timer = null; void this.once(); }, this.options.refreshMs ?? ATTRIBUTION_LIMITS.refreshMs);
      this.timer.unref();
    });
    return this.turn;
  }

  async close(): Promise<void> {
    this.closed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.abort.abort();
    await this.turn;
    this.enter('closed', '');
  }

  private async reading(): Promise<void> {
    this.counters.refreshes++;
    try {
      const value = await this.read(this.abort.signal);
      if (this.closed) return;
      this.answer = { value, atMs: this.now() };
      this.enter('ok', '');
    } catch (error) {
      if (this.closed) return;
      const name = error instanceof AttributionFailure ? error.state : 'failed';
      this.counters.failures++;
      this.failures.set(name, (this.failures.get(name) ?? 0) + 1);
      this.enter(name, (error as Error).message);
    }
  }

  private enter(name: string, detail: string): void {
    const changed = this.current.name !== name;
    this.current = { name, detail, sinceMs: changed ? this.now() : this.current.sinceMs };
    if (!changed || name === 'closed') return;
    const rest = name === 'ok' ? '' : `: ${detail}; telemetry goes on ${this.value() === null ? 'without it' : 'with the last answer'}`;
    this.options.say?.(`attribution: ${this.source} ${name}${rest}`);
  }
}
