// SPDX-License-Identifier: Apache-2.0
// Export to logd: snapshots of changed series and ended spans, each acknowledged by logd before it leaves its queue.
//
// Invariant: a record that logd did not take for now (rate limit, busy, unreachable) stays where it is and is tried again at the
// next tick; one that logd refuses for good is counted as failed and its class is printed to nobody's console but shows in STATS
// and in metricsd.export.failed. So nothing acknowledged to a producer is lost silently. Two-part records are sent part by part;
// if the second is put off, both are sent again.
// Limits: the recipe's export.max_records a tick; a call waits log_call_budget_ns.
import { E_BAD_HANDLE, E_DEAD } from "../../gen/errors";
import { METRICSD_EXPORT_BACKOFF_MAX, METRICSD_LOG_CALL_BUDGET_NS } from "../../gen/limits";
import { SLOT_LOGD } from "../../gen/slots";
import { copyLiteral } from "../../lib/bounded/text";
import { beginRequest, callRequest, reply } from "../../lib/nexus-ipc/client";
import { LO, REPLY_OK } from "../../lib/nexus-ipc/frame";
import { Route } from "../../lib/nexus-ipc/resolve";
import { RecordId } from "../../lib/nexus-ipc/types";
import { LEVEL_INFO, LO_APPEND, LO_OK, LO_RATE_LIMITED, writeAppend } from "../../lib/wire/logd";
import { seriesHandle } from "./handles";
import { EXPORT_RECORDS, limit32 } from "./limits";
import {
  PART_ALL, PART_LABELS, PART_REST, fields, message, writeSnapshot, writeSpan,
} from "./records";
import { dirtyWaiting, dropOldestDirty, oldestDirty, seriesAt } from "./registry";
import { dropOldestSpanExport, oldestSpanExport, spanExportsWaiting } from "./spans";

const scope: usize = memory.data(16);
const scopeLen: u32 = copyLiteral(scope, "metricsd");
const route: Route = changetype<Route>(memory.data(8, 4));

const TAKEN: u32 = 0;
const PUT_OFF: u32 = 1;
const REFUSED: u32 = 2;

let logd: u32 = SLOT_LOGD;
let exported: u64 = 0;
let failed: u64 = 0;
let deferred: u64 = 0;
const lastRecordId: RecordId = RecordId.at(memory.data(8, 8));
let unanswered: u64 = 1;

/** Records that logd acknowledged. */
export function recordsExported(): u64 {
  return exported;
}
/** Records that logd refused for good. */
export function recordsFailed(): u64 {
  return failed;
}
/** Times that a record was put off. */
export function recordsDeferred(): u64 {
  return deferred;
}
/** By how much the export interval is stretched: doubled by each call that logd left unanswered, so that a silent logd costs the
 *  callers of metricsd little. */
export function exportBackoff(): u64 {
  return unanswered;
}
/** logd's id of the last acknowledged record. */
export function lastExportedId(): RecordId {
  return lastRecordId;
}
/** Records that wait. */
export function exportsWaiting(): u32 {
  return dirtyWaiting() + spanExportsWaiting();
}

/** Sends message and fields of records.ts. */
function append(): u32 {
  return appendText(message.base, message.length, fields.base, fields.length);
}

/** Sends one record and waits for logd's acknowledgement. */
function appendText(text: usize, textLen: u32, fieldText: usize, fieldLen: u32): u32 {
  writeAppend(beginRequest(LO, LO_APPEND), LEVEL_INFO, scope, scopeLen, text, textLen, fieldText, fieldLen);
  const outcome = callRequest(logd, METRICSD_LOG_CALL_BUDGET_NS);
  if (outcome != REPLY_OK) {
    deferred += 1;
    if (unanswered < METRICSD_EXPORT_BACKOFF_MAX) unanswered <<= 1;
    if (outcome == <i32>E_DEAD || outcome == <i32>E_BAD_HANDLE) {
      // logd was restarted: its journal is new, what waits goes there.
      route.drop();
      const fresh = route.resolve("logd");
      if (fresh >= 0) logd = <u32>fresh;
    }
    return PUT_OFF;
  }
  unanswered = 1;
  if (reply.status == LO_OK) {
    lastRecordId.value = reply.body.takeU64();
    exported += 1;
    return TAKEN;
  }
  if (reply.status == LO_RATE_LIMITED) {
    deferred += 1;
    return PUT_OFF;
  }
  failed += 1;
  return REFUSED;
}

/** Logs one record of metricsd's own (limits at start). True when logd acknowledged it. */
export function logOwn(text: usize, textLen: u32, fieldText: usize, fieldLen: u32): bool {
  return appendText(text, textLen, fieldText, fieldLen) == TAKEN;
}

function exportSeries(index: u32): u32 {
  const s = seriesAt(index);
  const handle = seriesHandle(index);
  if (writeSnapshot(s, handle, PART_ALL)) return append();
  writeSnapshot(s, handle, PART_LABELS);
  const first = append();
  if (first != TAKEN) return first;
  writeSnapshot(s, handle, PART_REST);
  return append();
}

function exportSpan(): u32 {
  const s = oldestSpanExport();
  if (writeSpan(s, PART_ALL)) return append();
  writeSpan(s, PART_LABELS);
  const first = append();
  if (first != TAKEN) return first;
  writeSpan(s, PART_REST);
  return append();
}

/** Exports spans, then changed series, oldest first, until nothing waits, logd puts one off, or max_records are done.
 *  Returns how many left their queue. */
export function exportWaiting(): u32 {
  let done: u32 = 0;
  const most = limit32(EXPORT_RECORDS);
  while (done < most && spanExportsWaiting() != 0) {
    if (exportSpan() == PUT_OFF) return done;
    dropOldestSpanExport();
    done += 1;
  }
  while (done < most && dirtyWaiting() != 0) {
    if (exportSeries(oldestDirty()) == PUT_OFF) return done;
    dropOldestDirty();
    done += 1;
  }
  return done;
}
