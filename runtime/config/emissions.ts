// SPDX-License-Identifier: Apache-2.0
// Owns: which metrics a configuration emits, how many series each entity gives, and what the cap leaves of them: the arithmetic of
// `vigil validate --show-emissions`, from abi/gpu-metrics.toml alone.
// Invariant: two fields that make the same series, or of which one stands in for the other, count once. Limits: an upper bound: every
// field that a kind of entity can have; XID series count as one an entity (there is one a code seen). Compute instances are never asked.
import { GROUP, catalogField, hasField } from '../bridge/catalog.js';
import type { Entity } from '../bridge/source.js';
import { FLEETS, fleetEntities, steadyCell, type FleetName } from '../bridge/sources/fleets.js';
import { gpuGroups, gpuMetrics, gpuPoints, type GpuPoint } from '../export/gpu-metrics.js';
import { linkParts } from '../bridge/dcgm/layout.js';
import type { Config } from './schema.js';

export const KINDS = { gpu: GROUP.gpu, gpu_instance: GROUP.gpuInstance, nvswitch: GROUP.switch, nvlink: GROUP.link } as const;
export type Kind = keyof typeof KINDS;
export type PerKind = Readonly<Record<Kind, number>>;

/** One metric and how many series each entity of a kind gives. */
export interface EmissionRow {
  readonly metric: string; readonly unit: string; readonly instrument: string; readonly groups: readonly string[]; readonly series: PerKind;
}
export interface FleetRow {
  readonly fleet: string; readonly entities: PerKind;
  /** what a healthy scripted node shows, and the bound by `rows` */
  readonly healthy: number; readonly most: number;
  /** series of a healthy node that budgets and cap leave out, by group */
  readonly dropped: Readonly<Record<string, number>>;
}
export interface Emissions {
  readonly cap: number; readonly rows: readonly EmissionRow[]; readonly totals: PerKind; readonly fleets: readonly FleetRow[];
}

const FIRST_LANE = 1040;
const HEALTHY_SECOND = 3600;
const isLink = ({ attributes }: GpuPoint): boolean => attributes['hw.gpu.nvlink.link'] === '*';

/** A group that has no switch of its own follows the one that its row names; a group that none switches is on. */
export function groupOn(config: Config, name: string): boolean {
  const { metricFieldGroups } = config.receivers.dcgm;
  const toggle = gpuGroups.find((group) => group.name === name)?.toggle ?? '';
  const setting = metricFieldGroups[toggle === 'seed' || toggle === 'own' ? name : toggle];
  return setting !== 'disabled';
}

const idsOf = ({ field, last }: GpuPoint): number[] => Array.from({ length: (last ?? field) - field + 1 }, (_, i) => field + i);

/** A point and those of its fields that are asked for. */
interface Asked { readonly point: GpuPoint; readonly fields: readonly number[] }

function asked(config: Config, listed?: readonly number[]): Asked[] {
  const { metrics, groupsSet } = config.receivers.dcgm;
  const all = gpuPoints.map((point) => ({
    point, fields: idsOf(point).filter((id) => listed?.includes(id) ?? true),
  })).filter(({ fields }) => fields.length > 0);
  return all.filter(({ point: { group, metric } }) => {
    const wanted = groupOn(config, group) || (listed !== undefined && !groupsSet.includes(group));
    return wanted && (metrics.include.length === 0 || metrics.include.includes(metric)) && !metrics.exclude.includes(metric);
  });
}

/** The series of one entity: its owner, metric and attributes. Lanes 1040 and on are transmit and receive of link 0, 1, ... */
function seriesKey(owner: string, port: number, field: number, { metric, attributes }: GpuPoint): string {
  const filled = Object.entries(attributes).map(([key, value]) => {
    if (value !== '*') return `${key}=${value}`;
    if (key === 'hw.gpu.nvlink.link') return `${key}=${port}`;
    return `${key}=${key === 'network.io.direction' ? ['transmit', 'receive'][(field - FIRST_LANE) % 2] : 'held'}`;
  });
  return `${owner} ${metric} ${filled.sort().join(' ')}`;
}

/** Keys of an entity's series with their points: `has` says which fields it has a value for. */
function seriesOf(
  owner: string, portOf: (field: number) => number, points: readonly Asked[], has: (field: number) => boolean,
): Map<string, GpuPoint> {
  const replaced = new Set(points.filter(({ fields }) => fields.some(has)).flatMap(({ point }) => point.instead_of ?? []));
  const out = new Map<string, GpuPoint>();
  for (const { point, fields } of points) {
    if (replaced.has(point.field)) continue;
    for (const field of fields.filter(has)) out.set(seriesKey(owner, portOf(field), field, point), point);
  }
  return out;
}

