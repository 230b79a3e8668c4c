// SPDX-License-Identifier: Apache-2.0
// The newest complete scrape of each stream, and what is known of its freshness.
// Invariant: a scrape becomes visible whole (scrapes.ts puts it together) and replaces the one before it. Points older than `maxAgeNs`
// are not shown: a dead source leaves no old values.
// Limits: one scrape of each of STREAMS.
import { pointCount, type Resource } from '../otlp/model.js';

/** What the guest sends: GPU telemetry, and its own series. */
export const STREAMS = ['gpu', 'self'] as const;
export type Stream = (typeof STREAMS)[number];

export interface StreamState {
  readonly scrapes: number;
  /** Unix ns of the newest point of the visible scrape; 0n before the first */
  readonly newestNs: bigint;
  readonly points: number;
}

interface Slot { shown: readonly Resource[]; scrapes: number; newestNs: bigint }

function newest(resources: readonly Resource[]): bigint {
  let at = 0n;
  for (const { scopes } of resources) for (const { metrics } of scopes) for (const { points, histograms } of metrics) {
    for (const { timeNs } of [...points, ...histograms]) if (timeNs > at) at = timeNs;
  }
  return at;
}

export class Store {
  private readonly slots = new Map<Stream, Slot>(STREAMS.map((stream) => [stream, { shown: [], scrapes: 0, newestNs: 0n }]));

  /** Shows a complete scrape in place of the one before. */
  take(stream: Stream, resources: readonly Resource[]): void {
    const slot = this.slots.get(stream)!;
    slot.shown = resources;
    slot.newestNs = newest(resources);
    slot.scrapes++;
  }

  /** Forgets what is shown: while the guest is down only the host's own series are served. */
  clear(): void {
    for (const slot of this.slots.values()) Object.assign(slot, { shown: [], newestNs: 0n });
  }

  /** The visible scrape of a stream without points older than `maxAgeNs` at `nowNs`, and without resources that have none left. */
  shown(stream: Stream, nowNs: bigint, maxAgeNs: bigint): Resource[] {
    const from = nowNs - maxAgeNs;
    const fresh = <T extends { timeNs: bigint }>(rows: readonly T[]): T[] => rows.filter(({ timeNs }) => timeNs >= from);
    return this.slots.get(stream)!.shown.map((resource) => ({
      ...resource,
      scopes: resource.scopes.map((scope) => ({
        ...scope,
        metrics: scope.metrics.map((m) => ({ ...m, points: fresh(m.points), histograms: fresh(m.histograms) })),
      })),
    })).filter((resource) => pointCount([resource]) > 0);
  }

  state(stream: Stream): StreamState {
    const { scrapes, newestNs, shown } = this.slots.get(stream)!;
    return { scrapes, newestNs, points: pointCount(shown) };
  }
}
