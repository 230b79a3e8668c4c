// SPDX-License-Identifier: Apache-2.0
// Owns: dcgmd's records in logd: one summary a scrape, and in profile=proof one for each temperature.
// Invariant: each record names its source; a record that logd did not acknowledge as stored is counted lost.
// Limits: limits.dcgmd log_wait_ns for each; fields of limits.logd fields_bytes_max.
import { DCGMD_LOG_WAIT_NS } from "../../gen/limits";
import { SLOT_LOGD } from "../../gen/slots";
import { LO, REPLY_OK, Writer, beginRequest, callRequest, reply } from "../../lib/nexus-ipc/index";
import { copyLiteral } from "../../lib/bounded/text";
import { LEVEL_INFO, LO_APPEND, LO_OK, writeAppend } from "../../lib/wire/logd";
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

function append(text: string): void {
  const scopeBytes = copyLiteral(scope, "dcgmd");
  const messageBytes = copyLiteral(message, text);
  writeAppend(
    beginRequest(LO, LO_APPEND), LEVEL_INFO, scope, scopeBytes, message, messageBytes, fieldsText, fields.length,
  );
  const outcome = fields.ok ? callRequest(SLOT_LOGD, DCGMD_LOG_WAIT_NS) : -1;
  if (outcome != REPLY_OK || reply.status != LO_OK) lost++;
}
