// SPDX-License-Identifier: Apache-2.0
// Owns: the series: one slot each of (entity, field, code), with what is known of its past and its point ready to be copied into a request.
// Invariant: a cell (entity, field) names the first slot of its chain; a slot lives until its entity's place is given away, or until room
// is needed and it is not among those that the drop order would keep. `born` tells one tenant of a slot from the next.
// Limits: limits.gpu slots_max slots, codes_max in a chain.
import { GPU_FIELDS } from "../../gen/gpu";
import { GPU_CODES_MAX, GPU_ENTITIES_MAX, GPU_SLOTS_MAX } from "../../gen/limits";
import { entityAt } from "./entities";
import { encodePoint } from "./point";
import { KIND_LAST, fieldRow } from "./tables";

/** Bytes of a slot's encoded point at most: 2 of head, 127 of body (scripts/lib/gen-gpu.ts holds the table to it). */
export const POINT_BYTES_MAX: u32 = 136;

@unmanaged
export class Slot {
  /** Order in a request; order in which the cap admits. */
  outKey: u64;
  dropKey: u64;
  /** Start of a sum, ns since 1970. */
  startNs: u64;
  /** Time of the last sample, us, and its raw value. */
  lastUs: i64;
  last: u64;
  /** A rate's integral; events of a code. */
  total: f64;
  /** Link, XID or state; 0 where the attributes have no `*`. */
  code: u32;
  /** The scrape that it has a value in, the one that a sample came in, the one that the cap admitted it to. */
  seen: u32;
  sampled: u32;
  chosen: u32;
  born: u32;
  /** For codes: the edge that was last, for the order. */
  edge: u32;
  entity: u16;
  /** Next slot + 1 of the chain, or of the free list. */
  next: u16;
  field: u8;
  point: u8;
  live: u8;
  /** Non-zero: stays in every scrape while its entity is present (events that were counted). */
  sticky: u8;
  /** Bytes of the encoded point, and where in it the time lies; the value is 9 bytes on. */
  pointBytes: u8;
  timeAt: u8;
}
const SLOT_BYTES: u32 = 224;
const POINT_AT: u32 = 88;
const SLOTS: usize = memory.data(GPU_SLOTS_MAX * 224, 8);
/** Slot + 1 by entity and field. */
const CELLS: usize = memory.data(GPU_ENTITIES_MAX * 128 * 2, 2);
const FIELD_SHIFT: u32 = 7;
let used: u32 = 0;
let free: u32 = 0;
let live: u32 = 0;
let births: u32 = 0;
let stickies: u32 = 0;
let unordered: bool = true;

export function resetSlots(): void {
  assert(offsetof<Slot>() <= POINT_AT && POINT_AT + POINT_BYTES_MAX <= SLOT_BYTES && GPU_FIELDS <= 1 << FIELD_SHIFT);
  memory.fill(CELLS, 0, (GPU_ENTITIES_MAX << FIELD_SHIFT) << 1);
  memory.fill(SLOTS, 0, GPU_SLOTS_MAX * SLOT_BYTES);
  used = 0;
  free = 0;
  live = 0;
  births = 0;
  stickies = 0;
  unordered = true;
}

@inline
export function slotAt(index: u32): Slot {
  return changetype<Slot>(SLOTS + index * SLOT_BYTES);
}
@inline
export function slotIndex(slot: Slot): u32 {
  return (<u32>changetype<usize>(slot) - <u32>SLOTS) / SLOT_BYTES;
}
/** The encoded point of a slot. */
@inline
export function pointOf(slot: Slot): usize {
  return changetype<usize>(slot) + POINT_AT;
}
/** Slots that were ever used: every live one is below. */
export function slotsUsed(): u32 {
  return used;
}
export function slotsLive(): u32 {
  return live;
}
/** Live slots that stay without samples. */
export function slotsSticky(): u32 {
  return stickies;
}
/** The order has to be made anew. */
export function orderChanged(): void {
  unordered = true;
}
/** Whether it has to; clears the mark. */
export function takeOrderChanged(): bool {
  const was = unordered;
  unordered = false;
  return was;
}

@inline
function cellOf(entity: u32, field: u32): usize {
  return CELLS + (((entity << FIELD_SHIFT) | field) << 1);
}
/** First slot + 1 of a cell, 0: none. */
@inline
export function firstSlot(entity: u32, field: u32): u32 {
  return load<u16>(cellOf(entity, field));
}

/** Slot + 1 of a code in a cell's chain, 0: none. */
export function findSlot(entity: u32, field: u32, code: u32): u32 {
  let at = firstSlot(entity, field);
  for (let i: u32 = 0; i < GPU_CODES_MAX && at != 0; i++) {
    const slot = slotAt(at - 1);
    if (slot.code == code) return at;
    at = slot.next;
  }
  return 0;
}

/** Makes the slot of a code, at the end of its chain; its index + 1, or 0 when the chain or the table is full. */
export function makeSlot(entity: u32, field: u32, code: u32): u32 {
  const cell = cellOf(entity, field);
  let end: usize = 0;
  let at = <u32>load<u16>(cell);
  let length: u32 = 0;
  for (; length < GPU_CODES_MAX && at != 0; length++) {
    end = changetype<usize>(slotAt(at - 1)) + offsetof<Slot>("next");
    at = slotAt(at - 1).next;
  }
  if (length == GPU_CODES_MAX) return 0;
  let index = free;
  if (index != 0) free = slotAt(index - 1).next;
  else if (used < GPU_SLOTS_MAX) index = ++used;
  else return 0;
  const slot = slotAt(index - 1);
  memory.fill(changetype<usize>(slot), 0, POINT_AT);
  slot.entity = <u16>entity;
  slot.field = <u8>field;
  slot.code = code;
  slot.live = 1;
  slot.born = ++births;
  const row = fieldRow(field);
  slot.point = row.point;
  if (row.kind == KIND_LAST) {
    slot.sticky = 1;
    stickies++;
  }
  encodePoint(slot);
  store<u16>(end == 0 ? cell : end, <u16>index);
  live++;
  unordered = true;
  return index;
}

/** Frees a slot: takes it out of its chain. */
export function freeSlot(index: u32): void {
  const slot = slotAt(index);
  if (slot.live == 0) return;
  let link = cellOf(slot.entity, slot.field);
  for (let i: u32 = 0; i < GPU_CODES_MAX && load<u16>(link) != <u16>(index + 1); i++) {
    link = changetype<usize>(slotAt(<u32>load<u16>(link) - 1)) + offsetof<Slot>("next");
  }
  store<u16>(link, slot.next);
  slot.live = 0;
  if (slot.sticky != 0) stickies--;
  slot.next = <u16>free;
  free = index + 1;
  live--;
  unordered = true;
}

/** Frees the series of an entity whose place is given away. */
export function freeSeriesOf(entity: u32): void {
  for (let i: u32 = 0; i < used; i++) if (slotAt(i).live != 0 && <u32>slotAt(i).entity == entity) freeSlot(i);
}
/** Frees series of entities that are absent, else those without a value in this scrape and the one before; returns how many. */
export function freeIdle(scrape: u32): u32 {
  const before = live;
  for (let i: u32 = 0; i < used; i++) {
    const slot = slotAt(i);
    if (slot.live != 0 && entityAt(slot.entity).present == 0) freeSlot(i);
  }
  if (live != before) return before - live;
  for (let i: u32 = 0; i < used; i++) {
    const slot = slotAt(i);
    if (slot.live != 0 && slot.sticky == 0 && scrape - slot.sampled > 1) freeSlot(i);
  }
  return before - live;
}
