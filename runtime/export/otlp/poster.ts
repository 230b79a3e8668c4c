// SPDX-License-Identifier: Apache-2.0
// Posts finished OTLP requests to a collector: one queue a signal, in order, gzip, retry with backoff, partial success
// (OTLP specification).
// Invariant: the queue is bounded in requests and bytes; at the bound the oldest waiting request is dropped and counted. Every request
// ends in exactly one counter: sent, rejected (the server will never take it) or dropped. 429, 502, 503, 504 and a lost connection are
// tried again after Retry-After or a doubling wait; every other refusal is final. Nothing here waits for ever.
// Limits: POSTER_LIMITS.
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Target } from './env.js';
import { SIGNALS, messageType, type Signal } from './schema.js';

export const POSTER_LIMITS = {
  requests: 256, bytes: 16 << 20, attempts: 8, backoffFirstMs: 500, backoffMaxMs: 30_000, retryAfterMaxMs: 60_000, responseBytes: 64 << 10,
} as const;

/** Why a request was dropped. */
export const DROP_REASONS = ['queue_full', 'too_large', 'gave_up', 'closed'] as const;
export type DropReason = (typeof DROP_REASONS)[number];

/** What became of the requests of a signal, and of the points, spans or records in them. `dropped` is the sum of `droppedBy`. */
export interface PosterCounters {
  sent: number; rejected: number; dropped: number; retries: number; rejectedItems: number; lastError: string;
  queued: number; queuedBytes: number; readonly droppedBy: Record<DropReason, number>;
}

interface Waiting { readonly bytes: Uint8Array; attempts: number }
type Outcome =
  | { readonly kind: 'sent'; readonly rejectedItems: number; readonly message: string }
  | { readonly kind: 'final' | 'again'; readonly message: string; readonly afterMs?: number };

const compress = promisify(gzip);
const RETRYABLE = new Set([429, 502, 503, 504]);

export interface PosterOptions {
  readonly fetch?: typeof fetch;
  /** jitter in [0, 1); fixed in tests */
  readonly random?: () => number;
  readonly log?: (line: string) => void;
}

export class Poster {
  readonly counters: PosterCounters = {
    sent: 0, rejected: 0, dropped: 0, retries: 0, rejectedItems: 0, lastError: '', queued: 0, queuedBytes: 0,
    droppedBy: { queue_full: 0, too_large: 0, gave_up: 0, closed: 0 },
  };
  private readonly queue: Waiting[] = [];
  private running: Promise<void> | null = null;
  private readonly stop = new AbortController();
  private sentAtMs = -Infinity;
  private wake: (() => void) | null = null;

  constructor(private readonly signal: Signal, private readonly target: Target, private readonly options: PosterOptions = {}) {}

  /** Whether a request of this size fits without another being dropped for it. */
  hasRoom(sizeBytes: number): boolean {
    const { queued, queuedBytes } = this.counters;
    return !this.stop.signal.aborted && queued < POSTER_LIMITS.requests && queuedBytes + sizeBytes <= POSTER_LIMITS.bytes;
  }

  /** ms since the collector last took a request; Infinity before the first. */
  sinceSentMs(): number {
    return performance.now() - this.sentAtMs;
  }

  /** Queues one encoded request; returns at once. */
  post(bytes: Uint8Array): void {
    if (this.stop.signal.aborted) {
      this.drop('closed', 'the exporter is closed');
      return;
    }
    if (bytes.length > POSTER_LIMITS.bytes) {
      this.drop('too_large', `${bytes.length} bytes`);
      return;
    }
    this.queue.push({ bytes, attempts: 0 });
    this.counters.queuedBytes += bytes.length;
    // The first of the queue is being sent while `running`: it is not the one to drop.
    while (this.queue.length > POSTER_LIMITS.requests || this.counters.queuedBytes > POSTER_LIMITS.bytes) {
      const at = this.running !== null && this.queue.length > 1 ? 1 : 0;
      const [old] = this.queue.splice(at, 1);
      this.counters.queuedBytes -= old!.bytes.length;
      this.drop('queue_full', 'the queue is full');
    }
    this.counters.queued = this.queue.length;
    this.running ??= this.run().finally(() => { this.running = null; });
  }

