// SPDX-License-Identifier: Apache-2.0
// Owns: what was asked of a store, in order, what it answered and when, and the state after each prefix of it.
// Invariant: after a power cut the store must hold the state after some prefix of what was submitted before the cut that contains
// everything acknowledged as durable before it; a refused operation changes nothing. Positions count what reached the disk.
// Limits: operations are applied in the order in which they were submitted; a state is compared by a digest of 64 bits.
import { STATUS } from './frames.js';

/** Contents by number (contents.ts) of each key that exists. */
export type State = Map<string, number>;

export interface Operation {
  kind: 'put' | 'del' | 'batch' | 'lazy' | 'txn' | 'sync';
  /** all or none; `null` deletes */
  changes: { key: string; content: number | null }[];
  /** length of the disk's log when it was handed over */
  submittedAt: number;
  /** the same when its answer left; null: not answered yet */
  answeredAt: number | null;
  status: number;
}

export class History {
  readonly operations: Operation[] = [];
  /** Digest of the state after each prefix, from none to all; filled by `seal`. */
  private low: number[] = [];
  private high: number[] = [];

  constructor(readonly base: State) {}

  submit(kind: Operation['kind'], changes: Operation['changes'], position: number): number {
    this.operations.push({ kind, changes, submittedAt: position, answeredAt: null, status: -1 });
    return this.operations.length - 1;
  }
  answer(index: number, status: number, position: number): void {
    const one = this.operations[index]!;
    if (one.answeredAt !== null) throw new Error(`operation ${index} was answered twice`);
    one.answeredAt = position;
    one.status = status;
  }

  /** State after the first `count` operations. */
  stateAfter(count: number): State {
    const state = new Map(this.base);
    for (let i = 0; i < count; i++) apply(state, this.operations[i]!);
    return state;
  }

  /** Computes the digests. Call it when every operation was answered. */
  seal(): void {
    const state = new Map(this.base);
    let [low, high] = digest(state);
    this.low = [low];
    this.high = [high];
    for (const one of this.operations) {
      for (const { key, content } of one.status === STATUS.ok ? one.changes : []) {
        const before = state.get(key);
        if (before !== undefined) [low, high] = [(low - mix(key, before, 1)) >>> 0, (high - mix(key, before, 2)) >>> 0];
        if (content !== null) [low, high] = [(low + mix(key, content, 1)) >>> 0, (high + mix(key, content, 2)) >>> 0];
        if (content === null) state.delete(key); else state.set(key, content);
      }
      this.low.push(low);
      this.high.push(high);
    }
  }

  /** The least and the greatest prefix that a cut after `position` disk operations may leave. */
  window(position: number): [number, number] {
    let [least, greatest] = [0, 0];
    for (const [index, { kind, submittedAt, answeredAt, status }] of this.operations.entries()) {
      if (submittedAt > position) break;
      greatest = index + 1;
      if (answeredAt !== null && answeredAt <= position && status === STATUS.ok && kind !== 'lazy') least = index + 1;
    }
    return [least, greatest];
  }

  /** The greatest prefix from `least` to `greatest` after which the state is this; -1: none. */
  match(state: State, least: number, greatest: number): number {
    const [low, high] = digest(state);
    for (let count = greatest; count >= least; count--) {
      if (this.low[count] === low && this.high[count] === high) return count;
    }
    return -1;
  }

  /** Where a state departs from what may be: for a report. */
  explain(state: State, least: number, greatest: number): string[] {
    const early = this.match(state, 0, least);
    const lines = [`allowed: the state after ${least} to ${greatest} of ${this.operations.length} operations`];
    if (early >= 0) lines.push(`found: the state after ${early}: acknowledged operations are lost`);
    for (const count of new Set([least, greatest])) {
      const wanted = this.stateAfter(count);
      for (const [key, content] of wanted) {
        const found = state.get(key);
        if (found !== content) lines.push(`after ${count}: ${key} should hold content ${content}, ${found === undefined ? 'is absent' : `holds ${found}`}`);
      }
      for (const [key, content] of state) if (!wanted.has(key)) lines.push(`after ${count}: ${key} should be absent, holds content ${content}`);
    }
    return lines.slice(0, 24);
  }
}

/** Applies an operation that was not refused. */
export function apply(state: State, { changes, status }: Operation): void {
  if (status !== STATUS.ok) return;
  for (const { key, content } of changes) {
    if (content === null) state.delete(key);
    else state.set(key, content);
  }
}

function digest(state: State): [number, number] {
  let [low, high] = [0, 0];
  for (const [key, content] of state) {
    low = (low + mix(key, content, 1)) >>> 0;
    high = (high + mix(key, content, 2)) >>> 0;
  }
  return [low, high];
}

const hashes = new Map<string, number>();
function keyHash(key: string): number {
  const known = hashes.get(key);
  if (known !== undefined) return known;
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193) >>> 0;
  hashes.set(key, hash);
  return hash;
}
/** A 32-bit number of a pair; two lanes. */
function mix(key: string, content: number, lane: number): number {
  let x = (keyHash(key) ^ Math.imul(content + 1, 0x9e3779b1 * lane)) >>> 0;
  for (let round = 0; round < 2; round++) {
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d + lane) >>> 0;
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b) >>> 0;
  }
  return (x ^ (x >>> 16)) >>> 0;
}
