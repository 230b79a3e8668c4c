// SPDX-License-Identifier: Apache-2.0
// Owns: what a raw sample is worth: a value in the gauge's unit, or the reason why there is none.
// Invariant: no blank becomes a value. DCGM's blanks are finite numbers (dcgm_structs.h: 2^47 and up for doubles, 0x7ffffffffffffff0 and
// up for 64-bit integers, and the 32-bit blank in either), and may come with status 0: so status and value are both checked.
// Limits: a sample is 32 bytes; values outside i64 after scaling are refused as bad.
import { DCGMD_SAMPLE_AGE_MAX_NS } from "../../gen/limits";
import { MUT_DCGMD_KEEPS_BLANKS, mutant } from "../../gen/mutants";
import { BRIDGE_VALUE_TYPE_DOUBLE } from "../../lib/wire/bridge";
import { Field } from "./fields";

/** A sample as it lies in a latest_values reply. */
@unmanaged
export class Sample {
  group: u8;
  type: u8;
  fieldId: u16;
  entityId: u32;
  /** DCGM's return code. */
  status: i32;
  reserved: u32;
  /** Host wall time, microseconds. */
  tsUs: i64;
  raw: u64;
}

export const SAMPLE_OK: u32 = 0;
/** The engine has no value: not supported, not permitted, no data yet. */
export const SAMPLE_BLANK: u32 = 1;
export const SAMPLE_STALE: u32 = 2;
/** Another type than the field's, or out of range. */
export const SAMPLE_BAD: u32 = 3;

const BLANK_INT32: i64 = 0x7ffffff0;
const BLANK_INT32_LAST: i64 = 0x7ffffff3;
const BLANK_INT64: i64 = 0x7ffffffffffffff0;
const BLANK_DOUBLE: f64 = 140737488355328.0;
const SCALED_MAX: f64 = 9.0e18;

/** Value of the last sample that judge found SAMPLE_OK, in the field's unit. */
export let sampleValue: i64 = 0;

/** Judges a sample; on SAMPLE_OK the value is in sampleValue. */
export function judge(sample: Sample, field: Field, hostWallNs: u64): u32 {
  const keepsBlanks = mutant(MUT_DCGMD_KEEPS_BLANKS);
  if (sample.status != 0 && !keepsBlanks) return SAMPLE_BLANK;
  if (<u32>sample.type != field.type) return SAMPLE_BAD;
  if (!keepsBlanks && <i64>(hostWallNs / 1000) - sample.tsUs > <i64>(DCGMD_SAMPLE_AGE_MAX_NS / 1000)) return SAMPLE_STALE;
  if (sample.type == BRIDGE_VALUE_TYPE_DOUBLE) return judgeDouble(reinterpret<f64>(sample.raw), field, keepsBlanks);
  const value = <i64>sample.raw;
  if (!keepsBlanks && (value >= BLANK_INT64 || (value >= BLANK_INT32 && value <= BLANK_INT32_LAST))) return SAMPLE_BLANK;
  const limit = i64.MAX_VALUE / field.scale;
  if (!keepsBlanks && (value > limit || value < -limit)) return SAMPLE_BAD;
  sampleValue = value * field.scale;
  return SAMPLE_OK;
}

function judgeDouble(value: f64, field: Field, keepsBlanks: bool): u32 {
  if (isNaN(value)) return SAMPLE_BAD;
  if (value >= BLANK_DOUBLE && !keepsBlanks) return SAMPLE_BLANK;
  const scaled = value * <f64>field.scale;
  if (scaled > SCALED_MAX || scaled < -SCALED_MAX) return SAMPLE_BAD;
  sampleValue = <i64>Math.round(scaled);
  return SAMPLE_OK;
}
