// SPDX-License-Identifier: Apache-2.0
// Owns: whether the receiver is degraded, by which kind of failure, and which failures still have to be said.
// Invariant: every failure is counted by its kind; `degraded` is emitted only when it changes, with the proximate kind. A failure is
// logged the first time of its kind since the last recovery, and again after limits.dcgmd warn_again_ns: the gate is a set of kinds, so
// that kinds in turn (K1, K2, K1, ...) log once each. Limits: DG_KINDS kinds (abi/bridge.toml [[receiver_kind]]).
import { DCGMD_WARN_AGAIN_NS } from "../../gen/limits";
import { MUT_DCGMD_HIDES_DEGRADED, mutant } from "../../gen/mutants";
import { sys_time_ns } from "../../gen/syscalls";
import { DG_KINDS, DG_KIND_NONE } from "../../lib/wire/dcgmd";
import { logDegraded, logFailure, logRecovered } from "./records";
import { selfDegraded, selfError } from "./self";

/** Failures since start, one u64 a kind; index 0 is unused. */
const counts: usize = memory.data((9 + 1) * 8, 8);
/** Failures of a kind that its record did not show yet. */
const silent: usize = memory.data((9 + 1) * 8, 8);
/** When a kind was logged last, guest ns; 0: not since the last recovery. */
const loggedNs: usize = memory.data((9 + 1) * 8, 8);
let degradedNow: bool = false;
let kindNow: u8 = DG_KIND_NONE;

/** Name of a kind, as label and in records. */
export function kindName(kind: u8): string {
  if (kind == 1) return "init";
  if (kind == 2) return "connect";
  if (kind == 3) return "watch";
  if (kind == 4) return "mig";
  if (kind == 5) return "enumerate";
  if (kind == 6) return "read";
  if (kind == 7) return "cardinality";
  if (kind == 8) return "downstream";
  return kind == 9 ? "panic" : "none";
}

export function failuresOf(kind: u8): u64 {
  return load<u64>(counts + (<usize>kind << 3));
}
export function isDegraded(): bool {
  return degradedNow;
}
/** The kind that degraded the receiver, while it is; DG_KIND_NONE otherwise. */
export function degradedKind(): u8 {
  return kindNow;
}

/** Counts a failure that does not degrade; `detail` is the number that says why (a status, an outcome, how many). */
export function countFailure(kind: u8, detail: i64): void {
  assert(kind != DG_KIND_NONE && <u32>kind <= DG_KINDS);
  store<u64>(counts + (<usize>kind << 3), failuresOf(kind) + 1);
  selfError(kind);
  const at = <usize>kind << 3;
  const now = <u64>sys_time_ns();
  const last = load<u64>(loggedNs + at);
  if (last != 0 && now - last < DCGMD_WARN_AGAIN_NS) {
    store<u64>(silent + at, load<u64>(silent + at) + 1);
    return;
  }
  logFailure(kindName(kind), detail, load<u64>(silent + at));
  store<u64>(loggedNs + at, max<u64>(now, 1));
  store<u64>(silent + at, 0);
}

/** Counts a failure after which nothing can be read: the receiver is degraded until `recover`. */
export function degrade(kind: u8, detail: i64): void {
  countFailure(kind, detail);
  if (mutant(MUT_DCGMD_HIDES_DEGRADED)) return;
  if (degradedNow && kindNow == kind) return;
  const changed = !degradedNow;
  degradedNow = true;
  kindNow = kind;
  if (!changed) return;
  selfDegraded(true);
  logDegraded(kindName(kind), detail);
}

/** A scrape succeeded: re-arms the gate of the kinds, and says so when the receiver was degraded. */
export function recover(): void {
  if (!degradedNow) return;
  logRecovered(kindName(kindNow));
  degradedNow = false;
  kindNow = DG_KIND_NONE;
  memory.fill(loggedNs, 0, (DG_KINDS + 1) * 8);
  memory.fill(silent, 0, (DG_KINDS + 1) * 8);
  selfDegraded(false);
}
