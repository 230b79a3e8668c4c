// SPDX-License-Identifier: Apache-2.0
// Owns: one scrape: samples in, series out. Each sample is judged first and only then changes a series.
// Invariant: every sample is counted once: as a value, or by the reason why it is none; no blank of any kind, no NaN, no infinity becomes a
// point; a bad sample changes nothing. Values: raw * mul / div. Counters that fall, rates with a gap or a step back in time start anew.
// Limits: limits.gpu. Rates: total += rate * time since the last sample (docs/format/bridge.md: they are per second).
import { GPU_FIELDS } from "../../gen/gpu";
import { GPU_CODE_SLACK_NS, GPU_SLOTS_MAX, GPU_STALE_SLACK_NS } from "../../gen/limits";
import { interval, fieldOfId, gpuWatchList } from "./config";
import { GROUP_LINK, entityAt, entityIndex, portOf } from "./entities";
import { GpuSample, GpuTally, JUDGED_VALUE, countVerdict, gpuTally, judge, judgedRaw, judgedValue, setJudgeTimes } from "./judge";
import { emitParts } from "./parts";
import { patchDouble, patchInt, patchStart, patchTime, STATE_DEGRADED, STATE_FAILED, STATE_OK } from "./point";
import { beginSelect, choose, countDropped, ensureOrder, groupOf, mustChoose, outAt, outCount, refusedSeries, trimSlots } from "./select";
import { Slot, findSlot, firstSlot, freeIdle, makeSlot, orderChanged, slotAt, slotsLive, slotsSticky } from "./slots";
import {
  FieldRow, INSTRUMENT_GAUGE, KIND_COUNTER, KIND_LAST, KIND_RATE, NONE_U8, PointRow, STAR_NONE, STAR_STATE, fieldRow,
  metricRow, pointRow,
} from "./tables";

/** Intervals without a sample after which a rate starts anew. */
const GAP_INTERVALS: u64 = 3;
const STALE_INTERVALS: u64 = 2;
const US: u64 = 1000;
/** Whether a field came that stands in for another one. */
let replacing: bool = false;
let scrape: u32 = 0;
let wall: u64 = 0;
let source: u8 = 0;
let gapUs: i64 = 0;
let edges: u32 = 0;
let candidates: u32 = 0;
// The entity of the last sample: samples of one entity come together.
let lastGroup: u32 = 0;
let lastId: u32 = 0;
let lastIndex: i32 = -1;

export function resetScrape(): void {
  scrape = 0;
  edges = 0;
  source = 0;
}
/** Scrapes begun since the start. */
export function gpuScrapes(): u32 {
  return scrape;
}

/** A scrape begins. `wallNs`: the host's wall time in the frame; `sourceRow`: row of [[source]] in abi/bridge.toml. */
export function beginScrape(wallNs: u64, monoNs: u64, sourceRow: u8): void {
  scrape++;
  wall = wallNs;
  source = sourceRow;
  memory.fill(changetype<usize>(gpuTally), 0, offsetof<GpuTally>());
  gpuWatchList();
  const staleNs = STALE_INTERVALS * interval() + GPU_STALE_SLACK_NS;
  setJudgeTimes(<i64>(wallNs / US), <i64>(staleNs / US), <i64>(GPU_STALE_SLACK_NS / US));
  gapUs = <i64>(GAP_INTERVALS * interval() / US);
  replacing = false;
  candidates = 0;
  lastIndex = -1;
  beginSelect();
}

/** Takes one sample, 32 bytes as they lie in a latest_values reply. */
export function takeSample(at: usize): void {
  const sample = changetype<GpuSample>(at);
  gpuTally.samples++;
  const field = fieldOfId(sample.fieldId);
  const entity = placeOf(<u32>sample.group, sample.entityId);
  if (field == 0 || entity < 0) {
    gpuTally.homeless++;
    return;
  }
  const row = fieldRow(field - 1);
  if (((<u32>row.levels >> <u32>sample.group) & 1) == 0 || entityAt(<u32>entity).owner < 0) {
    gpuTally.homeless++;
    return;
  }
  const point = pointRow(row.point);
  const verdict = judge(sample, row, point);
  countVerdict(verdict);
  if (verdict != JUDGED_VALUE) return;
  if (row.kind == KIND_LAST) takeCode(<u32>entity, field - 1, point, sample.tsUs);
  else takeValue(<u32>entity, field - 1, row, point, sample.tsUs);
}

