// SPDX-License-Identifier: Apache-2.0
// The evidence for `metricsd: ready`: one record is exported to logd and read back by QUERY, byte for byte.
//
// Invariant: ready is never claimed from memory alone; a logd that does not answer, refuses, or returns anything else means no.
import { LOGD_MESSAGE_BYTES_MAX, METRICSD_EXPORT_FIELDS_BYTES_MAX, METRICSD_LOG_CALL_BUDGET_NS } from "../../gen/limits";
import { MUT_METRICSD_READY_EVIDENCE_BROKEN, mutant } from "../../gen/mutants";
import { SVC_METRICSD_ID } from "../../gen/services";
import { SLOT_LOG_QUERY } from "../../gen/slots";
import { equalsBytes } from "../../lib/bounded/text";
import { Writer } from "../../lib/bounded/writer";
import { beginRequest, callRequest, reply } from "../../lib/nexus-ipc/client";
import { LO, REPLY_OK } from "../../lib/nexus-ipc/frame";
import { LO_OK, LO_QUERY, LogRecord, readRecord, writeQuery } from "../../lib/wire/logd";
import { exportWaiting, exportsWaiting, lastExportedId, logOwn } from "./export";
import { seriesHandle } from "./handles";
import { KEYS } from "./limits";
import { PART_ALL, fields, message, writeSnapshot } from "./records";
import { putLimits, recipeDigest, recipeName, recipeNameLength } from "./recipe";
import { apply, seriesAt } from "./registry";
import { startSeries } from "./self";

const text: usize = memory.data(LOGD_MESSAGE_BYTES_MAX);
const textWriter: Writer = changetype<Writer>(memory.data(16, 4));
const lines: usize = memory.data(METRICSD_EXPORT_FIELDS_BYTES_MAX);
const linesWriter: Writer = changetype<Writer>(memory.data(16, 4));
const record: LogRecord = changetype<LogRecord>(memory.data(56, 8));
let limitsLogged: bool = false;

/** Logs the effective limits with the digest of the recipe they come from, in as many records as they need. */
function logLimits(): bool {
  if (limitsLogged) return true;
  let key: u32 = 0;
  while (key < KEYS) {
    textWriter.reset(text, LOGD_MESSAGE_BYTES_MAX).putText("metricsd limits recipe=");
    textWriter.putBytes(recipeName(), recipeNameLength()).putText(" crc32c=").putHex(recipeDigest(), 8);
    linesWriter.reset(lines, METRICSD_EXPORT_FIELDS_BYTES_MAX);
    const next = putLimits(linesWriter, key);
    if (next == key || !logOwn(text, textWriter.length, lines, linesWriter.length)) return false;
    key = next;
  }
  limitsLogged = true;
  return true;
}

/** Exports one snapshot of metricsd.start and compares what QUERY returns with what was sent. */
export function evidence(): bool {
  if (!logLimits()) return false;
  const index = startSeries();
  apply(index, 1);
  exportWaiting();
  if (exportsWaiting() != 0) return false;
  const id = lastExportedId().value;
  if (!writeSnapshot(seriesAt(index), seriesHandle(index), PART_ALL)) return false;
  writeQuery(beginRequest(LO, LO_QUERY), 0, 1, mutant(MUT_METRICSD_READY_EVIDENCE_BROKEN) ? id : id - 1);
  if (callRequest(SLOT_LOG_QUERY, METRICSD_LOG_CALL_BUDGET_NS) != REPLY_OK || reply.status != LO_OK) return false;
  reply.body.takeU64();
  reply.body.takeU64();
  if (reply.body.takeU16() != 1 || !readRecord(reply.body, record)) return false;
  if (record.recordId != id || record.sender != SVC_METRICSD_ID) return false;
  if (!equalsBytes(record.message, record.messageBytes, message.base, message.length)) return false;
  return equalsBytes(record.fields, record.fieldsBytes, fields.base, fields.length);
}
