// SPDX-License-Identifier: Apache-2.0
// Crash records: one logd record (event=crash.v1) for each child that the kernel ended for a cause other than exit.
// Invariant: the record is made from the kernel's event and execd's own row, never from a client's words. It is sent without
// waiting; what logd's queue does not take stays with the row and is tried again at the next tick.
import { TRAP_NAMES, TRAP_NAMES_COUNT } from "../../gen/traps";
import { SLOT_LOGD } from "../../gen/slots";
import { LO, Writer, beginRequest, sendRequest } from "../../lib/nexus-ipc/index";
import { copyLiteral } from "../../lib/bounded/text";
import { LEVEL_ERROR, LO_APPEND, writeAppend } from "../../lib/wire/logd";
import { EXECD_CHILDREN_MAX } from "../../gen/limits";
import { Child, childAt } from "./children";

/** Between two tries of a record that logd's queue did not take, ns. */
export const CRASH_RETRY_NS: u64 = 2_000_000;
const scope: usize = memory.data(16);
const scopeLength: u32 = copyLiteral(scope, "execd.crash");
const text: usize = memory.data(128);
const textWriter: Writer = changetype<Writer>(memory.data(16, 4));
const fields: usize = memory.data(256);
const fieldsWriter: Writer = changetype<Writer>(memory.data(16, 4));

/** Sends the record of a child that trapped; false: logd's queue is full, the row keeps it. */
export function crashReport(child: Child): bool {
  const trap = trapName(child.cause);
  const message = textWriter.reset(text, 128).putText("crash ").putBytes(child.name, child.nameLength).putU8(32);
  message.putBytes(trap, trapLength);
  const out = fieldsWriter.reset(fields, 256).fieldText("child", child.name, child.nameLength);
  out.fieldLiteral("event", "crash.v1").fieldDecimal("generation", child.generation).fieldHex("pc", child.code);
  out.fieldText("trap", trap, trapLength);
  assert(message.ok && out.ok);
  writeAppend(beginRequest(LO, LO_APPEND), LEVEL_ERROR, scope, scopeLength, text, message.length, fields, out.length);
  child.unreported = sendRequest(SLOT_LOGD) < 0 ? 1 : 0;
  return child.unreported == 0;
}

/** Tries again what waits; true when something still does. */
export function crashRetry(): bool {
  let waits = false;
  for (let row: u32 = 0; row < EXECD_CHILDREN_MAX; row++) {
    const child = childAt(row);
    if (child.unreported != 0 && !crashReport(child)) waits = true;
  }
  return waits;
}

let trapLength: u32 = 0;

// Address of the trap's name (TRAP_NAMES: a length byte before each); trapLength is its length. An unknown number is a bug.
function trapName(cause: u32): usize {
  assert(cause >= 1 && cause <= TRAP_NAMES_COUNT);
  let at = TRAP_NAMES;
  for (let i: u32 = 1; i < cause; i++) at += 1 + <usize>load<u8>(at);
  trapLength = <u32>load<u8>(at);
  return at + 1;
}
