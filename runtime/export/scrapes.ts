// SPDX-License-Identifier: Apache-2.0
// Owns: putting the parts of a scrape together, per stream.
// Invariant: a scrape comes out whole, once, in the order of its parts, or not at all. `seq` grows within a generation of the guest's
// exporter: a frame that is not newer than the last is a duplicate. A part that does not belong to the unfinished scrape begins another
// (dcgmd may have started anew, with lower numbers); the unfinished one is counted and gone. A resource that goes on in the next part is
// one resource in the result.
// Limits: PARTS_MAX parts; one unfinished scrape a stream.
import type { MetricsPart } from './link.js';
import type { Resource } from './otlp/model.js';
import { STREAMS, type Stream } from './prometheus/store.js';

export const PARTS_MAX = 64;

export type DecodedPart = MetricsPart & { readonly resources: readonly Resource[] };
/** `bytes`: the requests of its parts one after the other, which is a request too. */
export interface Scrape { readonly source: string; readonly bytes: Uint8Array; readonly resources: readonly Resource[] }
/** `refused`: no such part. */
export type Taken = { readonly kind: 'waiting' | 'duplicate' | 'refused' } | { readonly kind: 'complete'; readonly scrape: Scrape };

interface Slot { seq: bigint; scrape: bigint; parts: number; pending: Map<number, DecodedPart>; incomplete: number }
const blank = (): Slot => ({ seq: -1n, scrape: -1n, parts: 0, pending: new Map(), incomplete: 0 });

/** Resources with the same attributes as one, at the place of the first. */
function merged(resources: readonly Resource[]): Resource[] {
  const out = new Map<string, Resource>();
  for (const resource of resources) {
    const key = JSON.stringify([...resource.attributes].map(([name, value]) => [name, typeof value, String(value)]));
    const first = out.get(key);
    out.set(key, first === undefined ? resource : { ...first, scopes: [...first.scopes, ...resource.scopes] });
  }
  return [...out.values()];
}

export class Assembler {
  private readonly slots = new Map<Stream, Slot>(STREAMS.map((stream) => [stream, blank()]));

  take(part: DecodedPart): Taken {
    const slot = this.slots.get(part.stream)!;
    if (part.seq <= slot.seq) return { kind: 'duplicate' };
    slot.seq = part.seq;
    if (!Number.isInteger(part.part) || part.part < 0 || part.part >= part.parts || part.parts > PARTS_MAX) return { kind: 'refused' };
    const goesOn = slot.pending.size > 0 && part.scrape === slot.scrape && part.parts === slot.parts && !slot.pending.has(part.part);
    if (!goesOn) {
      if (slot.pending.size > 0) slot.incomplete++;
      Object.assign(slot, { scrape: part.scrape, parts: part.parts, pending: new Map() });
    }
    slot.pending.set(part.part, part);
    if (slot.pending.size < slot.parts) return { kind: 'waiting' };
    const all = [...slot.pending.values()].sort((a, b) => a.part - b.part);
    slot.pending = new Map();
    return {
      kind: 'complete',
      scrape: {
        source: part.source, bytes: Buffer.concat(all.map(({ request }) => request)),
        resources: merged(all.flatMap(({ resources }) => resources)),
      },
    };
  }

  /** The guest's exporter started anew: its numbers begin again. */
  restart(): void {
    for (const slot of this.slots.values()) {
      const incomplete = slot.incomplete + (slot.pending.size > 0 ? 1 : 0);
      Object.assign(slot, { ...blank(), incomplete });
    }
  }

  /** Scrapes of a stream that were begun and never finished. */
  incomplete(stream: Stream): number {
    return this.slots.get(stream)!.incomplete;
  }
}
