// SPDX-License-Identifier: Apache-2.0
// Owns: lib/gpu as a module of its own, so that a host test can drive it call by call.
// Invariant: thin exports over the shipping code, nothing else. Limits: INPUT_BYTES of input a call.
import { Reader, Writer } from "../../assembly/lib/bounded/writer";
import * as gpu from "../../assembly/lib/gpu/index";

const INPUT: usize = memory.data(65536, 8);
const reader: Reader = changetype<Reader>(memory.data(16, 4));
const writer: Writer = changetype<Writer>(memory.data(16, 4));

export function input(): usize { return INPUT; }
export function reset(): void { gpu.gpuReset(); }
export function group(index: u32, state: u32): bool { return gpu.gpuGroup(index, state); }
export function groupOn(index: u32): bool { return gpu.gpuGroupOn(index); }
export function budget(index: u32, most: u32): bool { return gpu.gpuBudget(index, most); }
export function metricAllowed(index: u32, allowed: bool): bool { return gpu.gpuMetricAllowed(index, allowed); }
export function fieldAllowed(id: u32, allowed: bool): bool { return gpu.gpuFieldAllowed(id, allowed); }
export function seriesMax(most: u32): bool { return gpu.gpuSeriesMax(most); }
export function interval(ns: u64): bool { return gpu.gpuInterval(ns); }
/** Names lie at input(). */
export function groupByName(bytes: u32): i32 { return gpu.gpuGroupByName(INPUT, bytes); }
export function metricByName(bytes: u32): i32 { return gpu.gpuMetricByName(INPUT, bytes); }
export function watchList(): u32 { return gpu.gpuWatchList(); }
export function watchAt(index: u32): u32 { return gpu.gpuWatchAt(index); }

export function beginEnumeration(): void { gpu.beginEnumeration(); }
/** Takes records of `bytes` bytes at input(); how many were taken, or -1 - n when record n is malformed. */
export function takeEntities(bytes: u32): i32 {
  reader.reset(INPUT, bytes);
  let taken: i32 = 0;
  for (; reader.left != 0; taken++) if (!gpu.takeEntity(reader)) return -1 - taken;
  return taken;
}
export function endEnumeration(): u32 { return gpu.endEnumeration(); }
export function entityIndex(kind: u32, id: u32): i32 { return gpu.entityIndex(kind, id); }
export function entityCount(): u32 { return gpu.entityCount(); }
export function entitiesRefused(): u64 { return gpu.entitiesRefused(); }
/** 0 uuid, 1 model, 2 bdf, 3 driver. */
export function entityText(index: u32, which: u32): usize {
  const entity = gpu.entityAt(index);
  return which == 0 ? entity.uuid : which == 1 ? entity.model : which == 2 ? entity.bdf : entity.driver;
}
export function entityTextBytes(index: u32, which: u32): u32 {
  const entity = gpu.entityAt(index);
  return which == 0 ? entity.uuidBytes : which == 1 ? entity.modelBytes : which == 2 ? entity.bdfBytes : entity.driverBytes;
}

export function beginScrape(wallNs: u64, source: u32): void { gpu.beginScrape(wallNs, 0, <u8>source); }
/** Samples lie at input(). */
export function takeSamples(count: u32): void { for (let i: u32 = 0; i < count; i++) gpu.takeSample(INPUT + (i << 5)); }
/** Address of the tally: 14 words. */
export function endScrape(): usize { return changetype<usize>(gpu.endScrape()); }
export function partCount(age: u32): u32 { return gpu.gpuPartCount(age); }
export function partAt(index: u32, age: u32): usize { return gpu.gpuPartAt(index, age); }
export function partBytes(index: u32, age: u32): u32 { return gpu.gpuPartBytes(index, age); }
export function seriesCount(): u32 { return gpu.gpuSeriesCount(); }
export function seriesAt(index: u32): usize { return changetype<usize>(gpu.gpuSeriesAt(index)); }
export function dropped(index: u32): u64 { return gpu.gpuDropped(index); }
/** The own attributes of a series at input(); their length. */
export function seriesLabels(index: u32): u32 {
  writer.reset(INPUT, 512);
  gpu.gpuSeriesLabels(gpu.gpuSeriesAt(index), writer);
  return writer.length;
}
/** Cleans `bytes` bytes at input() into input() + 4096; the length. */
export function clean(bytes: u32, max: u32): u32 { return gpu.sanitise(INPUT, bytes, INPUT + 4096, max); }
export function estimate(): u32 { return gpu.gpuEstimate(); }
