// SPDX-License-Identifier: Apache-2.0
// Phase end: the sink itself is restarted. It comes last, because the journal lives in memory and starts anew; what must survive is the
// way to it: for nexus-log, for metricsd's export, and for who may read.
import { M_SELFTEST_LOGD_RESTART_OK } from "../../gen/markers";
import { LO_OK } from "../../lib/wire/logd";
import { MT, beginRequest, lookup, lookupQuery, lookupStatus } from "../../lib/nexus-ipc/index";
import { LogCursor, logInfo, nextRecord, queryOutcome, sinkFlush } from "../../lib/nexus-log/index";
import { MT_OK, MT_OP_COUNTER_INC, MT_OP_FLUSH } from "../../lib/wire/metricsd";
import { SM_DENIED } from "../../lib/wire/samgrd";
import { indexOfLiteral } from "../../lib/bounded/text";
import { SVC_METRICSD_ID, SVC_SELFTEST_ID } from "../../gen/services";
import { sys_cap_close } from "../../gen/syscalls";
import { check, checkDone, checkEqual, proof, proven, waitNs } from "./lib";
import { sendUpdate } from "./metrics";
import { ask } from "./records";
import { killed, RESTART_LOOKS } from "./traps";

const LOOKS_MAX: u32 = 40;
const LOOK_NS: u64 = 50_000_000;
const RECORDS_MAX: u32 = 512;
const cursor: LogCursor = changetype<LogCursor>(memory.data(40, 8));

/** Whether the journal behind `handle` holds a record of `sender` with `literal` in its message or fields. */
function holds(handle: u32, sender: u64, literal: string): bool {
  cursor.begin(0);
  for (let n: u32 = 0; n < RECORDS_MAX; n++) {
    const record = nextRecord(handle, cursor);
    if (record === null) break;
    if (record.sender != sender) continue;
    if (indexOfLiteral(record.message, record.messageBytes, literal) >= 0) return true;
    if (indexOfLiteral(record.fields, record.fieldsBytes, literal) >= 0) return true;
  }
  checkEqual(queryOutcome, 0, "query");
  return false;
}

export function restart_proofs(): void {
  proof("logd restart");
  if (!killed("logd", RESTART_LOOKS)) return;
  const plain = lookup("logd");
  const query = lookupQuery("logd");
  if (!checkDone(plain, "route") || !checkDone(query, "query route")) return;
  nextRecord(<u32>plain, cursor.begin(0));
  check(queryOutcome != LO_OK, "a plain route may read the journal");
  check(lookupQuery("rngd") < 0, "a query right where there is none");
  checkEqual(lookupStatus(), SM_DENIED, "why");
  let logged = false;
  let exported = false;
  for (let n: u32 = 0; n < LOOKS_MAX && !(logged && exported); n++) {
    if (!logged) logInfo("selftest").text("logged after the restart").end();
    sinkFlush();
    if (!exported) checkEqual(sendUpdate(MT_OP_COUNTER_INC, "selftest.restart", 1), MT_OK, "update");
    beginRequest(MT, MT_OP_FLUSH);
    ask();
    waitNs(LOOK_NS);
    logged = holds(<u32>query, SVC_SELFTEST_ID, "logged after the restart");
    exported = holds(<u32>query, SVC_METRICSD_ID, "name=selftest.restart");
  }
  check(logged, "nexus-log never found the new logd");
  check(exported, "metricsd never found the new logd");
  sys_cap_close(<u32>plain);
  sys_cap_close(<u32>query);
  proven(M_SELFTEST_LOGD_RESTART_OK);
}
