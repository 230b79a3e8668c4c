// SPDX-License-Identifier: Apache-2.0
// Bench row of logd: one APPEND of a 64-byte message, from the client's encoding to its decoded acknowledgement.
// Invariant: every append was stored (its id follows the one before); the warm-up and the rounds together stay inside the burst that
// logd grants, so nothing waits for a token.
import { LOGD_APPEND_BURST } from "../../gen/limits";
import { SLOT_LOGD } from "../../gen/slots";
import { sys_instret } from "../../gen/syscalls";
import { copyLiteral } from "../../lib/bounded/text";
import { appendedRecordId, callAppend } from "../../lib/nexus-log/index";
import { LEVEL_INFO, LO_OK } from "../../lib/wire/logd";
import { figure } from "./bench";
import { check, checkEqual, proof } from "./lib";

const WARM_UP: u32 = 8;
const ROUNDS: u32 = 48;
const MESSAGE_BYTES: u32 = 64;
const scope: usize = memory.data(16);
const message: usize = memory.data(80);

function append(scopeBytes: u32): i32 {
  return callAppend(SLOT_LOGD, LEVEL_INFO, scope, scopeBytes, message, MESSAGE_BYTES, message, 0);
}

export function bench_log(): void {
  proof("bench log");
  assert(WARM_UP + ROUNDS <= LOGD_APPEND_BURST);
  const scopeBytes = copyLiteral(scope, "bench");
  const bytes = copyLiteral(message, "request 4711 served from cache in 12 ms for tenant blue, 3 hops.");
  if (!checkEqual(bytes, MESSAGE_BYTES, "message")) return;
  for (let i: u32 = 0; i < WARM_UP; i++) checkEqual(append(scopeBytes), LO_OK, "append");
  const first = appendedRecordId;
  const start = <u64>sys_instret();
  let bad: i32 = 0;
  for (let i: u32 = 0; i < ROUNDS; i++) bad |= append(scopeBytes);
  const spent = <u64>sys_instret() - start;
  checkEqual(bad, LO_OK, "append");
  check(appendedRecordId >= first + ROUNDS, "records stored");
  if (bad == LO_OK) figure("log_append_64", spent / ROUNDS);
}
