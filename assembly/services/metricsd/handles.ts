// SPDX-License-Identifier: Apache-2.0
// Series handles: index | generation << 16, and the check of a batch against them.
//
// Invariant: a handle is good only for the sender that registered it and only while this metricsd runs: after a restart the
// generation differs, so an old handle is refused (stale_handle) instead of hitting another series.
// Limit: 2^16 generations and indices; limits.metricsd series_max is far below.
import { sys_counter } from "../../gen/syscalls";
import { SeriesHandle } from "../../lib/nexus-ipc/types";
import { MT_INVALID_ARGS, MT_ITEM_BYTES, MT_OK, MT_STALE_HANDLE } from "../../lib/wire/metricsd";
import { ORIGIN_UNCLAIMED, apply, seriesAt, seriesUsed, valueFits } from "./registry";

const COUNTER_OWN_GENERATION: u32 = 7;
const generation: u32 = <u32>sys_counter(COUNTER_OWN_GENERATION) & 0xffff;

export function ownGeneration(): u32 {
  return generation;
}
export function seriesHandle(index: u32): SeriesHandle {
  return SeriesHandle.of(index | (generation << 16));
}
@inline function indexOf(handle: SeriesHandle): u32 {
  return handle.raw & 0xffff;
}
@inline function generationOf(handle: SeriesHandle): u32 {
  return handle.raw >> 16;
}

/** Index of the series behind a handle of anybody's, or -1. */
export function seriesOfHandle(handle: SeriesHandle): i32 {
  if (generationOf(handle) != generation || indexOf(handle) >= seriesUsed()) return -1;
  return <i32>indexOf(handle);
}

/** Index of the first bad item of the last batch that was refused. */
export let badItem: u32 = 0;

/** Checks every item, then applies every item: all or nothing. `items` are {handle u32, value u64}, `count` of them. */
export function applyBatch(sender: u64, items: usize, count: u32): u8 {
  const used = seriesUsed();
  let at = items;
  const end = items + count * MT_ITEM_BYTES;
  for (; at < end; at += MT_ITEM_BYTES) {
    const handle = SeriesHandle.of(load<u32>(at));
    const index = indexOf(handle);
    if (generationOf(handle) != generation || index >= used) return refuse(at - items, MT_STALE_HANDLE);
    const s = seriesAt(index);
    if (s.sender != sender || s.origin == ORIGIN_UNCLAIMED) return refuse(at - items, MT_STALE_HANDLE);
    if (!valueFits(s.kind, load<u64>(at, 4))) return refuse(at - items, MT_INVALID_ARGS);
  }
  for (at = items; at < end; at += MT_ITEM_BYTES) apply(indexOf(SeriesHandle.of(load<u32>(at))), load<u64>(at, 4));
  return MT_OK;
}

function refuse(offset: usize, status: u8): u8 {
  badItem = <u32>offset / MT_ITEM_BYTES;
  return status;
}
