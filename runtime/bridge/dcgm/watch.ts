// SPDX-License-Identifier: Apache-2.0
// Owns: one watch of the guest at the engine: which cells it has, how they are watched, and how they are read.
// Invariant: a field is asked only of entities that have a value of their own (catalog.ts); entities with the same fields are read
// in one call, into one buffer that is reused; replies are matched by (group, id, field), never by their order; a cell without a
// reply says no data. Limits: engine_fields_max fields and engine_values_max values a call; more are read in several calls.
import { GROUP, catalogField, hasField, isProfiling, type CatalogField } from '../catalog.js';
import { limit, valueType } from '../protocol.js';
import { SourceError, type EntityRef, type Sample, type WatchRequest } from '../source.js';
import { blankOf, doubleBlank, int64Blank } from './blanks.js';
import { Refused, type Engine } from './engine.js';
import { ENTITY_PAIR, FIELD_VALUE_V2, GROUP_TYPE_EMPTY, SAMPLES_KEPT } from './layout.js';
import {
  DCGM_BAD_PARAMETER, DCGM_DUPLICATE_KEY, DCGM_NO_DATA, DCGM_OTHER_KIND, DCGM_UNKNOWN_FIELD, isGone, returnOf,
} from './returns.js';

/** Entities that share their fields. `refused` holds the fields that the engine would not watch, with its code. */
interface Class { readonly entities: EntityRef[]; readonly fields: CatalogField[]; readonly refused: Map<number, number> }

/** One buffer for every read of this process: a read is decoded before the next begins. */
let values = Buffer.alloc(0);
let named = 0;

/** Something at the engine that ends with the watch. */
interface Made { readonly group: bigint; readonly fieldGroup: bigint }

export class Watch {
  private readonly classes: Class[] = [];
  private readonly made: Made[] = [];
  /** Values in replies that no cell had asked for. */
  strays = 0;

  private constructor(private readonly engine: Engine, private readonly request: WatchRequest) {}

  /** Sets a watch of `entities` up. Throws SourceError; what is left at the engine then ends with the session. */
  static async create(engine: Engine, request: WatchRequest, entities: readonly EntityRef[]): Promise<Watch> {
    const watch = new Watch(engine, request);
    const fields = request.fieldIds.map((id) => {
      const field = catalogField(id);
      if (field === undefined) throw new SourceError('field_not_supported', `field ${id}`);
      return field;
    });
    for (const entity of entities) watch.place(entity, fields.filter((field) => hasField(entity.group, field)));
    for (const each of watch.classes) {
      await watch.optional(each, each.fields.map(({ id }) => id), () => watch.register(each));
    }
    if (watch.made.length > 0) await engine.call('dcgmUpdateAllFields', 0);
    return watch;
  }

