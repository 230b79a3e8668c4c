// SPDX-License-Identifier: Apache-2.0
// Owns: what the journal holds when the ladder begins: who logged, metricsd's records of its limits, init-lite's count of started services.
// Invariant: it is read once, before the first proof, and judged by the proofs that need it. logd keeps the newest LOGD_RECORDS_MAX records
// and guest time passes while the host is slow, so a later proof cannot rely on the records of the start being there still.
// Limits: LOOKS_MAX passes over the journal, LOOK_NS apart; logd's senders_max senders.
import { LOGD_RECORDS_MAX, LOGD_SENDERS_MAX } from "../../gen/limits";
import { SVC_INIT_LITE_ID, SVC_METRICSD_ID } from "../../gen/services";
import { SLOT_LOG_QUERY } from "../../gen/slots";
import { sys_boot_arg } from "../../gen/syscalls";
import { copyLiteral, equalsBytes } from "../../lib/bounded/text";
import { MT, Writer, beginRequest, reply } from "../../lib/nexus-ipc/index";
import { LogCursor, nextRecord, queryOutcome } from "../../lib/nexus-log/index";
import { MT_OK, MT_OP_FLUSH, MT_OP_LIMITS } from "../../lib/wire/metricsd";
import { check, checkEqual, proof, waitNs } from "./lib";
import { ask, holdsWanted, wantSnapshot } from "./records";

/** init-lite sends what it counted some 10 ms after the last service is up. */
const LOOKS_MAX: u32 = 40;
const LOOK_NS: u64 = 50_000_000;
const LIMITS_BYTES_MAX: u32 = 2048;
const RECIPE_NAME_BYTES_MAX: u32 = 32;
const recipeKey: usize = memory.data(8);
const recipeName: usize = memory.data(32);
const messageBuffer: usize = memory.data(96);
const message: Writer = changetype<Writer>(memory.data(16, 4));
const limits: usize = memory.data(2048);
const logged: usize = memory.data(2048);
const loggedWriter: Writer = changetype<Writer>(memory.data(16, 4));
const senders: usize = memory.data(64 * 8, 8);
const cursor: LogCursor = changetype<LogCursor>(memory.data(40, 8));
let senderCount: u32 = 0;
let outcomeThen: i32 = -1;
let digestThen: u32 = 0;
let spawnsLogged: bool = false;

/** Reads the journal of the start, once; nothing is judged here. */
export function keepStart(): void {
  assert(LOGD_SENDERS_MAX <= 64);
  proof("records of the start");
  askLimits();
  digestThen = digest;
  // The recipe is the one that the boot arguments name, or the default.
  const named = sys_boot_arg(<u32>recipeKey, copyLiteral(recipeKey, "recipe"), <u32>recipeName, RECIPE_NAME_BYTES_MAX);
  message.reset(messageBuffer, 96).putText("metricsd limits recipe=");
  if (named > 0) message.putBytes(recipeName, <u32>named);
  else message.putText("metrics");
  message.putText(" crc32c=").putHex(digestThen, 8);
  wantSnapshot("init.spawn.ok", SVC_INIT_LITE_ID);
  for (let n: u32 = 0; n < LOOKS_MAX && !spawnsLogged; n++) {
    if (n != 0) waitNs(LOOK_NS);
    beginRequest(MT, MT_OP_FLUSH);
    ask();
    loggedWriter.reset(logged, LIMITS_BYTES_MAX);
    outcomeThen = look(SVC_METRICSD_ID);
  }
}

/** One pass over the journal: notes who logged, and takes what of this sender is looked for (0: nobody's). Its outcome is the query's. */
function look(taken: u64): i32 {
  cursor.begin(0);
  for (let i: u32 = 0; i <= 2 * LOGD_RECORDS_MAX; i++) {
    const record = nextRecord(SLOT_LOG_QUERY, cursor);
    if (record === null) break;
    if (!hasLogged(record.sender) && senderCount < LOGD_SENDERS_MAX) store<u64>(senders + (senderCount++ << 3), record.sender);
    if (record.sender != taken) continue;
    if (holdsWanted(record.fields, record.fieldsBytes)) spawnsLogged = true;
    if (!equalsBytes(record.message, record.messageBytes, message.base, message.length)) continue;
    if (loggedWriter.length != 0) loggedWriter.putU8(10);
    loggedWriter.putBytes(record.fields, record.fieldsBytes);
  }
  return queryOutcome;
}

/** Whether a record of this sender was in the journal when the ladder began, or at a later lookAgain. */
export function hasLogged(sender: u64): bool {
  for (let i: u32 = 0; i < senderCount; i++) if (load<u64>(senders + (i << 3)) == sender) return true;
  return false;
}
/** Notes who logged since. */
export function lookAgain(): void {
  checkEqual(look(0), 0, "query status");
}

let digest: u32 = 0;
let limitsBytes: u32 = 0;
/** LIMITS: the digest, and the text in `limits`; false when it was refused, malformed or too long. */
function askLimits(): bool {
  beginRequest(MT, MT_OP_LIMITS);
  if (ask() != MT_OK) return false;
  digest = reply.body.takeU32();
  limitsBytes = <u32>reply.body.takeU16();
  const at = reply.body.takeBytes(limitsBytes);
  if (!reply.body.finished || limitsBytes > LIMITS_BYTES_MAX) return false;
  memory.copy(limits, at, limitsBytes);
  return limitsBytes != 0 && digest != 0;
}

/** init-lite's count of started services was in the journal when the ladder began. */
export function checkStartSpawns(): void {
  check(spawnsLogged, "no record of init-lite");
}

/** The records that metricsd wrote of its limits at its start name the recipe of this boot and the digest that LIMITS answers, and their
 *  fields together are the limits that LIMITS answers now. */
export function checkLimitsRecords(): void {
  if (!check(askLimits(), "limits refused, malformed or without digest")) return;
  checkEqual(digest, digestThen, "the digest since the start");
  checkEqual(outcomeThen, 0, "query at the start");
  checkEqual(loggedWriter.length, limitsBytes, "bytes of limits in the journal");
  check(equalsBytes(logged, loggedWriter.length, limits, limitsBytes), "the journal's limits are not those in force");
}
