// SPDX-License-Identifier: Apache-2.0
// The newest complete scrape of each stream, and what is known of its freshness.
// Invariant: a scrape becomes visible whole or not at all: its parts are kept aside until the last came; a part of an older scrape, or
// one that does not fit its number of parts, is refused. Points older than `maxAgeNs` are not shown: a dead source leaves no old values.
// Limits: STREAMS, PARTS_MAX.
import { pointCount, type Resource } from '../otlp/model.js';

/** What the guest sends: GPU telemetry, and its own series. */
export const STREAMS = ['gpu', 'self'] as const;
export type Stream = (typeof STREAMS)[number];
export const PARTS_MAX = 64;

/** One part (0-based) of a scrape; scrape numbers grow. */
export interface Part {
  readonly stream: Stream; readonly scrape: bigint; readonly part: number; readonly parts: number; readonly resources: readonly Resource[];
}

export interface StreamState {
  readonly scrapes: number; readonly refused: number;
  /** Unix ns of the newest point of the visible scrape; 0n before the first */
  readonly newestNs: bigint;
  readonly points: number;
}

interface Slot {
  scrape: bigint; parts: number; pending: Map<number, readonly Resource[]>; shown: readonly Resource[]; scrapes: number; refused: number;
  newestNs: bigint;
}
const blank = (): Slot => ({ scrape: -1n, parts: 0, pending: new Map(), shown: [], scrapes: 0, refused: 0, newestNs: 0n });

function newest(resources: readonly Resource[]): bigint {
  let at = 0n;
  for (const { scopes } of resources) for (const { metrics } of scopes) for (const { points, histograms } of metrics) {
    for (const { timeNs } of [...points, ...histograms]) if (timeNs > at) at = timeNs;
  }
  return at;
}

export class Store {
  private readonly slots = new Map<Stream, Slot>(STREAMS.map((stream) => [stream, blank()]));

  /** Takes a part; true when it completed its scrape. A refused part is counted and changes nothing. */
  take({ stream, scrape, part, parts, resources }: Part): boolean {
    const slot = this.slots.get(stream)!;
    const fits = Number.isInteger(part) && part >= 0 && part < parts && parts <= PARTS_MAX;
    const known = scrape === slot.scrape;
    if (!fits || scrape < slot.scrape || (known && (slot.parts !== parts || slot.pending.has(part) || slot.pending.size === 0))) {
      slot.refused++;
      return false;
    }
    if (!known) Object.assign(slot, { scrape, parts, pending: new Map() });
    slot.pending.set(part, resources);
    if (slot.pending.size < parts) return false;
    slot.shown = [...slot.pending].sort(([a], [b]) => a - b).flatMap(([, rows]) => rows);
    slot.pending = new Map();
    slot.newestNs = newest(slot.shown);
    slot.scrapes++;
    return true;
  }

  /** The guest started anew: its scrape numbers begin again; what is shown stays until it is too old. */
  restart(): void {
    for (const slot of this.slots.values()) Object.assign(slot, { scrape: -1n, parts: 0, pending: new Map() });
  }

  /** Forgets what is shown: while the guest is down only the host's own series are served. */
  clear(): void {
    for (const slot of this.slots.values()) slot.shown = [];
  }

  /** The visible scrape of a stream without points older than `maxAgeNs` at `nowNs`. */
  shown(stream: Stream, nowNs: bigint, maxAgeNs: bigint): Resource[] {
    const from = nowNs - maxAgeNs;
    const fresh = <T extends { timeNs: bigint }>(rows: readonly T[]): T[] => rows.filter(({ timeNs }) => timeNs >= from);
    return this.slots.get(stream)!.shown.map((resource) => ({
      ...resource,
      scopes: resource.scopes.map((scope) => ({
        ...scope,
        metrics: scope.metrics.map((m) => ({ ...m, points: fresh(m.points), histograms: fresh(m.histograms) })),
      })),
    }));
  }

  state(stream: Stream): StreamState {
    const { scrapes, refused, newestNs, shown } = this.slots.get(stream)!;
    return { scrapes, refused, newestNs, points: pointCount(shown) };
  }
}
