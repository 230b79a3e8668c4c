// SPDX-License-Identifier: Apache-2.0
// Owns: replay of a recorded capture (docs/format/bridge.md, "capture file") as a source.
// Invariant: hands out exactly the recorded values; only times are rebased: the capture's instant becomes "now".
// A watched cell that the capture lacks answers status -14 (no data) with the blank of its type, as an engine would.
// Limits: entities, fields and watches as in abi/bridge.toml.
import { readFileSync } from 'node:fs';
import { fields, limit, valueType } from '../protocol.js';
import { SourceError, type Entity, type Sample, type Source, type WatchRequest } from '../source.js';

/** A capture file: entities, and values by raw field id. `value` is a decimal string (exact for 64-bit integers). */
export interface Capture {
  readonly schema: 'vigil-gpu-capture-1'; readonly provenance: string; readonly capturedUs: string; readonly dcgmVersion: string;
  readonly entities: readonly Entity[];
  readonly samples: readonly {
    readonly group: number; readonly entityId: number; readonly fieldId: number; readonly type: 'int64' | 'double';
    readonly status: number; readonly tsUs: string; readonly value: string;
  }[];
}

const NO_DATA = -14;
const NOT_FOUND_BLANK_INT64 = 0x7ffffffffffffff1n;
const NOT_FOUND_BLANK_DOUBLE = 2 ** 47 + 1;

/** Reads and checks a capture file. Throws Error with the field at fault. */
export function loadCapture(path: string): Capture {
  const capture = JSON.parse(readFileSync(path, 'utf8')) as Capture;
  if (capture.schema !== 'vigil-gpu-capture-1') throw new Error(`${path}: schema is not vigil-gpu-capture-1`);
  if (capture.entities.length === 0) throw new Error(`${path}: no entities`);
  if (capture.entities.length > limit('entities_max')) throw new Error(`${path}: more than ${limit('entities_max')} entities`);
  const textMax = limit('text_bytes_max');
  for (const entity of capture.entities) {
    for (const text of [entity.uuid, entity.model, entity.bdf, entity.driver]) {
      if (!/^[\x20-\x7e]*$/.test(text) || text.length > textMax) throw new Error(`${path}: entity ${entity.id}: bad text`);
    }
  }
  for (const sample of capture.samples) {
    if (sample.type !== 'int64' && sample.type !== 'double') throw new Error(`${path}: sample type ${String(sample.type)}`);
  }
  return capture;
}

/** Replays one capture for as long as it is asked. */
export class ReplaySource implements Source {
  readonly label = 'replay';
  private connected = false;
  private watches = new Map<number, WatchRequest>();
  private nextWatch = 1;
  private readonly cells = new Map<string, Capture['samples'][number]>();

  constructor(private readonly capture: Capture) {
    for (const sample of capture.samples) this.cells.set(key(sample.group, sample.entityId, sample.fieldId), sample);
  }

  connect(): void {
    if (this.connected) throw new SourceError('already_connected', 'one session at a time');
    this.connected = true;
  }

  startEmbedded(): void {
    throw new SourceError('unsupported', 'a replay has no engine to start');
  }

  enumerate(): readonly Entity[] {
    this.needSession();
    return this.capture.entities;
  }

  watch(request: WatchRequest): number {
    this.needSession();
    if (this.watches.size >= limit('watches_max')) throw new SourceError('over_limit', 'too many watches');
    if (request.fieldIds.length === 0) throw new SourceError('bad_request', 'a watch names at least one field');
    for (const fieldId of request.fieldIds) {
      if (fieldRow(fieldId) === undefined) throw new SourceError('field_not_supported', `field ${fieldId}`);
    }
    for (const { group, id } of request.entities) {
      if (!this.capture.entities.some((entity) => entity.group === group && entity.id === id)) {
        throw new SourceError('entity_not_found', `entity ${group}:${id}`);
      }
    }
    const id = this.nextWatch++;
    this.watches.set(id, request);
    return id;
  }

  latestValues(watchId: number, wallNs: bigint): readonly Sample[] {
    this.needSession();
    const watch = this.watches.get(watchId);
    if (watch === undefined) throw new SourceError('bad_request', `watch ${watchId} is not known`);
    const shiftUs = wallNs / 1000n - BigInt(this.capture.capturedUs);
    const entities = watch.entities.length > 0 ? watch.entities : this.capture.entities;
    return entities.flatMap(({ group, id }) => watch.fieldIds.map((fieldId) => this.cell(group, id, fieldId, shiftUs)));
  }

  version(): string {
    return `source:replay;dcgm:${this.capture.dcgmVersion};schema:${this.capture.schema};`;
  }

  close(): void {
    this.connected = false;
    this.watches.clear();
  }

  private cell(group: number, entityId: number, fieldId: number, shiftUs: bigint): Sample {
    const type = valueType(fieldRow(fieldId)!.type);
    const recorded = this.cells.get(key(group, entityId, fieldId));
    if (recorded === undefined) {
      const value = type === valueType('double') ? NOT_FOUND_BLANK_DOUBLE : NOT_FOUND_BLANK_INT64;
      return { group, entityId, fieldId, type, status: NO_DATA, tsUs: 0n, value };
    }
    const value = recorded.type === 'double' ? Number(recorded.value) : BigInt(recorded.value);
    return { group, entityId, fieldId, type: valueType(recorded.type), status: recorded.status,
      tsUs: BigInt(recorded.tsUs) + shiftUs, value };
  }

  private needSession(): void {
    if (!this.connected) throw new SourceError('not_connected', 'connect first');
  }
}

const key = (group: number, entityId: number, fieldId: number): string => `${group}:${entityId}:${fieldId}`;
const fieldRow = (id: number) => fields.find((field) => field.id === id);
