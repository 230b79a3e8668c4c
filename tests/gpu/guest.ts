// SPDX-License-Identifier: Apache-2.0
// Owns: the guest's lib/gpu (tests/gpu/gpu-module.ts as wasm) behind plain calls, and samples and entities as the bridge encodes them.
// Invariant: no logic of its own: what a test sees is the guest's. Limits: those of the module.
import { encodeEntities, encodeSamples } from '../../runtime/bridge/messages.js';
import type { Entity, Sample } from '../../runtime/bridge/source.js';
import { decodeMetrics, type Attributes, type Metric, type Point, type Resource } from '../../runtime/export/otlp/model.js';
import { gpuGroups, gpuMetrics } from '../../runtime/export/gpu-metrics.js';
import { buildEntry } from '../../runtime/node/index.js';

type Call = (...args: (number | bigint)[]) => number;
export const TALLY = [
  'samples', 'values', 'blanks', 'unsupported', 'denied', 'stale', 'errors', 'bad', 'homeless', 'series', 'dropped', 'replaced', 'xidEdges', 'gone',
] as const;
export type Tally = Readonly<Record<(typeof TALLY)[number], number>>;
export interface Series {
  readonly value: number; readonly stampNs: bigint; readonly resource: number; readonly entity: number; readonly group: string;
  readonly metric: string; readonly code: number; readonly slot: number; readonly born: number; readonly labels: string;
}
/** A point with where it was found. */
export interface Found { readonly resource: Attributes; readonly metric: Metric; readonly point: Point }

export const NOW_US = 1_800_000_000_000_000n;
const PAGE_HEAD_BYTES = 8;
const SAMPLES_A_CALL = 2000;

/** Bytes of records as the bridge pages them. */
function records<T>(items: readonly T[], encode: (items: readonly T[], cursor: number) => Buffer): Buffer[] {
  const pages: Buffer[] = [];
  for (let cursor = 0; ;) {
    const page = encode(items, cursor);
    pages.push(page.subarray(PAGE_HEAD_BYTES));
    cursor = page.readUInt32LE(4);
    if (cursor === 0) return pages;
  }
}

export class Guest {
  private readonly exports: Record<string, Call>;
  private readonly memory: WebAssembly.Memory;

  constructor(wasm: Uint8Array) {
    const abort = (_message: number, _file: number, line: number, column: number): never => { throw new Error(`guest abort at ${line}:${column}`); };
    const instance = new WebAssembly.Instance(new WebAssembly.Module(wasm as BufferSource), { env: { abort } });
    this.exports = instance.exports as Record<string, Call>;
    this.memory = instance.exports['memory'] as WebAssembly.Memory;
    this.call('_init');
    this.call('reset');
  }

  call(name: string, ...args: (number | bigint)[]): number { return this.exports[name]!(...args); }
  bytes(at: number, length: number): Buffer { return Buffer.from(this.memory.buffer, at >>> 0, length); }
  get pages(): number { return this.memory.buffer.byteLength / 65_536; }
  private input(bytes: Uint8Array): void { this.bytes(this.call('input'), bytes.length).set(bytes); }

  private named(call: string, name: string): number {
    this.input(Buffer.from(name, 'ascii'));
    return this.call(call, name.length);
  }
  groupIndex(name: string): number { return this.named('groupByName', name); }
  metricIndex(name: string): number { return this.named('metricByName', name); }
  /** 0 disabled, 1 enabled, 2 auto. */
  group(name: string, state: number): boolean { return this.call('group', this.groupIndex(name), state) !== 0; }
  groupOn(name: string): boolean { return this.call('groupOn', this.groupIndex(name)) !== 0; }
  /** Every group that has a switch, on. */
  allGroups(): this {
    for (const { name, toggle } of gpuGroups) if (toggle === 'seed' || toggle === 'own') this.group(name, 1);
    return this;
  }
  budget(name: string, most: number): boolean { return this.call('budget', this.groupIndex(name), most) !== 0; }
  metric(name: string, allowed: boolean): boolean { return this.call('metricAllowed', this.metricIndex(name), allowed ? 1 : 0) !== 0; }
  field(id: number, allowed: boolean): boolean { return this.call('fieldAllowed', id, allowed ? 1 : 0) !== 0; }
  seriesMax(most: number): boolean { return this.call('seriesMax', most) !== 0; }
  intervalMs(ms: number): boolean { return this.call('interval', BigInt(ms) * 1_000_000n) !== 0; }
  watchList(): number[] { return Array.from({ length: this.call('watchList') }, (_, i) => this.call('watchAt', i)); }

