// SPDX-License-Identifier: Apache-2.0
// Owns: the GPU fields that dcgmd watches, and what each becomes: a gauge's name, its unit, the factor, a label of its own.
// Invariant: the rows are those of abi/bridge.toml in its order (tests/bridge/tables.test.ts). metricsd's gauges are i64, so a
// fraction travels in a smaller unit, and the label `unit` says which. Limits: limits.dcgmd fields_max.
import { DCGMD_FIELDS_MAX } from "../../gen/limits";
import { BRIDGE_VALUE_TYPE_DOUBLE, BRIDGE_VALUE_TYPE_INT64 } from "../../lib/wire/bridge";

/** One field; texts are literals. */
@unmanaged
export class Field {
  id: u32;
  type: u32;
  metric: usize;
  unit: usize;
  scale: i64;
  label: usize;

  get metricName(): string {
    return changetype<string>(this.metric);
  }
  get unitName(): string {
    return changetype<string>(this.unit);
  }
  get ownLabel(): string {
    return changetype<string>(this.label);
  }
}
const FIELD_BYTES: u32 = 32;
const TABLE: usize = memory.data(DCGMD_FIELDS_MAX * 32, 8);
let count: u32 = 0;

export const FIELD_TEMPERATURE: u32 = 150;

function field(id: u32, type: u8, metric: string, unit: string, scale: i64, label: string): void {
  assert(count < DCGMD_FIELDS_MAX && offsetof<Field>() <= FIELD_BYTES);
  const row = fieldAt(count);
  row.id = id;
  row.type = type;
  row.metric = changetype<usize>(metric);
  row.unit = changetype<usize>(unit);
  row.scale = scale;
  row.label = changetype<usize>(label);
  count++;
}

/** Fills the table, once, at start. */
export function fillFields(): void {
  field(150, BRIDGE_VALUE_TYPE_INT64, "hw.temperature", "Cel", 1, "hw.sensor_location=gpu");
  field(155, BRIDGE_VALUE_TYPE_DOUBLE, "hw.power", "mW", 1000, "hw.type=gpu");
  field(203, BRIDGE_VALUE_TYPE_INT64, "hw.gpu.utilization", "%", 1, "hw.gpu.task=general");
  field(204, BRIDGE_VALUE_TYPE_INT64, "hw.gpu.memory.copy.utilization", "%", 1, "");
  field(252, BRIDGE_VALUE_TYPE_INT64, "hw.gpu.memory.usage", "By", 1048576, "hw.gpu.memory.state=used");
}

export function fieldCount(): u32 {
  return count;
}
export function fieldAt(index: u32): Field {
  return changetype<Field>(TABLE + index * FIELD_BYTES);
}
/** Place of a field id in the table, or -1. */
export function fieldIndex(id: u32): i32 {
  for (let i: u32 = 0; i < count; i++) if (fieldAt(i).id == id) return <i32>i;
  return -1;
}
