// SPDX-License-Identifier: Apache-2.0
// Owns: a scripted node as a source: a fleet (fleets.ts) in which a scenario (scenarios.ts) happens. Labelled `replay`, as it is.
// Invariant: what it shows depends on fleet, scenario and the seconds since the first connect alone. Limits: as fleets and scenarios.
import type { CatalogField } from '../catalog.js';
import { blankOf } from '../dcgm/blanks.js';
import { valueType } from '../protocol.js';
import type { Entity, EntityRef, Sample } from '../source.js';
import { FLEETS, fleetEntities, steadyCell, type Board, type FleetName } from './fleets.js';
import { ONSET_S, SCENARIOS, ofGpu, type Scenario, type ScenarioName } from './scenarios.js';
import { TimelineSource, type MonotonicMs } from './timeline.js';

/** Before its first second a node has run for this long: counters do not begin at 0. */
const UPTIME_S = 3600;

export class ScriptedSource extends TimelineSource {
  private readonly board: Board;
  private readonly scenario: Scenario;
  private readonly lists = new Map<string, readonly Entity[]>();

  /** Throws Error when there is no such fleet or scenario, or this node cannot have it. */
  constructor(readonly fleet: string, readonly script: string = 'steady', nowMs?: MonotonicMs) {
    super(nowMs);
    const choose = <T>(what: string, name: string, from: Readonly<Record<string, T>>): T => {
      if (!Object.hasOwn(from, name)) throw new Error(`${what} "${name}" is not one of ${Object.keys(from).join(', ')}`);
      return from[name]!;
    };
    this.board = choose<Board>('fleet', fleet, FLEETS);
    this.scenario = choose<Scenario>('scenario', script, SCENARIOS);
    const why = this.scenario.refuses?.(this.board) ?? null;
    if (why !== null) throw new Error(`scenario "${script}" on "${fleet}": ${why}`);
  }

  version(): string { return `source:replay;dcgm:scripted;fleet:${this.fleet};scenario:${this.script};`; }

  protected entitiesAt(elapsedMs: number): readonly Entity[] {
    const since = sinceOnset(elapsedMs);
    const missing = since === null ? null : (this.scenario.missingGpu?.(this.board, since) ?? null);
    const slices = since === null ? 1 : (this.scenario.slicesOfGpu0?.(since) ?? 1);
    const key = `${missing}/${slices}`;
    let list = this.lists.get(key);
    if (list === undefined) {
      list = fleetEntities(this.board, slices).filter((entity) => missing === null || !ofGpu(entity, missing));
      this.lists.set(key, list);
    }
    return list;
  }

  protected override down(elapsedMs: number): boolean {
    const since = sinceOnset(elapsedMs);
    return since !== null && (this.scenario.down?.(since) ?? false);
  }

  protected cell(entity: EntityRef, field: CatalogField, elapsedMs: number, nowUs: bigint): Sample {
    const second = elapsedMs / 1000;
    const healthy = steadyCell(this.board, entity, field, UPTIME_S + second);
    const since = sinceOnset(elapsedMs);
    const changed = since === null ? undefined : this.scenario.cell?.(this.board, entity, field, since, healthy);
    const cell = changed ?? healthy;
    const place = { group: entity.group, entityId: entity.id, fieldId: field.id, type: valueType(field.type) };
    if (!('value' in cell)) return { ...place, status: cell.status, tsUs: nowUs, value: blankOf(field.type) };
    const ageS = since === null || changed?.atS === undefined ? 0 : since - changed.atS;
    const value = field.type === 'double' ? cell.value : BigInt(Math.floor(cell.value));
    return { ...place, status: 0, tsUs: nowUs - BigInt(Math.floor(ageS * 1e6)), value };
  }
}

const sinceOnset = (elapsedMs: number): number | null => (elapsedMs < ONSET_S * 1000 ? null : elapsedMs / 1000 - ONSET_S);

/** Every fleet with every scenario that it can have. */
export function everyScript(): { fleet: FleetName; scenario: ScenarioName }[] {
  const fits = (fleet: FleetName, scenario: ScenarioName): boolean =>
    ((SCENARIOS[scenario] as Scenario).refuses?.(FLEETS[fleet]) ?? null) === null;
  return (Object.keys(FLEETS) as FleetName[]).flatMap((fleet) => (Object.keys(SCENARIOS) as ScenarioName[])
    .filter((scenario) => fits(fleet, scenario)).map((scenario) => ({ fleet, scenario })));
}
