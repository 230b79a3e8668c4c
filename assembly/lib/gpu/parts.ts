// SPDX-License-Identifier: Apache-2.0
// Owns: the requests of a scrape: its series in order, as whole ExportMetricsServiceRequests of at most part_bytes_max bytes.
// Invariant: one ResourceMetrics per resource and part, one Metric per name in it; a resource, or a metric, that does not fit goes on in
// the next part with its head again, so that each part is a request and their concatenation is one too. The parts of the scrape before
// stay.
// Limits: limits.gpu parts_max; what finds no part is counted as dropped.
import { VIGIL_VERSION } from "../../gen/about";
import { GPU_PART_BYTES_MAX, GPU_PARTS_MAX, GPU_SLOTS_MAX } from "../../gen/limits";
import { attrLiteral, RESOURCE_ATTRIBUTE } from "../otlp/common";
import { PB_NESTED_BYTES_MAX, PbWriter } from "../otlp/pb";
import {
  BRIDGE_SOURCE_DCGM, BRIDGE_SOURCE_NVML, BRIDGE_SOURCE_REPLAY, BRIDGE_SOURCE_STUB,
} from "../wire/bridge";
import { entityAt, resourceOf } from "./entities";
import { pointOf } from "./slots";
import { countDropped, groupOf, outAt, outCount } from "./select";
import { Slot, slotAt } from "./slots";
import { INSTRUMENT_COUNTER, INSTRUMENT_GAUGE, metricRow, pointRow } from "./tables";

const BANK_BYTES: u32 = 1024000;
const BANKS: usize = memory.data(2 * 1024000, 8);
const PART_BYTES: usize = memory.data(2 * GPU_PARTS_MAX * 4, 4);
const EMITTED: usize = memory.data(GPU_SLOTS_MAX * 2, 2);
/** The source attribute and the scope, encoded once. */
const TAIL: usize = memory.data(64);
const SCOPE: usize = memory.data(64);
const writer: PbWriter = changetype<PbWriter>(memory.data(16, 4));
const counts: StaticCounts = changetype<StaticCounts>(memory.data(8, 4));
let bank: u32 = 0;
let emitted: u32 = 0;
let tailSource: u8 = 0;
let tailBytes: u32 = 0;
let scopeBytes: u32 = 0;

@unmanaged
class StaticCounts {
  first: u32;
  second: u32;
}

export function resetParts(): void {
  assert(BANK_BYTES == GPU_PARTS_MAX * GPU_PART_BYTES_MAX && GPU_PART_BYTES_MAX <= PB_NESTED_BYTES_MAX);
  counts.first = 0;
  counts.second = 0;
  bank = 0;
  emitted = 0;
  tailSource = 0;
  tailBytes = 0;
  writer.reset(SCOPE, 64);
  const scope = writer.open(1);
  writer.literal(1, "vigil/dcgmd");
  writer.literal(2, VIGIL_VERSION);
  writer.close(scope);
  assert(writer.ok);
  scopeBytes = writer.length;
}

function countAt(which: u32): u32 {
  return which == 0 ? counts.first : counts.second;
}
function setCount(which: u32, count: u32): void {
  if (which == 0) counts.first = count;
  else counts.second = count;
}

/** Parts of the last finished scrape; `age` 1: of the one before. */
export function gpuPartCount(age: u32 = 0): u32 {
  assert(age < 2);
  return countAt(bank ^ age);
}
export function gpuPartAt(index: u32, age: u32 = 0): usize {
  assert(index < gpuPartCount(age));
  return BANKS + (bank ^ age) * BANK_BYTES + index * GPU_PART_BYTES_MAX;
}
export function gpuPartBytes(index: u32, age: u32 = 0): u32 {
  assert(index < gpuPartCount(age));
  return load<u32>(PART_BYTES + (((bank ^ age) * GPU_PARTS_MAX + index) << 2));
}

/** Slots of the last finished scrape, in its order. */
export function emittedCount(): u32 {
  return emitted;
}
export function emittedAt(index: u32): u32 {
  assert(index < emitted);
  return load<u16>(EMITTED + (index << 1));
}

function sourceName(source: u8): string {
  if (source == BRIDGE_SOURCE_REPLAY) return "replay";
  if (source == BRIDGE_SOURCE_STUB) return "stub";
  if (source == BRIDGE_SOURCE_NVML) return "nvml";
  return source == BRIDGE_SOURCE_DCGM ? "dcgm" : "none";
}

function setSource(source: u8): void {
  if (tailBytes != 0 && tailSource == source) return;
  tailSource = source;
  writer.reset(TAIL, 64);
  attrLiteral(writer, RESOURCE_ATTRIBUTE, "vigil.source", sourceName(source));
  assert(writer.ok);
  tailBytes = writer.length;
}

// The part under way: where the next byte goes, where the part ends; the open resource's entry and its scope's entry.
let at: usize = 0;
let end: usize = 0;
let part: u32 = 0;
let entryAt: usize = 0;
let scopeEntryAt: usize = 0;
let openOwner: i32 = -1;

/** Bytes of a varint below 16,384. */
@inline
function lengthBytes(length: u32): u32 {
  return length < 128 ? 1 : 2;
}
@inline
function putLength(length: u32): void {
  if (length < 128) {
    store<u8>(at, <u8>length);
    at++;
  } else {
    store<u8>(at, <u8>length | 128);
    store<u8>(at, <u8>(length >> 7), 1);
    at += 2;
  }
}
/** Closes a message that began at `start`, behind two bytes left for its length. */
function fixLength(start: usize): void {
  const length = <u32>(at - start);
  if (length < 128) {
    store<u8>(start - 2, <u8>length);
    memory.copy(start - 1, start, length);
    at--;
    return;
  }
  store<u8>(start - 2, <u8>length | 128);
  store<u8>(start - 1, <u8>(length >> 7));
}