function placeOf(group: u32, id: u32): i32 {
  if (lastIndex < 0 || id != lastId || group != lastGroup) {
    lastIndex = entityIndex(group, id);
    lastGroup = group;
    lastId = id;
  }
  return lastIndex;
}

/** The slot + 1 of a series, made where there is none yet; 0 when there is no room: counted. */
function slotFor(entity: u32, field: u32, point: u32, code: u32): u32 {
  let index = findSlot(entity, field, code);
  if (index != 0) return index;
  index = makeSlot(entity, field, code);
  if (index != 0) return index;
  if (slotsLive() >= GPU_SLOTS_MAX) {
    if (freeIdle(scrape) == 0) trimSlots(scrape);
    index = makeSlot(entity, field, code);
    if (index != 0) return index;
  }
  countDropped(groupOf(entity, point));
  return 0;
}

function takeValue(entity: u32, field: u32, row: FieldRow, point: PointRow, tsUs: i64): void {
  let code: u32 = 0;
  if (point.star != STAR_NONE) {
    if (point.star == STAR_STATE) code = stateOf(judgedRaw);
    else code = row.lane != NONE_U8 ? <u32>row.lane : portOf(entityAt(entity));
  }
  let index = firstSlot(entity, field);
  if (index == 0 || slotAt(index - 1).code != code) {
    index = slotFor(entity, field, row.point, code);
    if (index == 0) return;
  }
  const slot = slotAt(index - 1);
  // Of a cell with states the first slot notes that a sample came.
  const head = point.star == STAR_STATE ? slotAt(firstSlot(entity, field) - 1) : slot;
  if (head.sampled == scrape) {
    // The same cell twice in a scrape: the first stands.
    gpuTally.values--;
    gpuTally.bad++;
    return;
  }
  const first = slot.lastUs == 0;
  head.sampled = scrape;
  slot.sampled = scrape;
  slot.seen = scrape;
  candidates++;
  if (row.kind == KIND_RATE) integrate(slot, point, first, tsUs);
  else if (row.kind == KIND_COUNTER) count(slot, point, first, tsUs);
  else if (point.star == STAR_STATE) hold(slot, first, tsUs);
  else level(slot, point, first, tsUs);
  patchTime(slot, <u64>tsUs * US);
  slot.lastUs = tsUs;
  if (row.replaces != NONE_U8) replacing = true;
}

/** Starts a sum anew at a time. */
@inline
function startAt(slot: Slot, tsUs: i64): void {
  slot.startNs = <u64>tsUs * US;
  patchStart(slot);
}

/** A gauge or an updown. */
function level(slot: Slot, point: PointRow, first: bool, tsUs: i64): void {
  if (metricRow(point.metric).instrument != INSTRUMENT_GAUGE && (first || tsUs < slot.lastUs)) startAt(slot, tsUs);
  patchDouble(slot, judgedValue);
}

/** A state: 1 for the one that holds. */
function hold(slot: Slot, first: bool, tsUs: i64): void {
  if (first || tsUs < slot.lastUs) startAt(slot, tsUs);
  patchDouble(slot, 1);
}

/** A cumulative count. One that falls was reset after the last sample. */
function count(slot: Slot, point: PointRow, first: bool, tsUs: i64): void {
  if (first || tsUs < slot.lastUs) startAt(slot, tsUs);
  else if (judgedRaw < slot.last) startAt(slot, slot.lastUs);
  slot.last = judgedRaw;
  if (point.whole != 0) patchInt(slot, <i64>judgedRaw * <i64>point.mulWhole);
  else patchDouble(slot, judgedValue);
}

