// SPDX-License-Identifier: Apache-2.0
// Owns: which entities an engine has: GPUs, GPU instances, compute instances, NVSwitches, links, each with its parent and its texts.
// Invariant: a listing is whole or refused (over_limit names what was too many); attributes are asked once a GPU, and again when the
// set of GPUs has changed (a question takes 7 ms). Limits: engine_gpus_max, engine_switches_max, engine_hierarchy_max, entities_max.
import { GROUP } from '../catalog.js';
import { limit } from '../protocol.js';
import { SourceError, type Entity } from '../source.js';
import { cleanIdentity, cleanText } from '../text.js';
import type { Engine } from './engine.js';
import {
  ATTRIBUTES_V3, ATTRIBUTE_TEXT_BYTES, HIERARCHY_ENTRY, HIERARCHY_UUID_BYTES, HIERARCHY_V2, linkParts, structure, textAt,
} from './layout.js';

type Texts = Pick<Entity, 'uuid' | 'model' | 'bdf' | 'driver'>;

/** Lists the entities of the engine it is given; keeps the attributes of GPUs. */
export class Enumerator {
  private attributes = new Map<number, Texts>();
  private gpuIds = '';

  constructor(private readonly engine: Engine) {}

  /** Forgets what belongs to a session that ended. */
  forget(): void {
    this.attributes.clear();
    this.gpuIds = '';
  }

  /** Every entity, by group and id. Throws SourceError. */
  async list(): Promise<Entity[]> {
    const gpuIds = await this.idsOf(GROUP.gpu, limit('engine_gpus_max'), 'GPUs');
    if (gpuIds.join() !== this.gpuIds) this.attributes.clear();
    this.gpuIds = gpuIds.join();
    const gpus: Entity[] = [];
    for (const id of gpuIds) gpus.push({ group: GROUP.gpu, id, ...(await this.textsOf(id)) });
    const instances = await this.instances(gpus);
    const switches = (await this.idsOf(GROUP.switch, limit('engine_switches_max'), 'switches')).map((id): Entity => ({
      group: GROUP.switch, id, uuid: `nvswitch-${id}`, model: 'NVSwitch', bdf: '', driver: gpus[0]?.driver ?? '',
    }));
    const links = (await this.idsOf(GROUP.link, limit('entities_max'), 'links')).map((id) => linkEntity(id, [...gpus, ...switches]));
    const all = [...gpus, ...instances, ...switches, ...links];
    if (all.length > limit('entities_max')) throw new SourceError('over_limit', `${all.length} entities, at most ${limit('entities_max')}`);
    return all;
  }

  /** Ids of one group, ascending. Only the GPUs must be there: an engine without a module has none of the others. */
  private async idsOf(group: number, max: number, what: string): Promise<number[]> {
    const ids = Buffer.alloc(max * 4);
    const count = Buffer.alloc(4);
    count.writeInt32LE(max, 0);
    const code = await this.engine.call('dcgmGetEntityGroupEntities', group, ids, count, 0);
    if (code === -31) throw new SourceError('over_limit', `more than ${max} ${what}`);
    if (code !== 0) {
      if (group === GROUP.gpu) throw this.engine.refusal('dcgmGetEntityGroupEntities', code);
      return [];
    }
    const found = count.readInt32LE(0);
    if (found < 0 || found > max) throw new SourceError('over_limit', `${found} ${what}, at most ${max}`);
    return Array.from({ length: found }, (_, i) => ids.readUInt32LE(i * 4)).sort((a, b) => a - b);
  }

