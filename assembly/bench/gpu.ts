// SPDX-License-Identifier: Apache-2.0
// The bench rows dcgm_* and otlp_*: lib/gpu over a scripted node in its own memory, hosted by runtime/guest/bench/gpu.c: what a scrape of
// dcgmd costs without the link to the host. Not part of any image that ships.
// Invariant: values and times move from round to round as those of a healthy node; every round must emit as many series as the first.
// Limits: eight H100 with eighteen links each and four switches; SAMPLES_MAX samples a scrape.
import { GPU_FIELDS, GPU_GROUPS } from "../gen/gpu";
import { Reader, Writer } from "../lib/bounded/writer";
import {
  GROUP_DISABLED, GROUP_ENABLED, beginEnumeration, beginScrape, endEnumeration, endScrape, gpuFieldAllowed, gpuGroup, gpuGroupHasSwitch,
  gpuPartBytes, gpuPartCount, gpuReset, gpuSeriesMax, gpuTally, gpuWatchList, takeEntity, takeSample, GpuSample,
} from "../lib/gpu/index";
import { fieldOfId } from "../lib/gpu/config";
import { KIND_COUNTER, KIND_LAST, KIND_RATE, fieldRow } from "../lib/gpu/tables";
import { BRIDGE_SOURCE_REPLAY } from "../lib/wire/bridge";

const GPUS: u32 = 8;
const LINKS: u32 = 18;
const SWITCHES: u32 = 4;
const SAMPLES_MAX: u32 = 2048;
const SERIES_MAX: u32 = 2048;
const WALL_NS: u64 = 1_800_000_000_000_000_000;
const INTERVAL_NS: u64 = 15_000_000_000;
/** Entity groups of DCGM. */
const GPU: u32 = 1;
const SWITCH: u32 = 3;
const LINK: u32 = 6;
const TYPE_DOUBLE: u8 = 100;
const RECOVERY_ACTION: u16 = 1523;
const samples: usize = memory.data(2048 * 32, 8);
const record: usize = memory.data(256);
const w: Writer = changetype<Writer>(memory.data(16, 4));
const r: Reader = changetype<Reader>(memory.data(16, 4));
/** Fields of the row 8x12: gauges, counters, rates, whole numbers and fractions. */
const TWELVE: usize = memory.data<u16>([100, 150, 155, 156, 203, 241, 251, 252, 310, 311, 1009, 1010]);
let sampleCount: u32 = 0;
let series: u32 = 0;

function entity(group: u32, id: u32, parent: u32): void {
  w.reset(record, 256);
  w.putU8(<u8>group).putU8(group == GPU ? 40 : 13).putU8(22).putU8(16).putU8(10);
  w.putU8(<u8>(group == LINK ? GPU : 0)).putU16(<u16>parent).putU32(id);
  if (group == GPU) w.putText("GPU-5c819ed0-0000-0000-0000-").putHex(id, 12);
  else w.putText(group == SWITCH ? "nvswitch-" : "link-").putHex(id, group == SWITCH ? 4 : 8);
  w.putText("NVIDIA H100 80GB HBM3 ").putText("00000000:18:00.0").putText("580.105.08");
  assert(takeEntity(r.reset(record, w.length)) && r.finished);
}

/** A sample of every field that an entity has and that is on. */
function cells(group: u32, id: u32): void {
  for (let i: u32 = 0; i < GPU_FIELDS; i++) {
    const row = fieldRow(i);
    if (fieldOfId(row.id) == 0 || ((<u32>row.levels >> group) & 1) == 0) continue;
    assert(sampleCount < SAMPLES_MAX);
    const sample = changetype<GpuSample>(samples + (sampleCount << 5));
    sampleCount++;
    sample.group = <u8>group;
    sample.entityId = id;
    sample.fieldId = row.id;
    sample.type = row.type;
    sample.kind = row.kind;
    sample.status = 0;
  }
}

@inline
function linkId(gpu: u32, port: u32): u32 {
  return (gpu << 24) | (port << 8) | GPU;
}

/** The node, with every group (all = 1) or the twelve fields alone; returns how many samples a scrape has. */
export function bench_begin(all: u32): u32 {
  gpuReset();
  for (let i: u32 = 0; i < GPU_GROUPS; i++) if (gpuGroupHasSwitch(i)) gpuGroup(i, all != 0 ? GROUP_ENABLED : GROUP_DISABLED);
  if (all == 0) for (let i: u32 = 0; i < 12; i++) gpuFieldAllowed(load<u16>(TWELVE + (i << 1)), true);
  gpuSeriesMax(SERIES_MAX);
  beginEnumeration();
  for (let i: u32 = 0; i < GPUS; i++) entity(GPU, i, 0);
  for (let i: u32 = 0; i < SWITCHES; i++) entity(SWITCH, i, 0);
  for (let i: u32 = 0; i < GPUS; i++) for (let port: u32 = 0; port < LINKS; port++) entity(LINK, linkId(i, port), i);
  endEnumeration();
  gpuWatchList();
  sampleCount = 0;
  series = 0;
  for (let i: u32 = 0; i < GPUS; i++) cells(GPU, i);
  for (let i: u32 = 0; i < SWITCHES; i++) cells(SWITCH, i);
  for (let i: u32 = 0; i < GPUS; i++) for (let port: u32 = 0; port < LINKS; port++) cells(LINK, linkId(i, port));
  return sampleCount;
}

/** Sets the values of a round. */
export function bench_play(round: u32): void {
  const tsUs = <i64>((WALL_NS + <u64>round * INTERVAL_NS) / 1000) - 500_000;
  for (let i: u32 = 0; i < sampleCount; i++) {
    const sample = changetype<GpuSample>(samples + (i << 5));
    sample.tsUs = tsUs;
    const kind = <u8>sample.kind;
    let value = <u64>(40 + (i * 7 + round * 3) % 50);
    if (kind == KIND_COUNTER) value += <u64>round * 50;
    if (kind == KIND_RATE) value *= 10_000_000;
    // One event long ago, and a GPU that needs nothing.
    if (kind == KIND_LAST) {
      value = 31;
      sample.tsUs = <i64>(WALL_NS / 1000) - 500_000;
    }
    if (sample.fieldId == RECOVERY_ACTION) value = 0;
    sample.raw = sample.type == TYPE_DOUBLE ? reinterpret<u64>(<f64>value / 100.0) : value;
  }
}

/** The span that is measured: one scrape. */
export function bench_scrape(round: u32): void {
  beginScrape(WALL_NS + <u64>round * INTERVAL_NS, 0, BRIDGE_SOURCE_REPLAY);
  for (let i: u32 = 0; i < sampleCount; i++) takeSample(samples + (i << 5));
  endScrape();
}

/** Series of the last scrape; 0 when it emitted others than the first, dropped some or refused a sample. */
export function bench_series(): u32 {
  if (series == 0) series = gpuTally.series;
  const good = gpuTally.series == series && gpuTally.dropped == 0 && gpuTally.bad == 0 && gpuTally.values == gpuTally.samples;
  return good ? series : 0;
}
/** Bytes of its requests. */
export function bench_bytes(): u32 {
  let bytes: u32 = 0;
  for (let i: u32 = 0; i < gpuPartCount(); i++) bytes += gpuPartBytes(i);
  return bytes;
}
