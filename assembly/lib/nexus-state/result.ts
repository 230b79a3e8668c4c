// SPDX-License-Identifier: Apache-2.0
// What every call of nexus-state returns: 0 or more is success (a length where there is one), anything negative is none.
// Invariant: a refusal by statefsd is STATE_REFUSED with its status in stateStatus(); every other failure is a kernel error
// (abi/errors.toml), REPLY_*, RESOLVE_REFUSED or REQUEST_TOO_LARGE of nexus-ipc, or one of these.

/** statefsd answered with a status other than OK: see stateStatus. */
export const STATE_REFUSED: i32 = -180;
/** A reply whose head is right and whose body is not. */
export const STATE_BROKEN: i32 = -181;
/** The value is longer than the caller's buffer. */
export const STATE_TOO_LARGE: i32 = -182;
/** The value was replaced while it was read in pieces, more often than limits.state_client read_attempts. */
export const STATE_CHANGED: i32 = -183;
// -184: STATE_WINDOW_FULL (writer.ts).
/** Said once by stateSync: the statefsd that had accepted LAZY batches over this route ended before a SYNC covered them. They may be lost:
 *  put again what they held, and SYNC again. */
export const STATE_LOST: i32 = -185;

let statusLast: u32 = 0;
let sequenceLast: u64 = 0;

/** Status (SF_*) of statefsd's last answer. */
export function stateStatus(): u32 {
  return statusLast;
}
/** Sequence number in statefsd's last OK to a write or SYNC. */
export function stateSequence(): u64 {
  return sequenceLast;
}

/** For the other files of nexus-state alone. */
export function noteStatus(status: u32): void {
  statusLast = status;
}
/** For the other files of nexus-state alone. */
export function noteSequence(sequence: u64): void {
  sequenceLast = sequence;
}
