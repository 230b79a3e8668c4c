// SPDX-License-Identifier: Apache-2.0
// Garbage collection of what retention keeps on /state: the oldest segment, and roll-up windows whose time is over.
//
// Invariant: a step deletes at most gc_batch keys of the raw log and of each roll-up level, oldest first, in one job; which keys follows
// from the clock and the recipe alone. A raw record goes only after the state of its series stands in a younger one (mayDropSegment).
// Limits: the recipe's gc_batch; one step a raw interval.
import { GC_BATCH, limit32 } from "../limits";
import { mayDropSegment } from "./close";
import { addDelete, beginDeletes, endDeletes, jobFree, nextJob } from "./jobs";
import { rawKey, rollupKey } from "./keys";
import { forgetDropped, segmentToDrop } from "./segments";
import { forgetWindow, windowToDrop } from "./windows";

/** Whether a step would find something to do at this retention time. */
export function gcWaits(now_ns: u64): bool {
  const going = segmentToDrop();
  if (going !== null && mayDropSegment()) return true;
  return windowToDrop(1, now_ns) !== null || windowToDrop(2, now_ns) !== null;
}

/** One step. */
export function gcStep(now_ns: u64): void {
  forgetDropped();
  if (!jobFree() || !gcWaits(now_ns) || !beginDeletes()) return;
  dropRaw();
  dropWindows(1, now_ns);
  dropWindows(2, now_ns);
  endDeletes();
}

function dropRaw(): void {
  const s = segmentToDrop();
  if (s === null || !mayDropSegment()) return;
  for (let n: u32 = 0; n < limit32(GC_BATCH) && s.from < s.records; n++) {
    const key = rawKey(s.slot, s.from);
    if (!addDelete(key.base, key.length)) return;
    s.from += 1;
    s.settles = nextJob() + 1;
  }
}

function dropWindows(level: u32, now_ns: u64): void {
  let left = limit32(GC_BATCH);
  while (left != 0) {
    const w = windowToDrop(level, now_ns);
    if (w === null) return;
    const key = rollupKey(level, w.number, <u32>w.deleted);
    if (!addDelete(key.base, key.length)) return;
    left -= 1;
    w.deleted += 1;
    if (w.deleted == w.parts) forgetWindow(level);
  }
}
