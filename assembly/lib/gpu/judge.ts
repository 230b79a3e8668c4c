// SPDX-License-Identifier: Apache-2.0
// Owns: what a sample is worth: a value, or the reason why there is none; and the tally of both.
// Invariant: DCGM's blanks are finite numbers (dcgm_structs.h: 2^47 and up for doubles, 0x7ffffffffffffff0 and up for 64-bit integers, and
// the 32-bit blank in either), and may come with status 0: so status and value are both checked. Nothing here changes a series.
// Limits: values beyond VALUE_MAX after scaling are bad. A code keeps its time for ever: it is never stale.
import { FieldRow, KIND_GAUGE, KIND_LAST, PointRow } from "./tables";

/** A sample as it lies in a latest_values reply (docs/format/bridge.md). */
@unmanaged
export class GpuSample {
  group: u8;
  type: u8;
  fieldId: u16;
  entityId: u32;
  /** DCGM's return code. */
  status: i32;
  kind: u32;
  /** Host wall time, us. */
  tsUs: i64;
  raw: u64;
}

/** What a scrape counted. Samples are the sum of values, blanks, unsupported, denied, stale, errors, bad and homeless. */
@unmanaged
export class GpuTally {
  samples: u32;
  values: u32;
  /** No data (yet), not watched. */
  blanks: u32;
  unsupported: u32;
  /** Not permitted. */
  denied: u32;
  stale: u32;
  /** The engine failed, or the entity is lost or gone. */
  errors: u32;
  /** Another type or kind than the field's, not a number, out of range, from the future, twice. */
  bad: u32;
  /** Of an entity or field that was not asked for, or of an entity that has no value of its own for it. */
  homeless: u32;
  /** Series emitted, and refused by budgets, cap or room. */
  series: u32;
  dropped: u32;
  /** Series left out because another field had the better value. */
  replaced: u32;
  xidEdges: u32;
  /** Of the errors: the entity is not there (any more). */
  gone: u32;
}
export const gpuTally: GpuTally = changetype<GpuTally>(memory.data(56, 4));

export const JUDGED_VALUE: u32 = 0;
export const JUDGED_BLANK: u32 = 1;
export const JUDGED_UNSUPPORTED: u32 = 2;
export const JUDGED_DENIED: u32 = 3;
export const JUDGED_STALE: u32 = 4;
export const JUDGED_ERROR: u32 = 5;
export const JUDGED_GONE: u32 = 6;
export const JUDGED_BAD: u32 = 7;

const TYPE_INT64: u8 = 105;
const BLANK_INT32: u64 = 0x7ffffff0;
const BLANK_INT64: u64 = 0x7ffffffffffffff0;
const BLANK_DOUBLE: f64 = 140737488355328.0;
const BLANK_UNSUPPORTED: u32 = 2;
const BLANK_DENIED: u32 = 3;
const VALUE_MAX: f64 = 9.0e18;

/** Of the last sample that was a value: raw bits, and raw * mul / div. */
export let judgedRaw: u64 = 0;
export let judgedValue: f64 = 0;
let wallUs: i64 = 0;
let staleUs: i64 = 0;
let futureUs: i64 = 0;

export function setJudgeTimes(wall: i64, stale: i64, future: i64): void {
  wallUs = wall;
  staleUs = stale;
  futureUs = future;
}

/** Judges a sample of a field; on JUDGED_VALUE, judgedRaw and judgedValue are set. */
export function judge(sample: GpuSample, row: FieldRow, point: PointRow): u32 {
  if (sample.status != 0) return judgeStatus(sample.status);
  if (sample.type != row.type || sample.kind != <u32>row.kind) return JUDGED_BAD;
  const raw = sample.raw;
  let value: f64;
  if (sample.type == TYPE_INT64) {
    if (<i64>raw >= <i64>BLANK_INT64 || raw - BLANK_INT32 < 4) return blank(<u32>raw & 15);
    if (<i64>raw < 0 && row.kind != KIND_GAUGE) return JUDGED_BAD;
    value = <f64><i64>raw;
  } else {
    value = reinterpret<f64>(raw);
    if (!isFinite(value)) return JUDGED_BAD;
    if (value >= BLANK_DOUBLE) return blank(<u32>min(value - BLANK_DOUBLE, 15.0));
    if (value < 0 && row.kind != KIND_GAUGE) return JUDGED_BAD;
  }
  value = value * point.mul / point.div;
  if (value > VALUE_MAX || value < -VALUE_MAX) return JUDGED_BAD;
  const age = wallUs - sample.tsUs;
  if (sample.tsUs <= 0 || age < -futureUs) return JUDGED_BAD;
  if (age > staleUs && row.kind != KIND_LAST) return JUDGED_STALE;
  if (row.kind == KIND_LAST && raw > 0xffffffff) return JUDGED_BAD;
  judgedRaw = raw;
  judgedValue = value;
  return JUDGED_VALUE;
}

function blank(kind: u32): u32 {
  if (kind == BLANK_UNSUPPORTED) return JUDGED_UNSUPPORTED;
  return kind == BLANK_DENIED ? JUDGED_DENIED : JUDGED_BLANK;
}

/** DCGM's return codes (dcgm_structs.h, dcgmReturn_t). */
function judgeStatus(status: i32): u32 {
  switch (status) {
    case -9: // pending
    case -14: // no data
    case -16: // not watched
      return JUDGED_BLANK;
    case -15:
      return JUDGED_STALE;
    case -6: // not supported
    case -13: // unknown field
    case -20: // not in this driver
    case -32: // another type in this release
    case -34: // profiling is in use by another tool
    case -36: // no profiling on this GPU
    case -37: // no profiling library
    case -38: // needs several passes
      return JUDGED_UNSUPPORTED;
    case -17:
    case -29:
      return JUDGED_DENIED;
    case -5: // unknown entity
    case -18: // GPU lost
    case -22: // unsupported GPU
    case -45: // no such GPU instance
    case -46: // no such compute instance
      return JUDGED_GONE;
    default:
      return JUDGED_ERROR;
  }
}

/** Counts a verdict. */
@inline
export function countVerdict(verdict: u32): void {
  if (verdict == JUDGED_VALUE) gpuTally.values++;
  else countOther(verdict);
}
function countOther(verdict: u32): void {
  if (verdict == JUDGED_BLANK) gpuTally.blanks++;
  else if (verdict == JUDGED_UNSUPPORTED) gpuTally.unsupported++;
  else if (verdict == JUDGED_DENIED) gpuTally.denied++;
  else if (verdict == JUDGED_STALE) gpuTally.stale++;
  else if (verdict == JUDGED_BAD) gpuTally.bad++;
  else gpuTally.errors++;
  if (verdict == JUDGED_GONE) gpuTally.gone++;
}