  /** Waits until the queue is empty or `graceMs` passed; then gives up on the rest, which is counted as dropped. */
  async close(graceMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => { timer = setTimeout(resolve, graceMs); });
    await Promise.race([this.running ?? Promise.resolve(), late]);
    clearTimeout(timer);
    this.stop.abort();
    this.wake?.();
    await this.running;
    for (const { bytes } of this.queue.splice(0)) {
      this.counters.queuedBytes -= bytes.length;
      this.drop('closed', 'closed before it was sent');
    }
    this.counters.queued = 0;
  }

  private drop(reason: DropReason, why: string): void {
    this.counters.dropped++;
    this.counters.droppedBy[reason]++;
    this.complain(`dropped a request: ${why}`);
  }

  /** Logs on a change of the reason alone: a dead collector is one line, not one a request. */
  private complain(message: string): void {
    if (message !== this.counters.lastError) this.options.log?.(`otlp ${this.signal}: ${message}`);
    this.counters.lastError = message;
  }

  private async run(): Promise<void> {
    while (this.queue.length > 0 && !this.stop.signal.aborted) {
      const next = this.queue[0]!;
      const outcome = await this.attempt(next);
      next.attempts++;
      if (outcome.kind === 'again' && next.attempts < POSTER_LIMITS.attempts) {
        this.counters.retries++;
        this.complain(outcome.message);
        await this.sleep(this.waitMs(next.attempts, outcome.afterMs));
        continue;
      }
      if (this.stop.signal.aborted && outcome.kind === 'again') return;
      this.queue.splice(this.queue.indexOf(next), 1);
      this.counters.queuedBytes -= next.bytes.length;
      this.counters.queued = this.queue.length;
      this.settle(outcome);
    }
  }

  private settle(outcome: Outcome): void {
    if (outcome.kind === 'sent') {
      this.counters.sent++;
      this.sentAtMs = performance.now();
      this.counters.rejectedItems += outcome.rejectedItems;
      if (outcome.rejectedItems > 0) this.complain(`${outcome.rejectedItems} refused: ${outcome.message}`);
      else this.counters.lastError = '';
      return;
    }
    if (outcome.kind === 'again') {
      this.drop('gave_up', `gave up after ${POSTER_LIMITS.attempts} attempts: ${outcome.message}`);
      return;
    }
    this.counters.rejected++;
    this.complain(outcome.message);
  }

  private waitMs(attempts: number, afterMs: number | undefined): number {
    if (afterMs !== undefined) return Math.min(afterMs, POSTER_LIMITS.retryAfterMaxMs);
    const most = Math.min(POSTER_LIMITS.backoffFirstMs * 2 ** (attempts - 1), POSTER_LIMITS.backoffMaxMs);
    return most / 2 + (most / 2) * (this.options.random ?? Math.random)();
  }

  private sleep(ms: number): Promise<void> {
    if (this.stop.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => { clearTimeout(timer); resolve(); };
    });
  }

  private async attempt(item: Waiting): Promise<Outcome> {
    const { url, headers, timeoutMs, gzip: zip } = this.target;
    try {
      const body = zip ? await compress(item.bytes) : item.bytes;
      const response = await (this.options.fetch ?? fetch)(url, {
        method: 'POST', body: body as BodyInit, redirect: 'error',
        signal: AbortSignal.any([this.stop.signal, AbortSignal.timeout(timeoutMs)]),
        headers: { ...headers, 'content-type': 'application/x-protobuf', ...(zip ? { 'content-encoding': 'gzip' } : {}) },
      });
      const answer = Buffer.from(await response.arrayBuffer());
      if (response.ok) return this.partial(answer);
      const message = `HTTP ${response.status}`;
      if (!RETRYABLE.has(response.status)) return { kind: 'final', message };
      return { kind: 'again', message, afterMs: retryAfterMs(response.headers.get('retry-after')) };
    } catch (error) {
      const cause = (error as { cause?: { code?: string } }).cause?.code;
      return { kind: 'again', message: cause ?? (error as Error).name };
    }
  }

  /** The body of a 200: how many items the server refused, with its words (cut to 200 characters). */
  private partial(answer: Buffer): Outcome {
    if (answer.length === 0) return { kind: 'sent', rejectedItems: 0, message: '' };
    if (answer.length > POSTER_LIMITS.responseBytes) return { kind: 'sent', rejectedItems: 0, message: '' };
    const { response, rejected } = SIGNALS[this.signal];
    try {
      const type = messageType(response);
      const said = (type.toObject(type.decode(answer), { longs: String }) as { partialSuccess?: Record<string, string> }).partialSuccess;
      return { kind: 'sent', rejectedItems: Number(said?.[rejected] ?? 0), message: (said?.errorMessage ?? '').slice(0, 200) };
    } catch {
      // The server took the request and answered with something else than protobuf: taken all the same.
      return { kind: 'sent', rejectedItems: 0, message: '' };
    }
  }
}

/** Retry-After in seconds or as a date, in ms; undefined where it says nothing usable. */
export function retryAfterMs(text: string | null, nowMs: number = Date.now()): number | undefined {
  if (text === null) return undefined;
  if (/^\d+$/.test(text.trim())) return Number(text) * 1000;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs);
}
