// SPDX-License-Identifier: Apache-2.0
// Profile invalid-only: nothing but invalid traffic of ours reaches logd and metricsd, so no metrics success line may appear and
// nothing of ours may be in the journal (RFC-0024, no fake success). The other services' own metrics go on as always.
import { M_SELFTEST_INVALID_ONLY_SENT, M_SELFTEST_INVALID_SINK_REFUSED } from "../../gen/markers";
import { MT, beginRequest } from "../../lib/nexus-ipc/index";
import {
  MT_INVALID_ARGS, MT_OP_BATCH, MT_OP_COUNTER_INC, MT_OP_SPAN_END, MT_OP_SPAN_START, MT_OVER_LIMIT, MT_RATE_LIMITED, MT_STAT_LIVE_SPANS,
  MT_STAT_SERIES, MT_STALE_HANDLE,
} from "../../lib/wire/metricsd";
import { LEVEL_INFO, LO_INVALID_ARGS, LO_OVER_LIMIT } from "../../lib/wire/logd";
import { LogCursor, nextRecord, queryOutcome } from "../../lib/nexus-log/index";
import { LOGD_FIELDS_BYTES_MAX, LOGD_RECORDS_MAX } from "../../gen/limits";
import { SVC_SELFTEST_ID } from "../../gen/services";
import { SLOT_LOG_QUERY } from "../../gen/slots";
import { append, appendSized } from "./logd";
import { check, checkEqual, proof, proven, waitNs } from "./lib";
import { sendUpdate } from "./metrics";
import { anyRecordHolds, ask, beginExchange, flush, keepStats, readStatsAgain, scratch, statDelta, text, want } from "./records";

const LONG_NAME_BYTES: u32 = 49;
const cursor: LogCursor = changetype<LogCursor>(memory.data(40, 8));
const FLOOD_MOST: u32 = 200;
/** After this long the bucket is full again. */
const REFILL_NS: u64 = 1_100_000_000;

/** Records of this service in the journal. */
function ownRecords(): u32 {
  let found: u32 = 0;
  cursor.begin(0);
  for (let n: u32 = 0; n < LOGD_RECORDS_MAX; n++) {
    const record = nextRecord(SLOT_LOG_QUERY, cursor);
    if (record === null) break;
    if (record.sender == SVC_SELFTEST_ID) found++;
  }
  checkEqual(queryOutcome, 0, "query");
  return found;
}

/** The sink: frames that logd must refuse, and nothing of ours in the journal afterwards. */
function invalidSink(): void {
  proof("invalid sink");
  checkEqual(append(9, "bad level", ""), LO_INVALID_ARGS, "bad level");
  checkEqual(append(LEVEL_INFO, "spoof", "sender_service_id=9999"), LO_INVALID_ARGS, "identity claim");
  checkEqual(appendSized(1, LOGD_FIELDS_BYTES_MAX + 1), LO_OVER_LIMIT, "fields over limit");
  checkEqual(ownRecords(), 0, "records of ours in the journal");
  proven(M_SELFTEST_INVALID_SINK_REFUSED);
}

export function invalid_only(): void {
  invalidSink();
  proof("invalid only");
  beginExchange();
  keepStats();
  checkEqual(sendUpdate(MT_OP_COUNTER_INC, "", 1), MT_INVALID_ARGS, "empty name");
  text();
  for (let i: u32 = 0; i < LONG_NAME_BYTES; i++) scratch.putU8(110);
  beginRequest(MT, MT_OP_COUNTER_INC).putU8(<u8>LONG_NAME_BYTES).putU16(0).putU64(1).putBytes(scratch.base, LONG_NAME_BYTES);
  checkEqual(ask(), MT_OVER_LIMIT, "name over limit");
  beginRequest(MT, MT_OP_SPAN_START).putU64(0);
  checkEqual(ask(), MT_INVALID_ARGS, "half a span");
  beginRequest(MT, MT_OP_SPAN_END).putU32(1);
  checkEqual(ask(), MT_INVALID_ARGS, "half an end");
  let limited = false;
  for (let i: u32 = 0; i < FLOOD_MOST && !limited; i++) {
    const status = sendUpdate(MT_OP_COUNTER_INC, "9bad", 1);
    limited = status == MT_RATE_LIMITED;
    if (!limited) checkEqual(status, MT_INVALID_ARGS, "bad name");
  }
  check(limited, "the flood was never limited");
  beginExchange();
  waitNs(REFILL_NS);
  beginRequest(MT, MT_OP_BATCH).putU16(1).putU16(0).putU32(0xffff0001).putU64(1);
  checkEqual(ask(), MT_STALE_HANDLE, "a handle that nobody gave out");
  flush();
  readStatsAgain();
  checkEqual(statDelta(MT_STAT_SERIES), 0, "series made");
  checkEqual(statDelta(MT_STAT_LIVE_SPANS), 0, "spans made");
  want().putText("9bad");
  check(!anyRecordHolds(0), "invalid traffic left a record");
  proven(M_SELFTEST_INVALID_ONLY_SENT);
}