  private async textsOf(gpuId: number): Promise<Texts> {
    const known = this.attributes.get(gpuId);
    if (known !== undefined) return known;
    const raw = structure(ATTRIBUTES_V3);
    const code = await this.engine.call('dcgmGetDeviceAttributes', gpuId, raw);
    const { at } = ATTRIBUTES_V3;
    const text = (offset: number): string => (code === 0 ? textAt(raw, offset, ATTRIBUTE_TEXT_BYTES) : '');
    const texts = {
      uuid: cleanIdentity(text(at.uuid), `gpu-${gpuId}`), model: cleanText(text(at.name)), bdf: cleanText(text(at.busId)),
      driver: cleanText(text(at.driver)),
    };
    if (code === 0) this.attributes.set(gpuId, texts);
    return texts;
  }

  /** GPU and compute instances; none where MIG or NVML is missing. */
  private async instances(gpus: readonly Entity[]): Promise<Entity[]> {
    const raw = structure(HIERARCHY_V2);
    if ((await this.engine.call('dcgmGetGpuInstanceHierarchy', raw)) !== 0) return [];
    const count = raw.readUInt32LE(HIERARCHY_V2.at.count);
    if (count > limit('engine_hierarchy_max')) throw new SourceError('over_limit', `${count} MIG instances`);
    const entries = Array.from({ length: count }, (_, i) => entryAt(raw, HIERARCHY_V2.at.list + i * HIERARCHY_ENTRY.bytes));
    const gpuOf = (entry: Entry): Entity | undefined => {
      if (entry.parent.group === GROUP.gpu) return gpus.find(({ id }) => id === entry.parent.id);
      const owner = entries.find(({ group, id }) => group === entry.parent.group && id === entry.parent.id);
      return owner === undefined || owner === entry || owner.parent.group !== GROUP.gpu ? undefined : gpuOf(owner);
    };
    return entries
      .filter(({ group }) => group === GROUP.gpuInstance || group === GROUP.computeInstance)
      .sort((a, b) => a.group - b.group || a.id - b.id)
      .map((entry): Entity => {
        const gpu = gpuOf(entry);
        const uuid = cleanIdentity(`${entry.gpuUuid || gpu?.uuid || `gpu-${entry.gpuIndex}`}/gi${entry.instanceId}` +
          (entry.group === GROUP.computeInstance ? `/ci${entry.computeInstanceId}` : ''), `instance-${entry.group}-${entry.id}`);
        return { group: entry.group, id: entry.id, uuid, model: cleanText(`${gpu?.model ?? 'MIG'} MIG ${entry.slices}g`),
          bdf: gpu?.bdf ?? '', driver: gpu?.driver ?? '', parent: entry.parent };
      });
  }
}

interface Entry {
  group: number; id: number; parent: { group: number; id: number }; gpuUuid: string; gpuIndex: number; instanceId: number;
  computeInstanceId: number; slices: number;
}

function entryAt(raw: Buffer, base: number): Entry {
  const { at } = HIERARCHY_ENTRY;
  return {
    group: raw.readUInt32LE(base + at.group), id: raw.readUInt32LE(base + at.id),
    parent: { group: raw.readUInt32LE(base + at.parentGroup), id: raw.readUInt32LE(base + at.parentId) },
    gpuUuid: cleanText(textAt(raw, base + at.gpuUuid, HIERARCHY_UUID_BYTES)), gpuIndex: raw.readUInt32LE(base + at.gpuIndex),
    instanceId: raw.readUInt32LE(base + at.instanceId), computeInstanceId: raw.readUInt32LE(base + at.computeInstanceId),
    slices: raw.readUInt32LE(base + at.slices),
  };
}

/** A link's entity: its id names its owner and its port. */
export function linkEntity(id: number, owners: readonly Entity[]): Entity {
  const { group, port, owner } = linkParts(id);
  const parent = owners.find((entity) => entity.group === group && entity.id === owner);
  return { group: GROUP.link, id, uuid: cleanIdentity(`${parent?.uuid ?? `owner-${group}-${owner}`}/link${port}`, `link-${id}`),
    model: 'NVLink', bdf: parent?.bdf ?? '', driver: parent?.driver ?? '', parent: { group, id: owner } };
}
