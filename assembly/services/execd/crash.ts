// SPDX-License-Identifier: Apache-2.0
// Crash records: one logd record (event=crash.v1) for each child that the kernel ended for a cause other than exit.
// Invariant: the record is made from the kernel's event and execd's own row, never from a client's words. It goes
// through nexus-log's ring: what logd's queue does not take waits there, and a loss is counted there.
import { TRAP_NAMES, TRAP_NAMES_COUNT } from "../../gen/traps";
import { logError } from "../../lib/nexus-log/index";
import { Child } from "./children";

let trapLength: u32 = 0;

/** Logs the end of a child that trapped. */
export function crashReport(child: Child): void {
  const trap = trapName(child.cause);
  const line = logError("execd.crash").text("crash ").bytes(child.name, child.nameLength);
  line.text(" ").bytes(trap, trapLength);
  line.fieldBytes("child", child.name, child.nameLength).field("event", "crash.v1");
  line.fieldDec("generation", child.generation).fieldHex("pc", child.code).fieldBytes("trap", trap, trapLength);
  line.end();
}

// Address of the trap's name (TRAP_NAMES: a length byte before each); trapLength is its length. An unknown number is a
// bug.
function trapName(cause: u32): usize {
  assert(cause >= 1 && cause <= TRAP_NAMES_COUNT);
  let at = TRAP_NAMES;
  for (let i: u32 = 1; i < cause; i++) at += 1 + <usize>load<u8>(at);
  trapLength = <u32>load<u8>(at);
  return at + 1;
}
