// SPDX-License-Identifier: Apache-2.0
// Owns: the reading of the generated rows (assembly/gen/gpu.ts): groups, metrics, points, fields, by index.
// Invariant: rows are constants; an index outside its table is a trap. Limits: GPU_GROUPS, GPU_METRICS, GPU_POINTS, GPU_FIELDS.
import {
  GPU_FIELDS, GPU_FIELD_ROWS, GPU_GROUPS, GPU_GROUP_ROWS, GPU_METRICS, GPU_METRIC_ROWS, GPU_POINTS, GPU_POINT_ROWS, GPU_TEXT,
} from "../../gen/gpu";
import { equalsBytes } from "../bounded/text";

export const NONE_U8: u8 = 255;

export const INSTRUMENT_GAUGE: u8 = 0;
export const INSTRUMENT_COUNTER: u8 = 1;
export const INSTRUMENT_UPDOWN: u8 = 2;

/** What a `*` in a point's attributes stands for. */
export const STAR_NONE: u8 = 0;
export const STAR_LINK: u8 = 1;
export const STAR_XID: u8 = 2;
export const STAR_STATE: u8 = 3;

export const KIND_GAUGE: u8 = 0;
export const KIND_COUNTER: u8 = 1;
export const KIND_RATE: u8 = 2;
export const KIND_LAST: u8 = 3;

@unmanaged
export class GroupRow {
  /** 1 is dropped first. */
  tier: u8;
  initial: u8;
  /** Group whose switch it follows; 255: always on. */
  follows: u8;
  nameBytes: u8;
  nameAt: u16;
}

@unmanaged
export class MetricRow {
  instrument: u8;
  nameBytes: u8;
  unitBytes: u8;
  /** Name, description and unit as OTLP fields. */
  headBytes: u8;
  nameAt: u16;
  unitAt: u16;
  headAt: u16;

  get name(): usize {
    return GPU_TEXT + this.nameAt;
  }
  get unit(): usize {
    return GPU_TEXT + this.unitAt;
  }
  @inline
  get head(): usize {
    return GPU_TEXT + this.headAt;
  }
}

@unmanaged
export class PointRow {
  mul: f64;
  div: f64;
  metric: u8;
  group: u8;
  star: u8;
  /** Non-zero: a counter of whole numbers, sent as integers. */
  whole: u8;
  textBytes: u8;
  reserved: u8;
  textAt: u16;
  mulWhole: u32;

  /** Attributes as `key=value`, joined by commas. */
  get text(): usize {
    return GPU_TEXT + this.textAt;
  }
}

@unmanaged
export class FieldRow {
  id: u16;
  type: u8;
  kind: u8;
  /** Bit n: entities of group n have a value of their own. */
  levels: u8;
  point: u8;
  /** Link number of a lane; 255: none. */
  lane: u8;
  /** Index of the field that it stands in for; 255: none. */
  replaces: u8;
  /** Fields on for each port. */
  stride: u8;
}

@inline
export function groupRow(index: u32): GroupRow {
  assert(index < GPU_GROUPS);
  return changetype<GroupRow>(GPU_GROUP_ROWS + (index << 3));
}
@inline
export function metricRow(index: u32): MetricRow {
  assert(index < GPU_METRICS);
  return changetype<MetricRow>(GPU_METRIC_ROWS + (index << 4));
}
@inline
export function pointRow(index: u32): PointRow {
  assert(index < GPU_POINTS);
  return changetype<PointRow>(GPU_POINT_ROWS + (index << 5));
}
@inline
export function fieldRow(index: u32): FieldRow {
  assert(index < GPU_FIELDS);
  return changetype<FieldRow>(GPU_FIELD_ROWS + (index << 4));
}

/** Index of a group by its name, or -1. */
export function gpuGroupByName(text: usize, bytes: u32): i32 {
  for (let i: u32 = 0; i < GPU_GROUPS; i++) {
    const row = groupRow(i);
    if (equalsBytes(GPU_TEXT + row.nameAt, row.nameBytes, text, bytes)) return <i32>i;
  }
  return -1;
}
/** True for a group that an operator may switch: the others follow one of these. */
export function gpuGroupHasSwitch(group: u32): bool {
  return <u32>groupRow(group).follows == group;
}
export function gpuGroupName(group: u32): usize {
  return GPU_TEXT + groupRow(group).nameAt;
}
export function gpuGroupNameBytes(group: u32): u32 {
  return groupRow(group).nameBytes;
}

/** Index of a metric by its name, or -1. */
export function gpuMetricByName(text: usize, bytes: u32): i32 {
  for (let i: u32 = 0; i < GPU_METRICS; i++) {
    const row = metricRow(i);
    if (equalsBytes(row.name, row.nameBytes, text, bytes)) return <i32>i;
  }
  return -1;
}
export function gpuMetricName(metric: u32): usize {
  return metricRow(metric).name;
}
export function gpuMetricNameBytes(metric: u32): u32 {
  return metricRow(metric).nameBytes;
}
export function gpuMetricUnit(metric: u32): usize {
  return metricRow(metric).unit;
}
export function gpuMetricUnitBytes(metric: u32): u32 {
  return metricRow(metric).unitBytes;
}
/** 0 gauge, 1 counter, 2 updown. */
export function gpuMetricInstrument(metric: u32): u32 {
  return metricRow(metric).instrument;
}
