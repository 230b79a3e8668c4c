// SPDX-License-Identifier: Apache-2.0
// Segments of the raw log on /state: which there are, in which slot, which record comes next, and which segment goes.
//
// Invariant: numbers rise by one a segment and are never used again; a record is written under its key once (the same bytes again after
// a failure apart); a slot is used again only after every key of the segment before was deleted and that deletion was settled.
// With max_segments = N: N - 1 segments are kept whole (the last of them may be partly filled), one more is being deleted.
// Limits: limits.metricsd retention_segments_max; the recipe's max_segments and max_records_per_segment.
import { METRICSD_RETENTION_SEGMENTS_MAX } from "../../../gen/limits";
import { MUT_METRICSD_WAL_NEVER_ROTATES, mutant } from "../../../gen/mutants";
import { SEGMENTS, SEGMENT_RECORDS, limit32 } from "../limits";
import { jobsSettled } from "./jobs";

@unmanaged
export class Segment {
  /** Start of its first and of its last raw interval. */
  first_ns: u64;
  last_ns: u64;
  /** Ordinal before which its deletions are settled, while it is being deleted. */
  settles: u64;
  number: u32;
  slot: u32;
  /** Records [from, records) are there, but for those that were lost. */
  from: u32;
  records: u32;
}
const SEGMENT_BYTES: u32 = 40;
/** Oldest first. */
const table: usize = memory.data(METRICSD_RETENTION_SEGMENTS_MAX * 40, 8);
let count: u32 = 0;
let nextNumber: u32 = 0;
let dropped: u32 = 0;

export function segmentCount(): u32 {
  return count;
}
@inline export function segmentAt(position: u32): Segment {
  return changetype<Segment>(table + position * SEGMENT_BYTES);
}
/** Segments deleted since start. */
export function segmentsDropped(): u32 {
  return dropped;
}
/** Number of the segment that is written, and how many records it has; 0 and 0 before the first. */
export function segmentNow(): u32 {
  return count == 0 ? nextNumber : segmentAt(count - 1).number;
}
export function segmentRecordsNow(): u32 {
  return count == 0 ? 0 : segmentAt(count - 1).records;
}
/** Position of a segment by its number, or -1. */
export function findSegment(number: u32): i32 {
  for (let i: u32 = 0; i < count; i++) if (segmentAt(i).number == number) return <i32>i;
  return -1;
}

/** A segment that recovery found; called in the order of their numbers. */
export function recoverSegment(number: u32, slot: u32, from: u32, records: u32, first_ns: u64, last_ns: u64): void {
  assert(count < METRICSD_RETENTION_SEGMENTS_MAX);
  const s = segmentAt(count);
  s.number = number;
  s.slot = slot;
  s.from = from;
  s.records = records;
  s.first_ns = first_ns;
  s.last_ns = last_ns;
  s.settles = 0;
  count += 1;
  nextNumber = number + 1;
}

function slotTaken(slot: u32): bool {
  for (let i: u32 = 0; i < count; i++) if (segmentAt(i).slot == slot) return true;
  return false;
}

/** Makes sure that the last segment takes one more record, of the interval at start_ns; false when no slot is free for a new one yet. */
export function roomForRecord(start_ns: u64): bool {
  if (count != 0) {
    const most: u32 = mutant(MUT_METRICSD_WAL_NEVER_ROTATES) ? 9999 : limit32(SEGMENT_RECORDS);
    if (segmentAt(count - 1).records < most) return true;
  }
  if (count >= limit32(SEGMENTS)) return false;
  for (let slot: u32 = 0; slot < limit32(SEGMENTS); slot++) {
    if (slotTaken(slot)) continue;
    recoverSegment(nextNumber, slot, 0, 0, start_ns, start_ns);
    return true;
  }
  return false;
}

/** Takes the next record's number in the last segment; roomForRecord said yes. */
export function takeRecord(start_ns: u64): u32 {
  const s = segmentAt(count - 1);
  s.last_ns = start_ns;
  s.records += 1;
  return s.records - 1;
}

/** The segment that goes: the oldest, once there are as many as the recipe allows; null when none does. */
export function segmentToDrop(): Segment | null {
  return count >= limit32(SEGMENTS) && count > 1 ? segmentAt(0) : null;
}

/** Forgets the oldest segment when all of it was deleted and that is settled. */
export function forgetDropped(): void {
  const s = segmentToDrop();
  if (s === null || s.from < s.records || !jobsSettled(s.settles)) return;
  memory.copy(table, table + SEGMENT_BYTES, (count - 1) * SEGMENT_BYTES);
  count -= 1;
  dropped += 1;
}
