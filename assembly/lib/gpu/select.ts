// SPDX-License-Identifier: Apache-2.0
// Owns: the order of the series, and which of them a scrape may have: group budgets first, then the cap.
// Order in a request: resource, metric, point row, entity, code. Order of admission: tier (the highest first), entity (kind, uuid, id),
// point row, code: so what is dropped is the lowest tier's, and in a tier the last entity's. A compute instance's series are all mig_ci.
// Invariant: a function of the series and the configuration alone; every series that is refused is counted with its group.
// Limits: limits.gpu slots_max.
import { GPU_GROUPS, GPU_GROUP_MIG_CI } from "../../gen/gpu";
import { GPU_SLOTS_MAX } from "../../gen/limits";
import { anyBudget, budgetOf, cap } from "./config";
import { GROUP_COMPUTE, entityAt } from "./entities";
import { sortPlaces } from "./order";
import { Slot, freeSlot, slotAt, slotsLive, slotsUsed, takeOrderChanged } from "./slots";
import { STAR_XID, groupRow, pointRow } from "./tables";

const OUT: usize = memory.data(GPU_SLOTS_MAX * 2, 2);
const ADMIT: usize = memory.data(GPU_SLOTS_MAX * 2, 2);
const TAKEN: usize = memory.data(GPU_GROUPS * 4, 4);
const DROPPED: usize = memory.data(GPU_GROUPS * 8, 8);
let ordered: u32 = 0;

/** Tally of this scrape: series refused. */
export let refusedSeries: u32 = 0;

export function resetSelect(): void {
  memory.fill(DROPPED, 0, GPU_GROUPS * 8);
  ordered = 0;
  refusedSeries = 0;
}

/** Group of a series. */
export function groupOf(entity: u32, point: u32): u32 {
  return entityAt(entity).group == GROUP_COMPUTE ? GPU_GROUP_MIG_CI : <u32>pointRow(point).group;
}
/** Counts a series that a scrape had to leave out. */
export function countDropped(group: u32): void {
  refusedSeries++;
  store<u64>(DROPPED + (group << 3), load<u64>(DROPPED + (group << 3)) + 1);
}
/** Series of a group left out since the start. */
export function gpuDropped(group: u32): u64 {
  assert(group < GPU_GROUPS);
  return load<u64>(DROPPED + (group << 3));
}
/** A new scrape begins to count. */
export function beginSelect(): void {
  refusedSeries = 0;
}

/** Slots in the order of a request. */
@inline
export function outAt(index: u32): u32 {
  return load<u16>(OUT + (index << 1));
}
export function outCount(): u32 {
  return ordered;
}

function outAfter(a: u32, b: u32): bool {
  return slotAt(a).outKey > slotAt(b).outKey;
}
function dropAfter(a: u32, b: u32): bool {
  return slotAt(a).dropKey > slotAt(b).dropKey;
}

/** Codes of XIDs by recency, the newest first: readers that want the last XID take the first point. */
function codeKey(slot: Slot): u64 {
  return pointRow(slot.point).star == STAR_XID ? 0xffff - <u64>(slot.edge & 0xffff) : <u64>(slot.code & 0xffff);
}

function setKeys(slot: Slot): void {
  const entity = entityAt(slot.entity);
  const row = pointRow(slot.point);
  const resource = entity.owner < 0 ? <u64>0xfff : <u64>entityAt(<u32>entity.owner).rank & 0xfff;
  const code = codeKey(slot);
  const rank = <u64>entity.rank & 0xfff;
  slot.outKey = (resource << 42) | (<u64>row.metric << 36) | (<u64>slot.point << 28) | (rank << 16) | code;
  const tier = <u64>(255 - groupRow(groupOf(slot.entity, slot.point)).tier);
  slot.dropKey = (tier << 40) | (rank << 28) | (<u64>slot.point << 16) | code;
}

/** Sorts anew where series or entities changed. */
export function ensureOrder(): void {
  if (!takeOrderChanged()) return;
  ordered = 0;
  const used = slotsUsed();
  for (let i: u32 = 0; i < used; i++) {
    const slot = slotAt(i);
    if (slot.live == 0) continue;
    setKeys(slot);
    store<u16>(OUT + (ordered << 1), <u16>i);
    ordered++;
  }
  memory.copy(ADMIT, OUT, ordered << 1);
  sortPlaces(OUT, ordered, outAfter);
  sortPlaces(ADMIT, ordered, dropAfter);
}

/** Whether a scrape with `candidates` series has to choose. */
export function mustChoose(candidates: u32): bool {
  return anyBudget() || candidates > cap();
}

@inline
function admits(slot: Slot, admitted: u32): bool {
  const taken = TAKEN + (groupOf(slot.entity, slot.point) << 2);
  if (admitted >= cap() || load<u32>(taken) >= budgetOf(groupOf(slot.entity, slot.point))) return false;
  store<u32>(taken, load<u32>(taken) + 1);
  return true;
}

/** Marks which of the series seen in `scrape` it may have; counts the others. */
export function choose(scrape: u32): void {
  memory.fill(TAKEN, 0, GPU_GROUPS * 4);
  let admitted: u32 = 0;
  for (let i: u32 = 0; i < ordered; i++) {
    const slot = slotAt(load<u16>(ADMIT + (i << 1)));
    if (slot.seen != scrape) continue;
    if (admits(slot, admitted)) {
      slot.chosen = scrape;
      admitted++;
    } else {
      countDropped(groupOf(slot.entity, slot.point));
    }
  }
}

/** Frees every series that the cap would refuse if all had a value, so that others find room; counts those that have one. */
export function trimSlots(scrape: u32): void {
  ensureOrder();
  memory.fill(TAKEN, 0, GPU_GROUPS * 4);
  let admitted: u32 = 0;
  const count = ordered;
  for (let i: u32 = 0; i < count; i++) {
    const index = <u32>load<u16>(ADMIT + (i << 1));
    const slot = slotAt(index);
    if (admits(slot, admitted)) {
      admitted++;
      continue;
    }
    if (slot.seen == scrape) countDropped(groupOf(slot.entity, slot.point));
    freeSlot(index);
  }
  assert(slotsLive() <= cap());
}
