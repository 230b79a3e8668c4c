// SPDX-License-Identifier: Apache-2.0
// What every proof of the ladder uses: checks, the failure line, the marker at the end, and a wait.
// Use: proof("logd rejects"); check(...); checkEqual(...); proven(M_SELFTEST_...).
// Invariant: the marker is printed only if every check since `proof` held and at least one was made; the first failed check of
// a proof prints `SELFTEST: FAIL <what> <detail>` (which ends the run red), later ones are counted only.
import { mark } from "../../gen/markers";
import { KERNEL_LINE_BYTES_MAX } from "../../gen/limits";
import { sys_console_line, sys_endpoint_create, sys_recv, sys_time_ns } from "../../gen/syscalls";
import { Writer } from "../../lib/bounded/writer";

const lineBuffer: usize = memory.data(KERNEL_LINE_BYTES_MAX);
const lineWriter: Writer = changetype<Writer>(memory.data(16, 4));
const waitBuffer: usize = memory.data(64, 8);
const waitMeta: usize = memory.data(32, 8);
let what: string = "";
let checks: u32 = 0;
let failures: u32 = 0;
let failuresEver: u32 = 0;
let waitEndpoint: u32 = 0;

/** Begins a proof; `name` appears in its failure line. */
export function proof(name: string): void {
  what = name;
  checks = 0;
  failures = 0;
}

/** True while no check of this proof failed. */
export function holding(): bool {
  return failures == 0;
}

/** Failed checks of all proofs so far. */
export function failedChecks(): u32 {
  return failuresEver;
}

function beginFailure(detail: string): bool {
  failures++;
  failuresEver++;
  if (failures > 1) return false;
  lineWriter.reset(lineBuffer, KERNEL_LINE_BYTES_MAX);
  lineWriter.putText("SELFTEST: FAIL ").putText(what).putText(" ").putText(detail);
  return true;
}

/** Holds, or the proof fails with `detail`. Returns `ok`. */
export function check(ok: bool, detail: string): bool {
  checks++;
  if (!ok && beginFailure(detail)) sys_console_line(<u32>lineBuffer, lineWriter.length);
  return ok;
}

/** `actual` must equal `expected`; both are printed when not. */
export function checkEqual(actual: i64, expected: i64, detail: string): bool {
  checks++;
  if (actual == expected) return true;
  if (beginFailure(detail)) {
    lineWriter.putText(" is ").putSignedDecimal(actual).putText(" not ").putSignedDecimal(expected);
    sys_console_line(<u32>lineBuffer, lineWriter.length);
  }
  return false;
}

/** A result that must not be negative; the error is printed when it is. */
export function checkDone(result: i64, detail: string): bool {
  checks++;
  if (result >= 0) return true;
  if (beginFailure(detail)) {
    lineWriter.putText(" error ").putSignedDecimal(result);
    sys_console_line(<u32>lineBuffer, lineWriter.length);
  }
  return false;
}

/** Ends a proof: prints its marker if everything held. A proof without a check is a failure. */
export function proven(marker: usize): bool {
  if (checks == 0) check(false, "has no check");
  if (failures != 0) return false;
  mark(marker);
  return true;
}

/** Waits `ns` of guest time (0 to limits.kernel wait_max_ns) on an endpoint that nobody sends to. */
export function waitNs(ns: u64): void {
  if (waitEndpoint == 0) {
    const endpoint = sys_endpoint_create(1);
    if (endpoint < 0) {
      check(false, "no endpoint to wait on");
      return;
    }
    waitEndpoint = <u32>endpoint;
  }
  sys_recv(waitEndpoint, <u64>waitBuffer | (<u64>64 << 32), <u32>waitMeta, <u64>sys_time_ns() + ns, 0);
}
