// SPDX-License-Identifier: Apache-2.0
// Capabilities: what a service may name. Each thread has 64 slots of {handle, rights, kind, object, generation}. A handle is
// slot | slot_generation << 8, stored whole, so one compare finds a closed or forged one (bit 31 stays clear: reply handles
// have it). The object's generation is kept too: a peer
// that ended answers `dead`.
//
// Rights: SEND 1, RECV 2, CLONE 4, GRANT 8, and bits from 16 up that the kernel only carries: they reach the receiver as the badge.

import { KERNEL_HANDLES_PER_THREAD } from "../gen/limits";
import { E_NO_SLOT } from "../gen/errors";
import { CAPS, CAP_BYTES } from "./layout";
import { Thread } from "./thread";

export const RIGHT_SEND: u32 = 1;
export const RIGHT_RECV: u32 = 2;
export const RIGHT_CLONE: u32 = 4;
export const RIGHT_GRANT: u32 = 8;
/** Asks for a protected operation of the receiver (logd QUERY, metricsd SNAPSHOT). */
export const RIGHT_QUERY: u32 = 16;

/** Fixed slots end here; received capabilities land from here up. */
export const FIXED_SLOTS: u32 = 10;
const SLOT_BITS: u32 = 8;

export const KIND_ENDPOINT: u32 = 1;
export const KIND_DEVICE: u32 = 2;

@unmanaged
export class Cap {
  /** The handle that names this slot now; also set while the slot is empty (kind 0): the next one that it will have. */
  handle: u32;
  rights: u16;
  /** 0 while the slot is empty. */
  kind: u16;
  /** Endpoint or device offset. */
  object: u32;
  generation: u32;
}

const TABLE_BYTES: u32 = KERNEL_HANDLES_PER_THREAD * CAP_BYTES;

@inline export function cap_at(index: u32, slot: u32): Cap {
  return changetype<Cap>(CAPS + index * TABLE_BYTES + slot * CAP_BYTES);
}

/** The slot that a handle names, or null; kind is 0 where it is empty. */
@inline export function cap_find(t: Thread, handle: u32): Cap {
  const cap = cap_at(t.index, handle & (KERNEL_HANDLES_PER_THREAD - 1));
  if (cap.handle != handle) return changetype<Cap>(0);
  return cap;
}

/** Puts a capability into a free slot from 10 up (below lie the fixed slots of abi/slots.toml); returns the handle or no_slot. */
export function cap_insert(t: Thread, kind: u32, rights: u32, object: u32, generation: u32): i64 {
  for (let slot: u32 = FIXED_SLOTS; slot < KERNEL_HANDLES_PER_THREAD; slot++) {
    if (cap_at(t.index, slot).kind == 0) return cap_put(t, slot, kind, rights, object, generation);
  }
  return E_NO_SLOT;
}

export function cap_put(t: Thread, slot: u32, kind: u32, rights: u32, object: u32, generation: u32): i64 {
  const cap = cap_at(t.index, slot);
  cap.rights = <u16>rights;
  cap.kind = <u16>kind;
  cap.object = object;
  cap.generation = generation;
  t.handles += 1;
  return <i64>cap.handle;
}

export function cap_remove(t: Thread, cap: Cap): void {
  cap.handle = (cap.handle + (1 << SLOT_BITS)) & 0x7fffffff;
  cap.kind = 0;
  cap.object = 0;
  t.handles -= 1;
}

/** A new thread starts with an empty table whose slot generations are 0, so that fixed slots are plain numbers. */
export function cap_clear_all(t: Thread): void {
  memory.fill(CAPS + t.index * TABLE_BYTES, 0, TABLE_BYTES);
  for (let slot: u32 = 1; slot < KERNEL_HANDLES_PER_THREAD; slot++) cap_at(t.index, slot).handle = slot;
  cap_at(t.index, 0).handle = u32.MAX_VALUE; // slot 0 names nothing
  t.handles = 0;
}
