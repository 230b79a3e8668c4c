// SPDX-License-Identifier: Apache-2.0
// Entities and samples for the tests of lib/gpu, as the bridge would send them. Invariant: identities are plainly invented.
import { catalogField, GROUP } from '../../runtime/bridge/catalog.js';
import { linkEntity } from '../../runtime/bridge/dcgm/enumerate.js';
import { linkId } from '../../runtime/bridge/dcgm/layout.js';
import { valueType } from '../../runtime/bridge/protocol.js';
import type { Entity, EntityRef, Sample } from '../../runtime/bridge/source.js';
import { ScriptedSource } from '../../runtime/bridge/sources/scripted.js';
import { NOW_US, newGuest, type Guest, type Tally } from './guest.js';

export const gpu = (id: number, more: Partial<Entity> = {}): Entity => ({
  group: GROUP.gpu, id, uuid: `GPU-0000-${id}`, model: 'Test GPU', bdf: `00000000:0${id % 10}:00.0`, driver: '1.2.3', ...more,
});
export const gpus = (count: number): Entity[] => Array.from({ length: count }, (_, id) => gpu(id));
export const nvswitch = (id: number): Entity => ({ group: GROUP.switch, id, uuid: `nvswitch-${id}`, model: 'NVSwitch', bdf: '', driver: '1.2.3' });
export const gi = (id: number, of: number, number: number): Entity => ({
  ...gpu(of), group: GROUP.gpuInstance, id, uuid: `${gpu(of).uuid}/gi${number}`, parent: { group: GROUP.gpu, id: of },
});
export const ci = (id: number, of: Entity, number: number): Entity => ({
  ...of, group: GROUP.computeInstance, id, uuid: `${of.uuid}/ci${number}`, parent: { group: GROUP.gpuInstance, id: of.id },
});
export const link = (port: number, of: Entity): Entity => linkEntity(linkId(of.group, port, of.id), [of]);

/** A sample with a value, a second old. */
export function sample({ group, id }: EntityRef, fieldId: number, value: number | bigint, more: Partial<Sample> = {}): Sample {
  const type = catalogField(fieldId)!.type;
  return { group, entityId: id, fieldId, type: valueType(type), status: 0, tsUs: NOW_US - 1_000_000n,
    value: type === 'int64' ? BigInt(value) : value, ...more };
}

/** A guest with every group on that knows these entities. */
export function guestOf(entities: readonly Entity[]): Guest {
  const guest = newGuest().allGroups();
  guest.seriesMax(4096);
  guest.enumerate(entities);
  return guest;
}

/** A scripted node that a guest scrapes. */
export class Node {
  private ms = 0;
  readonly source: ScriptedSource;
  private watch = 0;
  constructor(readonly guest: Guest, fleet: string, scenario = 'steady') {
    this.source = new ScriptedSource(fleet, scenario, () => this.ms);
    this.source.connect();
    this.enumerate();
  }
  enumerate(): void {
    this.guest.enumerate(this.source.enumerate());
    const entities = this.source.enumerate().filter(({ group }) => group !== GROUP.computeInstance); // as dcgmd, which takes none of theirs
    this.watch = this.source.watch({ updateUs: 1n, keepS: 30, fieldIds: this.guest.watchList(), entities });
  }
  /** The scrape at a second. */
  at(second: number): Tally {
    this.ms = second * 1000;
    const wallUs = NOW_US + BigInt(Math.round(this.ms * 1000));
    return this.guest.scrape(this.source.latestValues(this.watch, wallUs * 1000n), wallUs);
  }
}
