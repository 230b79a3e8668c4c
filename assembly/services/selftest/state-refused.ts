// SPDX-License-Identifier: Apache-2.0
// Profiles state-refused-*: a disk that statefsd cannot use (scripts/lib/disk.ts chooses which). It answers every request with the one
// status that its line named, keeps nothing, and everything else works as on any other boot.
import { LOGD_RECORDS_MAX } from "../../gen/limits";
import { M_SELFTEST_STATE_REFUSED_OK } from "../../gen/markers";
import { SVC_STATEFSD_ID } from "../../gen/services";
import { SLOT_LOG_QUERY } from "../../gen/slots";
import { sys_boot_arg } from "../../gen/syscalls";
import { copyLiteral, equalsLiteral, indexOfLiteral } from "../../lib/bounded/text";
import { LogCursor, nextRecord } from "../../lib/nexus-log/index";
import {
  StateList, stateBatch, stateBatchBegin, stateBatchPut, stateCounter, stateDel, stateGet, statePut, stateReopen, stateSync, stateTxnBegin,
} from "../../lib/nexus-state/index";
import {
  SF_FOREIGN, SF_NOT_FOUND, SF_NO_FLUSH, SF_NO_SPACE, SF_READ_ONLY, SF_STATS_STATE, SF_UNAVAILABLE,
} from "../../lib/wire/statefsd";
import { keysRefused } from "./keys";
import { check, checkEqual, proof, proven } from "./lib";
import { flush } from "./records";
import { BUDGET_NS, at, back, key, keyLen, refusedWith, state, value } from "./state";

const PREFIX: string = "state-refused-";
const argument: usize = memory.data(16);
const profile: usize = memory.data(32);
const list: StateList = changetype<StateList>(memory.data(StateList.BYTES, 4));
const cursor: LogCursor = changetype<LogCursor>(memory.data(40, 8));
let profileBytes: u32 = 0;

/** Whether this boot has such a disk. */
export function isRefusedProfile(): bool {
  const length = sys_boot_arg(<u32>argument, copyLiteral(argument, "profile"), <u32>profile, 32);
  if (length < 0 || indexOfLiteral(profile, <u32>length, PREFIX) != 0) return false;
  profileBytes = <u32>length;
  return true;
}

function disk(name: string): bool {
  const skip = <u32>PREFIX.length;
  return equalsLiteral(profile + skip, profileBytes - skip, name);
}

// The status that the disk's kind is refused with; 0 for a profile that this file does not know.
function expected(): u32 {
  if (disk("no-flush")) return SF_NO_FLUSH;
  if (disk("read-only")) return SF_READ_ONLY;
  if (disk("foreign")) return SF_FOREIGN;
  if (disk("small")) return SF_NO_SPACE;
  return disk("absent") ? SF_UNAVAILABLE : 0;
}

function sayInLog(): bool {
  cursor.begin(0);
  for (let i: u32 = 0; i <= 2 * LOGD_RECORDS_MAX; i++) {
    const record = nextRecord(SLOT_LOG_QUERY, cursor);
    if (record === null) return false;
    if (record.sender == SVC_STATEFSD_ID && indexOfLiteral(record.message, record.messageBytes, "refused") == 0) return true;
  }
  return false;
}

/** The whole ladder of these profiles behind `init: ready`. */
export function state_refused(): void {
  proof("state refused");
  const status = expected();
  check(status != 0, "an unknown profile");
  at("/state/test/refused");
  refusedWith(statePut(state, key, keyLen, value, 10, BUDGET_NS), status, "put");
  refusedWith(statePut(state, key, keyLen, value, 20_000, BUDGET_NS), status, "a large put");
  refusedWith(stateDel(state, key, keyLen, BUDGET_NS), status, "delete");
  refusedWith(stateSync(state, 0, 0, BUDGET_NS), status, "sync");
  refusedWith(stateTxnBegin(state, 0, 0, BUDGET_NS), status, "begin");
  stateBatchBegin();
  check(stateBatchPut(key, keyLen, value, 10), "batch");
  refusedWith(stateBatch(state, false, BUDGET_NS), status, "batch");
  refusedWith(stateBatch(state, true, BUDGET_NS), status, "lazy batch");
  checkEqual(stateCounter(state, SF_STATS_STATE, BUDGET_NS), status, "state");
  // A read-only disk is read: this one is blank.
  const readable = status == SF_READ_ONLY;
  refusedWith(stateGet(state, key, keyLen, back, 64, BUDGET_NS), readable ? <u32>SF_NOT_FOUND : status, "get");
  at("/state/");
  list.begin(key, keyLen);
  check(!list.next(state, BUDGET_NS), "a key where nothing was stored");
  if (readable) checkEqual(list.outcome, 0, "list");
  else refusedWith(list.outcome, status, "list");
  refusedWith(stateReopen(state, BUDGET_NS), status, "reopen");
  flush();
  check(sayInLog(), "no record of the refusal");
  proven(M_SELFTEST_STATE_REFUSED_OK);
  keysRefused(status);
}
