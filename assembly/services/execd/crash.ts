// SPDX-License-Identifier: Apache-2.0
// Crash records of children: one logd record (event=crash.v1) for each child that the kernel ended for a cause other than exit, and the
// kernel's part of its crash record, handed to init-lite, which writes it to /state.
// Invariant: both are made from the kernel's event and execd's own row, never from a client's words. Nothing here waits: the log record
// goes through nexus-log's ring, and a loss is counted there; what init-lite's queue does not take is counted (execd.crash.lost).
import { KERNEL_CRASH_RAW_BYTES } from "../../gen/limits";
import { SLOT_INIT } from "../../gen/slots";
import { sys_process_crash } from "../../gen/syscalls";
import { trapName, trapNameBytes } from "../../lib/crash/trap";
import { IN, IN_CRASH, beginRequest, sendRequest } from "../../lib/nexus-ipc/index";
import { logError } from "../../lib/nexus-log/index";
import { Child } from "./children";
import { countCrashLost } from "./telemetry";

const raw: usize = memory.data(KERNEL_CRASH_RAW_BYTES, 8);

/** Logs the end of a child that trapped, and hands on what the kernel kept of it. */
export function crashReport(child: Child): void {
  const trap = trapName(child.cause);
  const line = logError("execd.crash").text("crash ").bytes(child.name, child.nameLength);
  line.text(" ").bytes(trap, trapNameBytes);
  line.fieldBytes("child", child.name, child.nameLength).field("event", "crash.v1");
  line.fieldDec("generation", child.generation).fieldHex("pc", child.code).fieldBytes("trap", trap, trapNameBytes);
  line.end();
  if (!handOn(child.index)) countCrashLost();
}

function handOn(index: u32): bool {
  if (sys_process_crash(index, <u32>raw, KERNEL_CRASH_RAW_BYTES) < 0) return false;
  beginRequest(IN, IN_CRASH).putBytes(raw, KERNEL_CRASH_RAW_BYTES);
  return sendRequest(SLOT_INIT) == 0;
}
