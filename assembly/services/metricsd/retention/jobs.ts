// SPDX-License-Identifier: Apache-2.0
// What waits to be written to /state: a ring of jobs, each one BATCH frame (a record to put, or keys to delete), sent without waiting.
//
// Invariant: a job leaves the ring once: acknowledged by statefsd (then it is durable), or given up and counted as lost after the
// recipe's retries. Which of the two is known before anything that depends on it happens (jobsSettled). Nothing here waits.
// Limits: limits.metricsd retention_pending_max jobs; nexus-state's window of frames in flight. While statefsd is away jobs stay where
// they are; once the ring is full a new record is refused and counted by its maker.
import { METRICSD_RETENTION_PENDING_MAX, METRICSD_RETENTION_POLL_MAX_NS, METRICSD_RETENTION_POLL_NS } from "../../../gen/limits";
import {
  MUT_METRICSD_RETENTION_FORGETS_FAILURE, MUT_METRICSD_RETENTION_GIVES_UP, MUT_METRICSD_RETENTION_IN_MEMORY, mutant,
} from "../../../gen/mutants";
import { Route } from "../../../lib/nexus-ipc/resolve";
import {
  STATE_NO_ANSWER, stateBatchBegin, stateBatchDel, stateBatchPut, stateWriterFree, stateWriterSend, stateWriterTake,
} from "../../../lib/nexus-state/index";
import { SF_NOT_FOUND, SF_OK } from "../../../lib/wire/statefsd";

/** What a job holds. */
export const JOB_RAW: u32 = 0;
export const JOB_ROLLUP: u32 = 1;
export const JOB_DELETE: u32 = 2;

/** The way to statefsd; resolved by name, again after its restart. */
export const state: Route = changetype<Route>(memory.data(8, 4));

/** Head of a job; behind it the key and the value, or the keys, each with a length byte. */
@unmanaged
class Job {
  /** 0: free or done. */
  used: u32;
  kind: u32;
  tries: u32;
  /** nexus-state's token while in flight, else 0. */
  token: u32;
  keyLen: u32;
  valueLen: u32;
  /** Bytes of keys to delete, and how many. */
  keysLen: u32;
  keys: u32;

  @inline get data(): usize {
    return changetype<usize>(this) + 32;
  }
}
const JOB_BYTES: u32 = 8192;
const DATA_BYTES: u32 = JOB_BYTES - 32;
const ring: usize = memory.data(METRICSD_RETENTION_PENDING_MAX * 8192, 8);
/** Ordinals: [settled, made) are in the ring. */
let settled: u64 = 0;
let made: u64 = 0;
let poll_ns: u64 = 0;
let due_ns: u64 = 0;
let rawTries: u32 = 1;
let rollupTries: u32 = 1;

let acknowledgedRaw: u64 = 0;
let acknowledgedRollups: u64 = 0;
let keysDeleted: u64 = 0;
let failures: u64 = 0;
let lost: u64 = 0;
let lostRaw: u64 = 0;
let statusLast: u32 = 0;
/** The mutant's alone: it gives up at the first restart of statefsd after so many records, which is the one that its canary is about. */
const GIVES_UP_AFTER: u64 = 8;
let gaveUp: bool = false;

export function recordsAcknowledged(): u64 {
  return acknowledgedRaw;
}
export function rollupsAcknowledged(): u64 {
  return acknowledgedRollups;
}
export function deletionsAcknowledged(): u64 {
  return keysDeleted;
}
/** Frames answered with a refusal, or never. */
export function writeFailures(): u64 {
  return failures;
}
/** Jobs given up. */
export function jobsLost(): u64 {
  return lost;
}
/** Raw records given up: the series' state has to be written again. */
export function rawJobsLost(): u64 {
  return lostRaw;
}
/** Status of the last answer that was no OK; STATE_NO_ANSWER for none. */
export function lastWriteStatus(): u32 {
  return statusLast;
}
export function jobsWaiting(): u32 {
  return <u32>(made - settled);
}

/** How often a failed frame is sent again: raw records and deletions, roll-ups. */
export function jobRetries(raw: u32, rollup: u32): void {
  rawTries = raw;
  rollupTries = rollup;
}

@inline function jobAt(ordinal: u64): Job {
  return changetype<Job>(ring + <usize>(<u32>(ordinal % METRICSD_RETENTION_PENDING_MAX) * JOB_BYTES));
}

/** Whether one more job may be made. */
export function jobFree(): bool {
  return made - settled < METRICSD_RETENTION_PENDING_MAX;
}
/** Ordinal that the next job will get. */
export function nextJob(): u64 {
  return made;
}
/** Whether every job before this ordinal is acknowledged or lost. */
export function jobsSettled(ordinal: u64): bool {
  return settled >= ordinal;
}