  /**
   * Runs what may be refused without harm: NVSwitches and links need a module that an engine may lack, so their cells carry the
   * engine's code and the other entities flow. Refusals of GPUs and instances go to the guest.
   */
  private async optional(each: Class, fieldIds: readonly number[], step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      if (!(error instanceof Refused) || !isOptional(each)) throw error;
      for (const id of fieldIds) each.refused.set(id, error.code);
    }
  }

  private place(entity: EntityRef, fields: CatalogField[]): void {
    if (fields.length === 0) return;
    const same = this.classes.find((each) => each.fields.length === fields.length && each.fields.every((field, i) => field === fields[i]));
    if (same !== undefined) same.entities.push(entity);
    else this.classes.push({ entities: [entity], fields, refused: new Map() });
  }

  private async register(each: Class): Promise<void> {
    const { engine } = this;
    for (const { id } of each.fields) if (!engine.knowsField(id)) each.refused.set(id, DCGM_UNKNOWN_FIELD);
    const known = each.fields.filter(({ id }) => !each.refused.has(id)).map(({ id }) => id);
    for (const part of chunks(known.filter((id) => !isProfiling(id)), limit('engine_fields_max'))) await this.watchPart(each, part);
    const profiling = known.filter(isProfiling);
    if (profiling.length === 0) return;
    try {
      await this.watchPart(each, profiling);
    } catch (error) {
      // Another tool holds the profiler, or this GPU has none: these cells say so, the others flow.
      if (!(error instanceof Refused) || error.status !== 'field_not_supported') throw error;
      for (const id of profiling) each.refused.set(id, error.code);
    }
  }

  private async watchPart(each: Class, fieldIds: readonly number[]): Promise<void> {
    const group = await this.named('dcgmGroupCreate', (name, out) => [GROUP_TYPE_EMPTY, name, out]);
    for (const { group: kind, id } of each.entities) {
      const code = await this.engine.call('dcgmGroupAddEntity', group, kind, id);
      if (code === DCGM_BAD_PARAMETER) throw new Refused('entity_not_found', `entity ${kind}:${id}`, code);
      if (code !== 0) throw this.engine.refusal('dcgmGroupAddEntity', code);
    }
    const usable = await this.known(each, fieldIds);
    if (usable.length === 0) return;
    const fieldGroup = await this.fieldGroup(usable);
    this.made.push({ group, fieldGroup });
    const code = await this.engine.call('dcgmWatchFields', group, fieldGroup, this.request.updateUs, this.request.keepS, SAMPLES_KEPT);
    if (code !== 0) throw this.engine.refusal('dcgmWatchFields', code);
  }

  /** Those of the fields that the engine knows: an older engine refuses a whole group for one new field. */
  private async known(each: Class, fieldIds: readonly number[]): Promise<number[]> {
    const code = await this.tryFieldGroup(fieldIds);
    if (code === 0) return [...fieldIds];
    const known: number[] = [];
    for (const id of fieldIds) {
      const one = await this.tryFieldGroup([id]);
      if (one === 0) known.push(id);
      else if (one === DCGM_BAD_PARAMETER || returnOf(one).status === 'field_not_supported') each.refused.set(id, DCGM_UNKNOWN_FIELD);
      else throw this.engine.refusal('dcgmFieldGroupCreate', one);
    }
    return known;
  }

  private async tryFieldGroup(fieldIds: readonly number[]): Promise<number> {
    const out = Buffer.alloc(8);
    const code = await this.engine.call('dcgmFieldGroupCreate', fieldIds.length, u16s(fieldIds), nextName(), out);
    if (code === 0) await this.engine.must('dcgmFieldGroupDestroy', out.readBigUInt64LE(0));
    return code;
  }

  private fieldGroup(fieldIds: readonly number[]): Promise<bigint> {
    return this.named('dcgmFieldGroupCreate', (name, out) => [fieldIds.length, u16s(fieldIds), name, out]);
  }

  /** Creates something that needs a name nobody has: a name that is taken is replaced, engine_names_max times. */
  private async named(what: 'dcgmGroupCreate' | 'dcgmFieldGroupCreate', args: (name: string, out: Buffer) => unknown[]): Promise<bigint> {
    const out = Buffer.alloc(8);
    let code = 0;
    for (let attempt = 0; attempt < limit('engine_names_max'); attempt++) {
      code = await this.engine.call(what, ...args(nextName(), out));
      if (code === 0) return out.readBigUInt64LE(0);
      if (code !== DCGM_DUPLICATE_KEY) break;
    }
    throw this.engine.refusal(what, code);
  }

  /** Takes the watch back at an engine that goes on; failures are the engine's to clean up at the session's end. */
  async drop(): Promise<void> {
    for (const { group, fieldGroup } of this.made.splice(0)) {
      await this.engine.call('dcgmFieldGroupDestroy', fieldGroup);
      await this.engine.call('dcgmGroupDestroy', group);
    }
  }

  /** The newest sample of every cell, in the order entity, field. Throws `entity_not_found` when an instance has gone. */
  async read(): Promise<Sample[]> {
    const out: Sample[] = [];
    for (const each of this.classes) {
      const perCall = Math.max(1, Math.floor(limit('engine_values_max') / Math.min(each.fields.length, limit('engine_fields_max'))));
      for (const entities of chunks(each.entities, perCall)) out.push(...(await this.readPart(each, entities)));
    }
    return out;
  }

  private async readPart(each: Class, entities: readonly EntityRef[]): Promise<Sample[]> {
    const cells = new Map<number, Sample>();
    const place = new Map(entities.map(({ group, id }, i) => [group * 2 ** 32 + id, i]));
    const column = new Map(each.fields.map(({ id }, i) => [id, i]));
    const asked = each.fields.map(({ id }) => id).filter((id) => !each.refused.has(id));
    const pairs = Buffer.alloc(entities.length * ENTITY_PAIR.bytes);
    entities.forEach(({ group, id }, i) => {
      pairs.writeUInt32LE(group, i * ENTITY_PAIR.bytes + ENTITY_PAIR.at.group);
      pairs.writeUInt32LE(id, i * ENTITY_PAIR.bytes + ENTITY_PAIR.at.id);
    });
    let failed = DCGM_NO_DATA;
    for (const fieldIds of chunks(asked, limit('engine_fields_max'))) {
      const count = entities.length * fieldIds.length;
      const buffer = room(count);
      const ids = u16s(fieldIds);
      const code = await this.engine.call('dcgmEntitiesGetLatestValues', pairs, entities.length, ids, fieldIds.length, 0, buffer);
      if (code !== 0) {
        if (!isOptional(each)) throw this.engine.refusal('dcgmEntitiesGetLatestValues', code);
        failed = code;
        continue;
      }
      for (let i = 0; i < count; i++) {
        const sample = sampleAt(buffer, i * FIELD_VALUE_V2.bytes);
        if (sample === null) continue;
        const row = place.get(sample.group * 2 ** 32 + sample.entityId);
        const col = column.get(sample.fieldId);
        if (row === undefined || col === undefined) { this.strays += 1; continue; }
        if (sample.group !== GROUP.gpu && isGone(sample.status)) {
          throw new SourceError('entity_not_found', `entity ${sample.group}:${sample.entityId}`);
        }
        cells.set(row * each.fields.length + col, sample);
      }
    }
    return entities.flatMap(({ group, id }, row) => each.fields.map((field, col) =>
      cells.get(row * each.fields.length + col) ?? missing(group, id, field, each.refused.get(field.id) ?? failed)));
  }
}