/** A rate: its integral since the start. */
function integrate(slot: Slot, point: PointRow, first: bool, tsUs: i64): void {
  const passedUs = tsUs - slot.lastUs;
  if (first || passedUs < 0 || passedUs > gapUs) {
    slot.total = 0;
    startAt(slot, tsUs);
  } else {
    slot.total += judgedValue * (<f64>passedUs / 1e6);
  }
  patchDouble(slot, slot.total);
}

/** The newest code: an event where it, or its time, is another than before. A source may compute the time anew at each read (replay does),
 *  so a time within limits.gpu code_slack_ns of the last one is the same. */
function takeCode(entity: u32, field: u32, point: PointRow, tsUs: i64): void {
  const head = firstSlot(entity, field);
  if (judgedRaw == 0) {
    if (head != 0) remember(slotAt(head - 1), tsUs);
    return;
  }
  if (head != 0) {
    const known = slotAt(head - 1);
    if (known.last == judgedRaw && abs(tsUs - known.lastUs) < <i64>(GPU_CODE_SLACK_NS / US)) {
      remember(known, tsUs);
      return;
    }
  }
  const code = point.star == STAR_NONE ? 0 : <u32>judgedRaw;
  const index = slotFor(entity, field, fieldRow(field).point, code);
  const chain = firstSlot(entity, field);
  if (chain != 0) remember(slotAt(chain - 1), tsUs);
  if (index == 0) return;
  const slot = slotAt(index - 1);
  if (slot.startNs == 0) startAt(slot, min(tsUs, <i64>(wall / US)));
  slot.total += 1;
  slot.edge = ++edges;
  slot.sampled = scrape;
  gpuTally.xidEdges++;
  orderChanged();
}

function remember(head: Slot, tsUs: i64): void {
  head.last = judgedRaw;
  head.lastUs = tsUs;
  head.sampled = scrape;
}

/** hw.state of a recovery action: 0 none, 1 reset the GPU, 2 reboot, 3 drain peers, 4 drain and reset; others were not known. */
function stateOf(action: u64): u32 {
  if (action == 0) return STATE_OK;
  return action == 1 || action == 2 ? STATE_FAILED : STATE_DEGRADED;
}

/** Counted events stay as long as their entity is listed, whatever the engine says of the field now. */
function keepCodes(): void {
  for (let i: u32 = 0; i < outCount(); i++) {
    const slot = slotAt(outAt(i));
    if (slot.sticky == 0 || slot.total == 0) continue;
    const entity = entityAt(slot.entity);
    if (entity.present == 0 || entity.owner < 0 || fieldOfId(fieldRow(slot.field).id) == 0) continue;
    slot.seen = scrape;
    candidates++;
    patchTime(slot, wall);
    patchInt(slot, <i64>slot.total);
  }
}

/** Leaves out the series whose stand-in has a value: of the same entity, or for a link of its owner. */
function replace(): void {
  for (let i: u32 = 0; i < outCount(); i++) {
    const slot = slotAt(outAt(i));
    const row = fieldRow(slot.field);
    if (row.replaces == NONE_U8 || slot.seen != scrape) continue;
    const entity = entityAt(slot.entity);
    const port = entity.group == GROUP_LINK ? portOf(entity) : 0;
    const field = <u32>row.replaces + <u32>row.stride * port;
    if (field >= <u32>GPU_FIELDS || fieldRow(field).point != fieldRow(row.replaces).point) continue;
    const owner = row.stride != 0 ? <u32>entity.owner : <u32>slot.entity;
    const index = firstSlot(owner, field);
    if (index == 0 || slotAt(index - 1).seen != scrape) continue;
    slotAt(index - 1).seen = 0;
    candidates--;
    gpuTally.replaced++;
  }
}

/** The scrape is whole: chooses, encodes, counts. The parts of the scrape before it stay readable. */
export function endScrape(): GpuTally {
  ensureOrder();
  if (slotsSticky() != 0) keepCodes();
  if (replacing) replace();
  const choosing = mustChoose(candidates);
  if (choosing) choose(scrape);
  gpuTally.series = emitParts(scrape, choosing, source);
  gpuTally.dropped = refusedSeries;
  return gpuTally;
}