/** Begins a record: the address of a buffer for its value of at most retention_record_bytes_max bytes, or 0 when the ring is full. */
export function beginRecord(): usize {
  if (!jobFree()) return 0;
  const job = jobAt(made);
  memory.fill(changetype<usize>(job), 0, 32);
  // The key stands behind the value's room, at the end of the slot.
  return job.data;
}

/** Ends the record begun last: it will be put under the key. */
export function endRecord(kind: u32, valueLen: u32, key: usize, keyLen: u32): void {
  const job = jobAt(made);
  assert(valueLen + keyLen <= DATA_BYTES);
  memory.copy(job.data + valueLen, key, keyLen);
  job.used = 1;
  job.kind = kind;
  job.valueLen = valueLen;
  job.keyLen = keyLen;
  made += 1;
}

/** Begins a job of deletions; false when the ring is full. */
export function beginDeletes(): bool {
  if (!jobFree()) return false;
  memory.fill(changetype<usize>(jobAt(made)), 0, 32);
  return true;
}
/** Adds a key to it; false when it is full. */
export function addDelete(key: usize, keyLen: u32): bool {
  const job = jobAt(made);
  if (job.keysLen + 1 + keyLen > DATA_BYTES / 2) return false;
  const at = job.data + job.keysLen;
  store<u8>(at, <u8>keyLen);
  memory.copy(at + 1, key, keyLen);
  job.keysLen += 1 + keyLen;
  job.keys += 1;
  return true;
}
/** Ends it; a job without keys is none. */
export function endDeletes(): void {
  const job = jobAt(made);
  if (job.keys == 0) return;
  job.used = 1;
  job.kind = JOB_DELETE;
  made += 1;
}

/** Sends what may be sent and takes what was answered. */
export function pumpJobs(now_ns: u64): void {
  if (settled == made) return;
  const before = settled;
  stateWriterTake(state, onAnswer);
  retire();
  for (let n = settled; n < made && stateWriterFree(); n++) {
    const job = jobAt(n);
    if (!job.used || job.token != 0) continue;
    if (mutant(MUT_METRICSD_RETENTION_IN_MEMORY)) {
      finish(job);
      continue;
    }
    if (gaveUp) break;
    fill(job);
    const token = stateWriterSend(state, false);
    if (token < 0 && acknowledgedRaw > GIVES_UP_AFTER && mutant(MUT_METRICSD_RETENTION_GIVES_UP)) gaveUp = true;
    if (token < 0) break;
    job.token = <u32>token;
  }
  poll_ns = settled != before || poll_ns == 0 ? METRICSD_RETENTION_POLL_NS : min<u64>(poll_ns << 1, METRICSD_RETENTION_POLL_MAX_NS);
  due_ns = settled == made ? 0 : now_ns + poll_ns;
}

/** When pumpJobs should run again: 0 for never, 1 for at once. */
export function pumpDue_ns(): u64 {
  return settled == made ? 0 : max<u64>(due_ns, 1);
}

function fill(job: Job): void {
  stateBatchBegin();
  if (job.kind != JOB_DELETE) {
    assert(stateBatchPut(job.data + job.valueLen, job.keyLen, job.data, job.valueLen));
    return;
  }
  let at = job.data;
  for (let i: u32 = 0; i < job.keys; i++) {
    const keyLen = <u32>load<u8>(at);
    assert(stateBatchDel(at + 1, keyLen));
    at += 1 + keyLen;
  }
}

function onAnswer(token: u32, status: u32, sequence: u64): void {
  for (let n = settled; n < made; n++) {
    const job = jobAt(n);
    if (!job.used || job.token != token) continue;
    job.token = 0;
    // A deletion that found nothing left to delete is done: its first sending was committed, or the record was never written.
    const done = status == SF_OK || (status == SF_NOT_FOUND && job.kind == JOB_DELETE);
    if (done) finish(job);
    else fail(job, status);
    return;
  }
}

function finish(job: Job): void {
  job.used = 0;
  if (job.kind == JOB_RAW) acknowledgedRaw += 1;
  else if (job.kind == JOB_ROLLUP) acknowledgedRollups += 1;
  else keysDeleted += job.keys;
}

function fail(job: Job, status: u32): void {
  statusLast = status;
  if (!mutant(MUT_METRICSD_RETENTION_FORGETS_FAILURE)) failures += 1;
  job.tries += 1;
  // Without an answer nobody knows: the same bytes under the same key again do no harm, and statefsd may be back.
  if (job.tries <= (job.kind == JOB_ROLLUP ? rollupTries : rawTries)) return;
  job.used = 0;
  lost += 1;
  if (job.kind == JOB_RAW) lostRaw += 1;
}

function retire(): void {
  while (settled < made && !jobAt(settled).used) settled += 1;
}

export { STATE_NO_ANSWER };
