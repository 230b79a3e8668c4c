// SPDX-License-Identifier: Apache-2.0
// The cardinality arithmetic of the reference fleets, from abi/gpu-metrics.toml and abi/gpu-fields.toml and what each board has
// (runtime/bridge/sources/fleets.ts): how many series a scrape has, by group. Docs quote these numbers; tests/gpu/cardinality.test.ts holds
// the guest to them.
// Invariant: a series is (resource, metric, attributes); a field that stands in for another adds none. A code (XID, SXid) counts as one
// series each entity, though a healthy node has none: `steady` is without them. dcgmd takes no samples of compute instances (mig_ci).
import { catalogField, hasField, GROUP } from '../../runtime/bridge/catalog.js';
import { linkParts } from '../../runtime/bridge/dcgm/layout.js';
import type { Entity } from '../../runtime/bridge/source.js';
import { FLEETS, fleetEntities, steadyCell, type Board, type FleetName } from '../../runtime/bridge/sources/fleets.js';
import { gpuGroups, gpuPoints, type GpuPoint } from '../../runtime/export/gpu-metrics.js';

export type GroupChoice = 'default' | 'all';
export interface Cardinality {
  readonly fleet: FleetName; readonly groups: GroupChoice; readonly byGroup: Readonly<Record<string, number>>;
  /** with a series for each entity's codes, and without */
  readonly total: number; readonly steady: number;
}

const NO_DATA = -14;
const DEFAULT_CAP = 1024;

/** Groups that are on. `auto` is on where the node has a switch. */
function groupsOn(choice: GroupChoice, switches: boolean): ReadonlySet<string> {
  const on = (name: string): boolean => {
    const row = gpuGroups.find((group) => group.name === name)!;
    if (row.toggle === '') return true;
    if (row.toggle !== 'seed' && row.toggle !== 'own') return on(row.toggle);
    return row.default === 'auto' ? switches : choice === 'all' || row.default === 'enabled';
  };
  return new Set(gpuGroups.map(({ name }) => name).filter(on));
}

/** What tells two points of a resource apart. */
function attributesOf(row: GpuPoint, id: number, entity: Entity): string {
  const lane = row.last === undefined ? null : id - row.field;
  return Object.entries(row.attributes).map(([key, value]) => {
    if (value !== '*') return `${key}=${value}`;
    if (key === 'network.io.direction') return `${key}=${lane! % 2 === 0 ? 'transmit' : 'receive'}`;
    if (key === 'hw.gpu.nvlink.link') return `${key}=${lane === null ? linkParts(entity.id).port : lane >> 1}`;
    return `${key}=*`;
  }).join(',');
}

/** Series of a board's node. */
export function cardinality(fleet: FleetName, groups: GroupChoice): Cardinality {
  const board: Board = FLEETS[fleet];
  const entities = fleetEntities(board).filter(({ group }) => group !== GROUP.computeInstance);
  const on = groupsOn(groups, board.switches > 0);
  const seen = new Set<string>();
  const codes = new Set<string>();
  const byGroup: Record<string, number> = {};
  for (const entity of entities) {
    const owner = entity.group === GROUP.link ? `${entity.parent!.group}:${entity.parent!.id}` : `${entity.group}:${entity.id}`;
    const has = (id: number): boolean => hasField(entity.group, catalogField(id)!) && 'value' in steadyCell(board, entity, catalogField(id)!, 3600);
    const standsIn = (row: GpuPoint): boolean => on.has(row.group) && has(row.field);
    for (const row of gpuPoints) for (let id = row.field; id <= (row.last ?? row.field); id++) {
      const field = catalogField(id)!;
      if (!on.has(row.group) || !hasField(entity.group, field)) continue;
      if (row.last === undefined && gpuPoints.some((other) => other.instead_of?.includes(id) === true && standsIn(other))) continue;
      const cell = steadyCell(board, entity, field, 3600);
      const code = field.kind === 'last' && 'status' in cell && cell.status === NO_DATA;
      if (!('value' in cell) && !code) continue;
      const series = `${owner} ${row.metric} ${attributesOf(row, id, entity)}`;
      if (seen.has(series)) continue;
      seen.add(series);
      if (code) codes.add(series);
      byGroup[row.group] = (byGroup[row.group] ?? 0) + 1;
    }
  }
  return { fleet, groups, byGroup, total: seen.size, steady: seen.size - codes.size };
}

/** Every fleet with the default groups and with all of them. */
export const cardinalities = (): Cardinality[] =>
  (Object.keys(FLEETS) as FleetName[]).flatMap((fleet) => [cardinality(fleet, 'default'), cardinality(fleet, 'all')]);

/** Whether the default cap holds it. */
export const fitsDefaultCap = ({ total }: Cardinality): boolean => total <= DEFAULT_CAP;
