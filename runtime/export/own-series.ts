// SPDX-License-Identifier: Apache-2.0
// Owns: the series that the host itself makes: counters added to, gauges set, and readers asked each time somebody looks.
// Invariant: a name is a row of abi/self-metrics.toml that the host or its supervisor counts, and a point has exactly that row's
// attributes; anything else throws: it is a mistake in the program. A counter never falls.
// Limits: SERIES_MAX kept series; what comes beyond is refused and counted.
import { selfMetrics, type SelfMetric } from './self-metrics.js';
import type { Metric, Point, Resource, Value } from './otlp/model.js';

export const SERIES_MAX = 1024;
const MAKERS = new Set(['host', 'supervisor']);
const CUMULATIVE = 2;

export type Labels = Readonly<Record<string, Value>>;
/** One value as a reader tells it. */
export type Reading = readonly [labels: Labels, value: number | bigint];

export class OwnSeries {
  /** series that were not kept */
  refused = 0;
  private readonly rows: ReadonlyMap<string, SelfMetric>;
  private readonly kept = new Map<string, Map<string, Reading>>();
  private readonly readers = new Map<string, (() => Iterable<Reading>)[]>();
  private count = 0;

  /** `startNs`: Unix ns since when counters count. */
  constructor(private readonly startNs: bigint, rows: readonly SelfMetric[] = selfMetrics) {
    this.rows = new Map(rows.filter(({ by }) => MAKERS.has(by)).map((row) => [row.name, row]));
  }

  /** Counts `by` more. @throws Error for a name, instrument or attribute that the table does not have. */
  add(name: string, labels: Labels = {}, by = 1): void {
    const row = this.row(name, labels);
    if (row.instrument !== 'counter' && row.instrument !== 'updown') throw new Error(`${name} is a ${row.instrument}`);
    if (by < 0 && row.instrument === 'counter') throw new Error(`${name} would fall`);
    this.keep(name, labels, (old) => Number(old) + by);
  }

  /** Sets a gauge. @throws Error as `add`. */
  set(name: string, labels: Labels, value: number | bigint): void {
    const row = this.row(name, labels);
    if (row.instrument !== 'gauge') throw new Error(`${name} is a ${row.instrument}`);
    this.keep(name, labels, () => value);
  }

  /** Forgets the kept series of a name: for a gauge whose attributes say what holds now. */
  forget(name: string): void {
    this.count -= this.kept.get(name)?.size ?? 0;
    this.kept.delete(name);
  }

  /** Asks `reader` for the values of `name` whenever somebody looks. @throws Error for a name that the table does not have. */
  read(name: string, reader: () => Iterable<Reading>): void {
    if (!this.rows.has(name)) throw new Error(`${name} is no row of the host in abi/self-metrics.toml`);
    this.readers.set(name, [...(this.readers.get(name) ?? []), reader]);
  }

  /** Every series now, as one resource; in the order of the table. */
  resource(attributes: ReadonlyMap<string, Value>, scopeVersion: string, nowNs: bigint): Resource {
    const metrics = [...this.rows.values()].map((row) => this.metric(row, nowNs)).filter(({ points }) => points.length > 0);
    return { attributes, scopes: [{ name: 'vigil/host', version: scopeVersion, attributes: new Map(), metrics }] };
  }

  private metric({ name, brief, unit, instrument }: SelfMetric, timeNs: bigint): Metric {
    const sum = instrument !== 'gauge';
    const read = (this.readers.get(name) ?? []).flatMap((reader) => [...reader()]);
    for (const [labels] of read) this.row(name, labels);
    const points = [...(this.kept.get(name)?.values() ?? []), ...read].map(([labels, value]): Point => ({
      attributes: new Map(Object.entries(labels)), startNs: sum ? this.startNs : 0n, timeNs, value,
    }));
    return {
      name, description: brief, unit, kind: sum ? 'sum' : 'gauge', monotonic: instrument === 'counter', temporality: sum ? CUMULATIVE : 0,
      points, histograms: [],
    };
  }

  private row(name: string, labels: Labels): SelfMetric {
    const row = this.rows.get(name);
    if (row === undefined) throw new Error(`${name} is no row of the host in abi/self-metrics.toml`);
    const keys = Object.keys(labels);
    if (keys.length !== row.attributes.length || keys.some((key) => !row.attributes.includes(key))) {
      throw new Error(`${name} has the attributes [${row.attributes.join(', ')}], not [${keys.join(', ')}]`);
    }
    return row;
  }

  private keep(name: string, labels: Labels, change: (old: number | bigint) => number | bigint): void {
    const rows = this.kept.get(name) ?? new Map<string, Reading>();
    const key = JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)).map(([at, value]) => [at, String(value)]));
    const old = rows.get(key);
    if (old === undefined && this.count >= SERIES_MAX) {
      this.refused++;
      return;
    }
    if (old === undefined) this.count++;
    rows.set(key, [labels, change(old?.[1] ?? 0)]);
    this.kept.set(name, rows);
  }
}