/** NVSwitches and links alone. */
const isOptional = (each: Class): boolean => each.entities.every(({ group }) => group === GROUP.switch || group === GROUP.link);

const missing = (group: number, entityId: number, field: CatalogField, status: number): Sample =>
  ({ group, entityId, fieldId: field.id, type: valueType(field.type), status, tsUs: 0n, value: blankOf(field.type) });

/** A value record; null when the engine did not fill it. */
function sampleAt(from: Buffer, base: number): Sample | null {
  const { at } = FIELD_VALUE_V2;
  const fieldId = from.readUInt16LE(base + at.fieldId);
  const field = catalogField(fieldId);
  if (fieldId === 0 || field === undefined) return null;
  const [group, entityId] = [from.readUInt32LE(base + at.group), from.readUInt32LE(base + at.id)];
  const status = from.readInt32LE(base + at.status);
  const type = from.readUInt16LE(base + at.type);
  const tsUs = from.readBigInt64LE(base + at.tsUs);
  if (status !== 0) return { ...missing(group, entityId, field, status), tsUs };
  if (type !== valueType(field.type)) return { ...missing(group, entityId, field, DCGM_OTHER_KIND), tsUs };
  const value = field.type === 'double' ? from.readDoubleLE(base + at.value) : from.readBigInt64LE(base + at.value);
  const blank = typeof value === 'bigint' ? int64Blank(value) : doubleBlank(value);
  if (blank !== 0 || tsUs <= 0n) return { ...missing(group, entityId, field, blank || DCGM_NO_DATA), tsUs };
  return { group, entityId, fieldId, type, status: 0, tsUs, value };
}

/** The shared buffer, grown if need be, with every record marked as not filled. */
function room(count: number): Buffer {
  const bytes = count * FIELD_VALUE_V2.bytes;
  if (values.length < bytes) values = Buffer.alloc(bytes);
  for (let i = 0; i < count; i++) values.writeUInt16LE(0, i * FIELD_VALUE_V2.bytes + FIELD_VALUE_V2.at.fieldId);
  return values;
}

const nextName = (): string => `vigil-${process.pid}-${++named}`;

function u16s(list: readonly number[]): Buffer {
  const out = Buffer.alloc(list.length * 2);
  list.forEach((value, i) => out.writeUInt16LE(value, i * 2));
  return out;
}

function chunks<T>(list: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size));
}
