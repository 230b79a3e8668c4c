// SPDX-License-Identifier: Apache-2.0
// Owns: replay of a recorded capture (docs/format/bridge.md, "capture file") as a source.
// Invariant: hands out exactly the recorded values; only times are rebased: the frame's instant becomes "now".
// A watched cell that the capture lacks answers status -14 (no data) with the blank of its type, as an engine would.
// Limits: entities as in abi/bridge.toml, capture_frames_max frames; a capture of several frames repeats from its first.
import { readFileSync } from 'node:fs';
import { catalogField, type CatalogField } from '../catalog.js';
import { blankOf } from '../dcgm/blanks.js';
import { DCGM_NO_DATA } from '../dcgm/returns.js';
import { limit, valueType } from '../protocol.js';
import type { Entity, EntityRef, Sample } from '../source.js';
import { TimelineSource, type MonotonicMs } from './timeline.js';

/** One recorded value; `value` is a decimal string (exact for 64-bit integers). */
export interface CaptureSample {
  readonly group: number; readonly entityId: number; readonly fieldId: number; readonly type: 'int64' | 'double';
  readonly status: number; readonly tsUs: string; readonly value: string;
}
/** The values of one instant, host wall time in microseconds. */
export interface CaptureFrame { readonly atUs: string; readonly samples: readonly CaptureSample[] }
/** A capture file. `samples` is its first frame, taken at `capturedUs`; `frames` are those that follow. */
export interface Capture {
  readonly schema: 'vigil-gpu-capture-1'; readonly provenance: string; readonly capturedUs: string; readonly dcgmVersion: string;
  readonly entities: readonly Entity[]; readonly samples: readonly CaptureSample[]; readonly frames?: readonly CaptureFrame[];
}

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
  const frames = capture.frames ?? [];
  if (frames.length >= limit('capture_frames_max')) throw new Error(`${path}: more than ${limit('capture_frames_max')} frames`);
  let before = BigInt(capture.capturedUs);
  for (const frame of frames) {
    if (BigInt(frame.atUs) <= before) throw new Error(`${path}: frame at ${frame.atUs} is not later than the one before`);
    before = BigInt(frame.atUs);
  }
  for (const sample of [capture.samples, ...frames.map(({ samples }) => samples)].flat()) {
    if (sample.type !== 'int64' && sample.type !== 'double') throw new Error(`${path}: sample type ${String(sample.type)}`);
    if (catalogField(sample.fieldId) === undefined) throw new Error(`${path}: field ${sample.fieldId} is not in the catalogue`);
  }
  return capture;
}

/** A capture as its file: one entity, and one sample, a line. */
export function renderCapture(capture: Capture): string {
  const { entities, samples, frames, ...head } = capture;
  const list = (items: readonly unknown[]): string => items.map((item) => `    ${JSON.stringify(item)}`).join(',\n');
  const top = Object.entries(head).map(([name, value]) => `  ${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(',\n');
  const frame = ({ atUs, samples: own }: CaptureFrame): string => `  {"atUs": ${JSON.stringify(atUs)}, "samples": [\n${list(own)}\n  ]}`;
  const more = frames === undefined || frames.length === 0 ? '' : `,\n  "frames": [\n${frames.map(frame).join(',\n')}\n  ]`;
  return `{\n${top},\n  "entities": [\n${list(entities)}\n  ],\n  "samples": [\n${list(samples)}\n  ]${more}\n}\n`;
}

interface Frame { readonly atUs: bigint; readonly cells: ReadonlyMap<string, CaptureSample> }

/** Replays one capture for as long as it is asked. */
export class ReplaySource extends TimelineSource {
  private readonly frames: readonly Frame[];

  constructor(private readonly capture: Capture, nowMs?: MonotonicMs) {
    super(nowMs);
    const all = [{ atUs: capture.capturedUs, samples: capture.samples }, ...(capture.frames ?? [])];
    this.frames = all.map(({ atUs, samples }) => ({ atUs: BigInt(atUs),
      cells: new Map(samples.map((sample) => [key(sample, sample.entityId, sample.fieldId), sample])) }));
  }

  version(): string {
    return `source:replay;dcgm:${this.capture.dcgmVersion};schema:${this.capture.schema};`;
  }

  protected entitiesAt(): readonly Entity[] { return this.capture.entities; }

  protected cell(entity: EntityRef, field: CatalogField, elapsedMs: number, nowUs: bigint): Sample {
    const { frame, playedUs } = this.frameAt(elapsedMs);
    const recorded = frame.cells.get(key(entity, entity.id, field.id));
    const place = { group: entity.group, entityId: entity.id, fieldId: field.id, type: valueType(field.type) };
    if (recorded === undefined) return { ...place, status: DCGM_NO_DATA, tsUs: 0n, value: blankOf(field.type) };
    const value = recorded.type === 'double' ? Number(recorded.value) : BigInt(recorded.value);
    // A value is as old as it was when it was read. An event keeps its instant, once in each round, so that it is one event.
    const age = field.kind === 'last' ? playedUs - BigInt(recorded.tsUs) : frame.atUs - BigInt(recorded.tsUs);
    return { ...place, type: valueType(recorded.type), status: recorded.status, tsUs: nowUs - age, value };
  }

  /** The frame that an elapsed time falls into, and the recorded instant that is played: after the last frame, for as long as the one
   *  before lasted, it begins again. */
  private frameAt(elapsedMs: number): { frame: Frame; playedUs: bigint } {
    const [first, ...rest] = this.frames as [Frame, ...Frame[]];
    const elapsedUs = BigInt(Math.floor(elapsedMs * 1000));
    const last = rest.at(-1);
    if (last === undefined) return { frame: first, playedUs: first.atUs + elapsedUs };
    const step = last.atUs - (rest.at(-2) ?? first).atUs;
    const playedUs = first.atUs + (elapsedUs % (last.atUs + step - first.atUs));
    return { frame: this.frames.findLast(({ atUs }) => atUs <= playedUs) ?? first, playedUs };
  }
}

const key = ({ group }: { group: number }, id: number, fieldId: number): string => `${group}:${id}:${fieldId}`;
