// SPDX-License-Identifier: Apache-2.0
// Owns: what an attribution is to those who export: attribute sets for an entity, a named state, counters; and several seen as one.
// Invariant: an attribution never holds telemetry up and never invents a user: without an answer there is no set, and the state says why.
// Limits: ATTRIBUTION_LIMITS.setsPerEntity sets an entity.
import type { Value } from '../export/otlp/model.js';
import { ATTRIBUTION_LIMITS } from './limits.js';

/** Who uses an entity. Empty: nobody known, its points are exported once, as they are; else once for each set. */
export interface Attributor {
  /** `entity`: the resource attributes of docs/format/bridge.md's entity, before identities are hashed. Never throws, never waits. */
  attributes(entity: ReadonlyMap<string, Value>): readonly ReadonlyMap<string, string>[];
}

/** One attribution's condition. `attributing`: sets are handed out (with a fault: those of the last good answer, for a while). */
export interface AttributionState {
  readonly source: string; readonly name: string; readonly detail: string; readonly attributing: boolean;
  /** ms of the caller's clock at which this state began, and of the last good answer (null: none yet) */
  readonly sinceMs: number; readonly answerMs: number | null;
}

/** An attribution that renews itself. `start` resolves after the first attempt, whatever came of it. */
export interface RunningAttributor extends Attributor {
  /** sums since the start, by name */
  readonly counters: Readonly<Record<string, number>>;
  /** what the answer in force holds, and what of it could not be used, by name */
  readonly seen: Readonly<Record<string, number>>;
  start(): Promise<void>;
  close(): Promise<void>;
  states(): readonly AttributionState[];
}

/** A text from outside: control characters removed, cut to the limit. */
export function cleanValue(text: string): string {
  const clean = text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '').trim();
  if (Buffer.byteLength(clean) <= ATTRIBUTION_LIMITS.textBytes) return clean;
  return Buffer.from(clean).subarray(0, ATTRIBUTION_LIMITS.textBytes).toString('utf8').replace(/\ufffd+$/, '');
}

/** Counts under names that begin so. */
export const prefixed = (prefix: string, counts: object): Record<string, number> =>
  Object.fromEntries(Object.entries(counts as Record<string, number>).map(([name, count]) => [`${prefix}_${name}`, count]));

/** Several as one: every combination of their sets, so that a GPU with one pod and one job has one set with both. */
export function combineAttributors(parts: readonly RunningAttributor[]): RunningAttributor {
  const own = { sets_cut: 0 };
  return {
    attributes(entity) {
      let sets: ReadonlyMap<string, string>[] = [];
      for (const part of parts) {
        const more = part.attributes(entity);
        if (more.length === 0) continue;
        if (sets.length === 0) { sets = [...more]; continue; }
        const product: ReadonlyMap<string, string>[] = [];
        const all = sets.length * more.length;
        for (const a of sets) {
          for (const b of more) if (product.length < ATTRIBUTION_LIMITS.setsPerEntity) product.push(new Map([...a, ...b]));
        }
        own.sets_cut += all - product.length;
        sets = product;
      }
      return sets;
    },
    get counters() {
      return Object.fromEntries([...parts.flatMap((part) => Object.entries(part.counters)), ...Object.entries(own)]);
    },
    get seen() { return Object.assign({}, ...parts.map((part) => part.seen)) as Record<string, number>; },
    async start() { await Promise.all(parts.map((part) => part.start())); },
    async close() { await Promise.all(parts.map((part) => part.close())); },
    states: () => parts.flatMap((part) => part.states()),
  };
}