function boundOf(kind: Kind, points: readonly Asked[]): Map<string, GpuPoint> {
  const group = KINDS[kind];
  const own = points.filter(({ point }) => isLink(point) === (kind === 'nvlink'));
  // a lane of a GPU is a series of its link, whichever of the two is asked
  const has = (field: number): boolean => kind === 'nvlink' || hasField(group, catalogField(field)!);
  return seriesOf('', () => 0, own, has);
}

function healthyNode(fleet: FleetName, points: readonly Asked[]): Map<string, number> {
  const board = FLEETS[fleet];
  const seen = new Map<string, string>();
  for (const entity of fleetEntities(board).filter(({ group }) => group !== GROUP.computeInstance)) {
    for (const [key, { group }] of seriesOfEntity(board, entity, points)) seen.set(key, group);
  }
  const counts = new Map<string, number>();
  for (const group of seen.values()) counts.set(group, (counts.get(group) ?? 0) + 1);
  return counts;
}

function seriesOfEntity(board: (typeof FLEETS)[FleetName], entity: Entity, points: readonly Asked[]): Map<string, GpuPoint> {
  const link = entity.group === GROUP.link ? linkParts(entity.id) : null;
  const owner = link === null ? `${entity.group}:${entity.id}` : `${GROUP.gpu}:${link.owner}`;
  const has = (id: number): boolean => {
    const field = catalogField(id)!;
    return hasField(entity.group, field) && 'value' in steadyCell(board, entity, field, HEALTHY_SECOND);
  };
  return seriesOf(owner, (field) => link?.port ?? ((field - FIRST_LANE) >> 1), points, has);
}

/** What budgets and then the cap leave out: budgets first, then whole tiers from 1 on, as far as the cap needs. */
export function droppedBy(config: Config, counts: ReadonlyMap<string, number>): Record<string, number> {
  const { groupBudgets, maxSeriesPerScrape } = config.receivers.dcgm;
  const left = new Map([...counts].map(([group, count]) => [group, Math.min(count, groupBudgets[group] ?? Infinity)]));
  let over = [...left.values()].reduce((sum, count) => sum + count, 0) - maxSeriesPerScrape;
  for (const { name } of [...gpuGroups].sort((a, b) => a.tier - b.tier)) {
    const gone = Math.min(Math.max(over, 0), left.get(name) ?? 0);
    left.set(name, (left.get(name) ?? 0) - gone);
    over -= gone;
  }
  const gone = [...counts].map(([group, count]) => [group, count - left.get(group)!] as const);
  return Object.fromEntries(gone.filter(([, count]) => count > 0));
}

const KIND_NAMES = Object.keys(KINDS) as Kind[];
const byKindOf = <T>(of: (kind: Kind) => T): Record<Kind, T> =>
  Object.fromEntries(KIND_NAMES.map((kind) => [kind, of(kind)])) as Record<Kind, T>;

/** What a configuration emits. `listed`: the fields that its fields_file names. */
export function emissionsOf(config: Config, listed?: readonly number[]): Emissions {
  const points = asked(config, listed);
  const byKind = byKindOf((kind) => [...boundOf(kind, points).values()]);
  const rows = gpuMetrics.map(({ name, unit, instrument }): EmissionRow => ({
    metric: name, unit, instrument,
    groups: [...new Set(points.filter(({ point }) => point.metric === name).map(({ point }) => point.group))],
    series: byKindOf((kind) => byKind[kind].filter(({ metric }) => metric === name).length),
  })).filter(({ series }) => Object.values(series).some((count) => count > 0));
  const totals = byKindOf((kind) => byKind[kind].length);
  const fleets = (Object.keys(FLEETS) as FleetName[]).map((fleet): FleetRow => {
    const nodes = fleetEntities(FLEETS[fleet]);
    const entities = byKindOf((kind) => nodes.filter(({ group }) => group === KINDS[kind]).length);
    const counts = healthyNode(fleet, points);
    return {
      fleet, entities, healthy: [...counts.values()].reduce((sum, count) => sum + count, 0),
      most: KIND_NAMES.reduce((sum, kind) => sum + entities[kind] * totals[kind], 0), dropped: droppedBy(config, counts),
    };
  });
  return { cap: config.receivers.dcgm.maxSeriesPerScrape, rows, totals, fleets };
}

/** The fields that a configuration watches, ascending. */
export function watchedFields(config: Config, listed?: readonly number[]): number[] {
  return [...new Set(asked(config, listed).flatMap(({ fields }) => fields))].sort((a, b) => a - b);
}

/** Series of a healthy scripted node by group, before budgets and cap. */
export const healthySeries = (config: Config, fleet: FleetName): ReadonlyMap<string, number> => healthyNode(fleet, asked(config));