function partStart(index: u32): usize {
  return BANKS + bank * BANK_BYTES + index * GPU_PART_BYTES_MAX;
}
function closeResource(): void {
  if (openOwner < 0) return;
  fixLength(scopeEntryAt);
  fixLength(entryAt);
  openOwner = -1;
}
function closePart(): void {
  closeResource();
  const start = partStart(part);
  if (at == start) return;
  store<u32>(PART_BYTES + ((bank * GPU_PARTS_MAX + part) << 2), <u32>(at - start));
  part++;
}
function openPart(): void {
  at = partStart(part);
  end = at + GPU_PART_BYTES_MAX;
}

/** Bytes of a resource's head: both entries with lengths of two bytes, resource, scope. */
@inline
function headBytes(owner: i32): u32 {
  const resource = entityAt(<u32>owner).resourceBytes + tailBytes;
  return 3 + 1 + lengthBytes(resource) + resource + 3 + scopeBytes;
}
function openResource(owner: i32): void {
  openOwner = owner;
  const own = entityAt(<u32>owner).resourceBytes;
  store<u8>(at, 0x0a);
  at += 3;
  entryAt = at;
  store<u8>(at, 0x0a);
  at++;
  putLength(own + tailBytes);
  memory.copy(at, resourceOf(<u32>owner), own);
  at += own;
  memory.copy(at, TAIL, tailBytes);
  at += tailBytes;
  store<u8>(at, 0x12);
  at += 3;
  scopeEntryAt = at;
  memory.copy(at, SCOPE, scopeBytes);
  at += scopeBytes;
}

/** Temporality cumulative; and for a counter, monotonic. */
const SUM_BYTES: u32 = 4;

/** Writes one metric with `count` points from EMITTED place `first` on, `pointBytes` in all. */
function putMetric(metric: u32, first: u32, count: u32, pointBytes: u32): void {
  const row = metricRow(metric);
  const gauge = row.instrument == INSTRUMENT_GAUGE;
  const data = pointBytes + (gauge ? 0 : SUM_BYTES);
  store<u8>(at, 0x12);
  at++;
  putLength(<u32>row.headBytes + 1 + lengthBytes(data) + data);
  memory.copy(at, row.head, row.headBytes);
  at += row.headBytes;
  store<u8>(at, gauge ? 0x2a : 0x3a);
  at++;
  putLength(data);
  for (let i: u32 = 0; i < count; i++) {
    const slot = slotAt(load<u16>(EMITTED + ((first + i) << 1)));
    memory.copy(at, pointOf(slot), slot.pointBytes);
    at += slot.pointBytes;
  }
  if (gauge) return;
  // aggregation_temporality = 2 (cumulative), is_monotonic
  store<u32>(at, row.instrument == INSTRUMENT_COUNTER ? 0x01180210 : 0x00180210);
  at += SUM_BYTES;
}

@inline
function ownerOf(slot: Slot): i32 {
  return entityAt(slot.entity).owner;
}

/** The chosen series of the scrape, in order. */
function list(scrape: u32, choosing: bool): u32 {
  let count: u32 = 0;
  const all = outCount();
  for (let i: u32 = 0; i < all; i++) {
    const index = outAt(i);
    const slot = slotAt(index);
    if (slot.seen != scrape || (choosing && slot.chosen != scrape)) continue;
    store<u16>(EMITTED + (count << 1), <u16>index);
    count++;
  }
  return count;
}

/** Encodes the series of a scrape; returns how many. */
export function emitParts(scrape: u32, choosing: bool, source: u8): u32 {
  setSource(source);
  bank ^= 1;
  part = 0;
  openOwner = -1;
  openPart();
  const count = list(scrape, choosing);
  let done: u32 = 0;
  // A turn puts at least one point or closes a part.
  const turns = count + GPU_PARTS_MAX;
  for (let turn: u32 = 0; turn < turns && done < count && part < GPU_PARTS_MAX; turn++) done = putRun(done, count);
  if (part < GPU_PARTS_MAX) closePart();
  for (let i = done; i < count; i++) {
    const slot = slotAt(load<u16>(EMITTED + (i << 1)));
    countDropped(groupOf(slot.entity, slot.point));
  }
  setCount(bank, part);
  emitted = done;
  return done;
}

/** Puts points of one resource and metric from EMITTED place `first` on, as many as fit; returns the place behind them. */
function putRun(first: u32, count: u32): u32 {
  let slot = slotAt(load<u16>(EMITTED + (first << 1)));
  const owner = ownerOf(slot);
  const metric = <u32>pointRow(slot.point).metric;
  if (owner != openOwner) closeResource();
  const head = openOwner < 0 ? headBytes(owner) : 0;
  // Tags and lengths of metric and data, and what ends a sum.
  const fixed = head + <u32>metricRow(metric).headBytes + 6 + SUM_BYTES;
  const room = <u32>(end - at);
  let bytes = <u32>slot.pointBytes;
  if (fixed + bytes > room) {
    closePart();
    if (part < GPU_PARTS_MAX) openPart();
    return first;
  }
  // Series of one resource and metric have the upper bits of their order in common.
  const run = slot.outKey >> 36;
  let next = first + 1;
  for (; next < count; next++) {
    slot = slotAt(load<u16>(EMITTED + (next << 1)));
    const more = bytes + slot.pointBytes;
    if (slot.outKey >> 36 != run || fixed + more > room) break;
    bytes = more;
  }
  if (openOwner < 0) openResource(owner);
  putMetric(metric, first, next - first, bytes);
  return next;
}