  /** Takes raw entity records; how many, or -1 - n when record n is malformed. */
  takeEntities(bytes: Uint8Array): number {
    this.input(bytes);
    return this.call('takeEntities', bytes.length);
  }
  /** A whole enumeration; returns how many are present. */
  enumerate(entities: readonly Entity[]): number {
    this.call('beginEnumeration');
    for (const page of records(entities, (all, cursor) => encodeEntities('replay', all, cursor))) {
      const taken = this.takeEntities(page);
      if (taken < 0) throw new Error(`entity ${-1 - taken} is malformed`);
    }
    return this.call('endEnumeration');
  }
  entityText(group: number, id: number, which: 'uuid' | 'model' | 'bdf' | 'driver'): string {
    const [index, at] = [this.call('entityIndex', group, id), ['uuid', 'model', 'bdf', 'driver'].indexOf(which)];
    return this.bytes(this.call('entityText', index, at), this.call('entityTextBytes', index, at)).toString('latin1');
  }

  begin(wallUs: bigint = NOW_US, source = 1): void { this.call('beginScrape', wallUs * 1000n, source); }
  takeRaw(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += SAMPLES_A_CALL * 32) {
      const part = bytes.subarray(at, at + SAMPLES_A_CALL * 32);
      this.input(part);
      this.call('takeSamples', part.length / 32);
    }
  }
  take(samples: readonly Sample[]): void {
    for (const page of records(samples, (all, cursor) => encodeSamples('replay', all, cursor))) this.takeRaw(page);
  }
  end(): Tally {
    const at = this.call('endScrape');
    const words = this.bytes(at, TALLY.length * 4);
    return Object.fromEntries(TALLY.map((name, i) => [name, words.readUInt32LE(i * 4)])) as Tally;
  }
  scrape(samples: readonly Sample[], wallUs: bigint = NOW_US, source = 1): Tally {
    this.begin(wallUs, source);
    this.take(samples);
    return this.end();
  }

  /** Copies of the requests; `age` 1: of the scrape before. */
  parts(age = 0): Buffer[] {
    return Array.from({ length: this.call('partCount', age) }, (_, i) =>
      Buffer.from(this.bytes(this.call('partAt', i, age), this.call('partBytes', i, age))));
  }
  /** Each part is a request of its own. */
  resources(): Resource[] { return this.parts().flatMap((part) => decodeMetrics(part)); }
  found(): Found[] {
    return this.resources().flatMap(({ attributes, scopes }) => scopes.flatMap(({ metrics }) => metrics.flatMap((metric) =>
      metric.points.map((point) => ({ resource: attributes, metric, point })))));
  }
  series(): Series[] {
    return Array.from({ length: this.call('seriesCount') }, (_, i) => {
      const labels = Buffer.from(this.bytes(this.call('input'), this.call('seriesLabels', i))).toString('latin1');
      const row = Buffer.from(this.bytes(this.call('seriesAt', i), 48));
      const [resource, entity, group, metric, , code, slot, born] = Array.from({ length: 8 }, (_u, at) => row.readUInt32LE(16 + at * 4));
      return { value: row.readDoubleLE(0), stampNs: row.readBigUInt64LE(8), resource: resource!, entity: entity!,
        group: gpuGroups[group!]!.name, metric: gpuMetrics[metric!]!.name, code: code!, slot: slot!, born: born!, labels };
    });
  }
  dropped(name: string): number { return Number(this.call('dropped', this.groupIndex(name)) as unknown as bigint); }
  clean(text: Uint8Array, max: number): string {
    this.input(text);
    return this.bytes(this.call('input') + 4096, this.call('clean', text.length, max)).toString('latin1');
  }
}

const wasm = await buildEntry('tests/gpu/gpu-module.ts');
export const newGuest = (): Guest => new Guest(wasm);
