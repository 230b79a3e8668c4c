// SPDX-License-Identifier: Apache-2.0
// The store behind the requests: opening it, what it is refused for, and getting it back after the device failed.
// Invariant: there is one store or none; nothing is ever kept in memory in its place. A refusal has a name and a status and stays until
// REOPEN or a restart; only `io` is tried again by itself: the device is reset and the journal read again, backed off, and counted.
// Limits: limits.statefsd reopen_attempts_max in a row, reopen_backoff_ns doubling; the first mount ends after mount_wait_ns.
import { STATEFSD_REOPEN_ATTEMPTS_MAX, STATEFSD_REOPEN_BACKOFF_NS } from "../../gen/limits";
import {
  MUT_STATEFSD_REFUSES_AS_IO, MUT_STATEFSD_RESTART_UNAVAILABLE, MUT_STATEFSD_TAKES_ANY_SIZE, MUT_STATEFSD_TAKES_FOREIGN, mutant,
} from "../../gen/mutants";
import { sys_counter, sys_time_ns } from "../../gen/syscalls";
import { logError, logInfo, logWarn } from "../../lib/nexus-log/index";
import {
  Disk, S_BLANK, S_FOREIGN, S_KEYS_LIMIT, S_NEWER, S_OK, S_SHRUNK, S_TOO_SMALL, report, storeClose, storeOpen,
} from "../../lib/statefs/index";
import {
  SF_FOREIGN, SF_INTEGRITY, SF_IO, SF_KEYS_LIMIT, SF_NO_FLUSH, SF_NO_SPACE, SF_OK, SF_READ_ONLY, SF_STATS_IO_ERRORS, SF_STATS_REOPENS,
  SF_UNAVAILABLE, SF_UNSUPPORTED,
} from "../../lib/wire/statefsd";
import { countLost, tally } from "./telemetry";

const COUNTER_OWN_GENERATION: u32 = 7;
/** The disk that openDisk fills. */
export const stateDisk: Disk = changetype<Disk>(memory.data(16, 4));

let openDisk: () => u32 = noDisk;
let isReadOnly: () => bool = never;
let status: u32 = SF_UNAVAILABLE;
let name: string = "unavailable";
let readable: bool = false;
let blank: bool = false;
let attempts: u32 = 0;
let reopenAt_ns: u64 = 0;
/** Keys whose value rotted, when they were last looked at. */
let lostKnown: u32 = 0;

function noDisk(): u32 {
  return SF_UNAVAILABLE;
}
function never(): bool {
  return false;
}

/** `open` sets stateDisk and returns SF_OK, or the status that the store is refused with; `readOnly` tells of the disk just opened. */
export function backingUse(open: () => u32, readOnly: () => bool): void {
  openDisk = open;
  isReadOnly = readOnly;
}

/** What a write is answered with now: SF_OK, or why there is none. */
export function writeStatus(): u32 {
  if (mutant(MUT_STATEFSD_REFUSES_AS_IO) && status != SF_OK) return SF_IO;
  return status;
}
/** What a read is answered with now. */
export function readStatus(): u32 {
  return readable ? <u32>SF_OK : status;
}
/** A read-only disk on which nothing was ever stored: there is nothing to find. */
export function backingBlank(): bool {
  return blank;
}
/** The state's name: `ready`, or what it is refused for. */
export function backingName(): string {
  return name;
}
/** When the next attempt to get the store back is due (guest ns), 0 for none. */
export function reopenDue_ns(): u64 {
  return reopenAt_ns;
}

function restarted(): bool {
  return sys_counter(COUNTER_OWN_GENERATION) > 1;
}

/** Opens the disk and reads the journal. */
export function mount(): void {
  readable = false;
  blank = false;
  const opened = mutant(MUT_STATEFSD_RESTART_UNAVAILABLE) && restarted() ? <u32>SF_UNAVAILABLE : openDisk();
  if (opened == SF_OK) settle(storeOpen(stateDisk, isReadOnly()));
  else refuse(opened, nameOfDevice(opened));
}

function settle(outcome: i32): void {
  reopenAt_ns = 0;
  if (mutant(MUT_STATEFSD_TAKES_FOREIGN) && outcome == S_FOREIGN) outcome = S_OK;
  if (mutant(MUT_STATEFSD_TAKES_ANY_SIZE) && outcome == S_TOO_SMALL) outcome = S_OK;
  if (outcome == S_OK || outcome == S_BLANK) {
    readable = true;
    blank = outcome == S_BLANK;
    attempts = 0;
    if (isReadOnly()) return refuse(SF_READ_ONLY, "read_only");
    status = SF_OK;
    name = "ready";
    return sayRecovery();
  }
  storeClose();
  if (outcome == S_FOREIGN) return refuse(SF_FOREIGN, "foreign");
  if (outcome == S_NEWER) return refuse(SF_UNSUPPORTED, "newer");
  if (outcome == S_SHRUNK) return refuse(SF_INTEGRITY, "shrunk");
  if (outcome == S_TOO_SMALL) return refuse(SF_NO_SPACE, "too_small");
  if (outcome == S_KEYS_LIMIT) return refuse(SF_KEYS_LIMIT, "keys_limit");
  refuse(SF_IO, "io");
  again();
}

function nameOfDevice(why: u32): string {
  if (why == SF_NO_FLUSH) return "no_flush";
  return why == SF_UNSUPPORTED ? "block_size" : "unavailable";
}

function refuse(why: u32, called: string): void {
  status = why;
  name = called;
  logWarn("statefsd").text("refused").field("state", called).end();
}

// What recovery dropped behind a bad record was never acknowledged, or the device lied: either way it is said.
function sayRecovery(): void {
  const line = report.badKind == 0 ? logInfo("statefsd") : logError("statefsd");
  line.text("recovered").fieldDec("records", report.recordsKept).fieldDec("keys", report.liveKeys);
  line.fieldDec("dropped_bytes", report.bytesDropped).fieldDec("bad_kind", report.badKind).fieldDec("bad_sector", report.badSector);
  line.fieldDec("groups_behind", report.groupsBehind).fieldDec("dropped_records", report.recordsDropped);
  line.fieldDec("superblocks", report.superblocks).end();
  countLost(report.groupsBehind);
  noteLosses();
}

/** Counts and reports keys whose value was found rotten since the last look, by recovery or by a compaction. */
export function noteLosses(): void {
  const now = report.lostKeys;
  if (now > lostKnown) {
    countLost(now - lostKnown);
    logError("statefsd").text("values lost").fieldDec("new", now - lostKnown).fieldDec("keys", now).end();
  }
  lostKnown = now;
}

/** The device failed under the store: everything is refused with SF_IO until the journal was read again. */
export function backingFailed(): void {
  tally(SF_STATS_IO_ERRORS);
  readable = false;
  storeClose();
  refuse(SF_IO, "io");
  again();
}

function again(): void {
  if (attempts == STATEFSD_REOPEN_ATTEMPTS_MAX) return;
  reopenAt_ns = <u64>sys_time_ns() + (<u64>STATEFSD_REOPEN_BACKOFF_NS << attempts);
  attempts++;
}

/** Tries to get the store back, if it is time. */
export function reopenIfDue(now_ns: u64): void {
  if (reopenAt_ns == 0 || now_ns < reopenAt_ns) return;
  tally(SF_STATS_REOPENS);
  mount();
}

/** REOPEN: everything anew, whatever the state; the caller has made durable what was staged. */
export function remount(): void {
  attempts = 0;
  tally(SF_STATS_REOPENS);
  storeClose();
  mount();
}
