// SPDX-License-Identifier: Apache-2.0
// Owns: the gauge of each (entity, field), made when its first value comes.
// Invariant: a cell that never had a value has no series; the labels of a series never change and name the entity's UUID, its
// index, the source and the unit. Limits: limits.dcgmd entities_max x fields_max, labels_bytes_max each.
import { DCGMD_ENTITIES_MAX, DCGMD_FIELDS_MAX, DCGMD_LABELS_BYTES_MAX } from "../../gen/limits";
import { Writer } from "../../lib/nexus-ipc/index";
import { Gauge, gaugeSet, gaugeWithLabels } from "../../lib/nexus-metrics/index";
import { entityAt } from "./entities";
import { fieldAt } from "./fields";

/** Index of the gauge + 1, by cell; 0: none yet. */
const GAUGES: usize = memory.data(DCGMD_ENTITIES_MAX * DCGMD_FIELDS_MAX * 4, 4);
const LABELS: usize = memory.data(DCGMD_ENTITIES_MAX * DCGMD_FIELDS_MAX * DCGMD_LABELS_BYTES_MAX, 8);
const writer: Writer = changetype<Writer>(memory.data(16, 4));
let made: u32 = 0;
let refused: u64 = 0;

/** Series made since start. */
export function seriesMade(): u32 {
  return made;
}
/** Cells whose labels did not fit: they have no series. */
export function seriesRefused(): u64 {
  return refused;
}

/** Sets the gauge of a cell; false when it can have none. */
export function setCell(entity: u32, field: u32, value: i64, source: string): bool {
  const cell = entity * DCGMD_FIELDS_MAX + field;
  const at = GAUGES + (cell << 2);
  if (load<u32>(at) == 0 && !makeGauge(cell, entity, field, source)) return false;
  gaugeSet(Gauge.of(load<u32>(at) - 1), value);
  return true;
}

function makeGauge(cell: u32, entityPlace: u32, fieldPlace: u32, source: string): bool {
  const entity = entityAt(entityPlace);
  const field = fieldAt(fieldPlace);
  const labels = LABELS + cell * DCGMD_LABELS_BYTES_MAX;
  writer.reset(labels, DCGMD_LABELS_BYTES_MAX);
  writer.fieldDecimal("hw.gpu.index", entity.id);
  writer.fieldText("hw.id", entity.uuid, entity.uuidBytes);
  if (field.ownLabel.length != 0) writer.putU8(10).putText(field.ownLabel);
  writer.fieldLiteral("source", source);
  writer.fieldLiteral("unit", field.unitName);
  if (!writer.ok) {
    refused++;
    return false;
  }
  store<u32>(GAUGES + (cell << 2), gaugeWithLabels(field.metricName, labels, writer.length).index + 1);
  made++;
  return true;
}
