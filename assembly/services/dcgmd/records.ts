// SPDX-License-Identifier: Apache-2.0
// Owns: dcgmd's records in logd: one at start, one summary a scrape, and in profile=proof one for each temperature.
// Invariant: each record names its source; a record that logd did not acknowledge as stored is counted lost.
// Limits: each append waits nexus-log's QUERY_BUDGET_NS at most; fields of limits.logd fields_bytes_max.
import { SLOT_LOGD } from "../../gen/slots";
import { Writer } from "../../lib/nexus-ipc/index";
import { LEVEL_INFO, callAppend } from "../../lib/nexus-log/index";
import { copyLiteral } from "../../lib/bounded/text";
import { LO_OK } from "../../lib/wire/logd";
import { Entity } from "./entities";

const FIELDS_BYTES: u32 = 256;
const scope: usize = memory.data(8);
const message: usize = memory.data(32);
const fieldsText: usize = memory.data(256);
const fields: Writer = changetype<Writer>(memory.data(16, 4));
let lost: u64 = 0;

/** Records that logd did not take. */
export function recordsLost(): u64 {
  return lost;
}

/** `gpu sample` with the entity, the value in Cel and the source. */
export function logTemperature(entity: Entity, celsius: i64, source: string): void {
  fields.reset(fieldsText, FIELDS_BYTES);
  fields.fieldDecimal("hw.gpu.index", entity.id);
  fields.fieldText("hw.id", entity.uuid, entity.uuidBytes);
  fields.fieldLiteral("metric", "hw.temperature");
  fields.fieldLiteral("source", source);
  fields.fieldLiteral("unit", "Cel");
  fields.fieldSigned("value", celsius);
  append("gpu sample");
}

/** `gpu scrape`: what one scrape was worth. */
export function logSummary(entities: u32, samples: u32, series: u32, blanks: u32, source: string): void {
  fields.reset(fieldsText, FIELDS_BYTES);
  fields.fieldDecimal("entities", entities);
  fields.fieldDecimal("samples", samples);
  fields.fieldDecimal("series", series);
  fields.fieldDecimal("blanks", blanks);
  fields.fieldLiteral("source", source);
  append("gpu scrape");
}

/** `gpu receiver up`: the first record of every start. */
export function logStart(portStatus: u32): void {
  fields.reset(fieldsText, FIELDS_BYTES);
  fields.fieldDecimal("port_status", portStatus);
  append("gpu receiver up");
}

function append(text: string): void {
  const scopeBytes = copyLiteral(scope, "dcgmd");
  const messageBytes = copyLiteral(message, text);
  if (!fields.ok) {
    lost++;
    return;
  }
  const outcome = callAppend(SLOT_LOGD, LEVEL_INFO, scope, scopeBytes, message, messageBytes, fieldsText, fields.length);
  if (outcome != <i32>LO_OK) lost++;
}
