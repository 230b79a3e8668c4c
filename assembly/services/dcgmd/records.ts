// SPDX-License-Identifier: Apache-2.0
// Owns: dcgmd's records in logd (scope `dcgmd`): its start, its configuration, a summary of each scrape, each change of the degraded
// state, failures that the gate of kinds.ts lets through, and in profile=proof one for each temperature.
// Invariant: each record of values names its source; a record that logd did not acknowledge as stored is counted lost.
// Limits: each append waits nexus-log's QUERY_BUDGET_NS at most; fields of limits.logd fields_bytes_max.
import { E_BAD_HANDLE, E_DEAD } from "../../gen/errors";
import { SLOT_LOGD } from "../../gen/slots";
import { Route, Writer } from "../../lib/nexus-ipc/index";
import { LEVEL_INFO, LEVEL_WARN, callAppend } from "../../lib/nexus-log/index";
import { copyLiteral } from "../../lib/bounded/text";
import { LO_OK } from "../../lib/wire/logd";

const FIELDS_BYTES: u32 = 320;
const scope: usize = memory.data(8);
const message: usize = memory.data(32);
const fieldsText: usize = memory.data(320);
const fields: Writer = changetype<Writer>(memory.data(16, 4));
const route: Route = changetype<Route>(memory.data(8, 4));
let logd: u32 = SLOT_LOGD;
let lost: u64 = 0;

/** Records that logd did not take. */
export function recordsLost(): u64 {
  return lost;
}

function begin(): Writer {
  return fields.reset(fieldsText, FIELDS_BYTES);
}

/** `gpu sample` with the entity, the value in Cel and the source. */
export function logTemperature(index: u32, uuid: usize, uuidBytes: u32, celsius: i64, source: string): void {
  begin().fieldDecimal("hw.gpu.index", index).fieldText("hw.id", uuid, uuidBytes).fieldLiteral("metric", "hw.temperature");
  fields.fieldLiteral("source", source).fieldLiteral("unit", "Cel").fieldSigned("value", celsius);
  append(LEVEL_INFO, "gpu sample");
}

/** `gpu scrape`: what one scrape was worth. */
export function logSummary(
  scrape: u64, entities: u32, samples: u32, series: u32, blanks: u32, stale: u32, errors: u32, dropped: u32, source: string,
): void {
  begin().fieldDecimal("scrape", scrape).fieldDecimal("entities", entities).fieldDecimal("samples", samples);
  fields.fieldDecimal("series", series).fieldDecimal("blanks", blanks).fieldDecimal("stale", stale);
  fields.fieldDecimal("errors", errors).fieldDecimal("dropped", dropped).fieldLiteral("source", source);
  append(LEVEL_INFO, "gpu scrape");
}

/** `gpu receiver up`: the first record of every start; generation 2 and up: it was started again. */
export function logStart(portStatus: u32, generation: u64): void {
  begin().fieldDecimal("port_status", portStatus).fieldDecimal("generation", generation);
  append(LEVEL_INFO, "gpu receiver up");
}

/** `gpu config`: the configuration that holds from now on. */
export function logConfig(bytes: u32, intervalMs: u64, delayMs: u64, fieldsWatched: u32): void {
  begin().fieldDecimal("bytes", bytes).fieldDecimal("collection_interval_ms", intervalMs).fieldDecimal("initial_delay_ms", delayMs);
  fields.fieldDecimal("fields", fieldsWatched);
  append(LEVEL_INFO, "gpu config");
}

/** `gpu config refused`: how many faults, of which each of the first has a record of its own. */
export function logRefused(faults: u32, logged: u32): void {
  begin().fieldDecimal("faults", faults).fieldDecimal("logged", logged);
  append(LEVEL_WARN, "gpu config refused");
}

/** `gpu config fault`: one fault, by the operator's path, with what was written and what would do. */
export function logFault(path: string, name: usize, nameBytes: u32, value: usize, valueBytes: u32, rule: string): void {
  begin().fieldKey("path").putText(path);
  if (nameBytes != 0) fields.putU8(46).putBytes(name, min<u32>(nameBytes, 48));
  fields.fieldLiteral("rule", rule).fieldKey("value").putU8(34).putBytes(value, min<u32>(valueBytes, 64)).putU8(34);
  append(LEVEL_WARN, "gpu config fault");
}

/** `gpu failure`: a failure that its kind's gate let through; `silent` of its kind were counted without a record since the last one. */
export function logFailure(kind: string, detail: i64, silent: u64): void {
  begin().fieldLiteral("kind", kind).fieldSigned("detail", detail).fieldDecimal("silent", silent);
  append(LEVEL_WARN, "gpu failure");
}

/** `gpu degraded`, and `gpu recovered` from the kind that ended it. */
export function logDegraded(kind: string, detail: i64): void {
  begin().fieldLiteral("kind", kind).fieldSigned("detail", detail);
  append(LEVEL_WARN, "gpu degraded");
}
export function logRecovered(kind: string): void {
  begin().fieldLiteral("kind", kind);
  append(LEVEL_INFO, "gpu recovered");
}

function append(level: u8, text: string): void {
  const scopeBytes = copyLiteral(scope, "dcgmd");
  const messageBytes = copyLiteral(message, text);
  if (!fields.ok) {
    lost++;
    return;
  }
  const outcome = callAppend(logd, level, scope, scopeBytes, message, messageBytes, fieldsText, fields.length);
  if (outcome == <i32>LO_OK) return;
  lost++;
  if (outcome != <i32>E_DEAD && outcome != <i32>E_BAD_HANDLE) return;
  route.drop();
  const fresh = route.resolve("logd");
  if (fresh > 0) logd = <u32>fresh;
}
