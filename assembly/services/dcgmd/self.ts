// SPDX-License-Identifier: Apache-2.0
// Owns: dcgmd's measurements of itself, in metricsd: vigil.receiver.* (docs/format/wire-dcgmd.md lists them).
// Invariant: the errors and `degraded` are there from the first flush on, with 0; any other series from its first update; an update never
// waits.
// Limits: limits.dcgmd self_series_max series in all, which with copy_series_max are what the recipe gpu grants dcgmd.
import { GPU_GROUPS } from "../../gen/gpu";
import { DCGMD_SELF_SERIES_MAX } from "../../gen/limits";
import { Writer } from "../../lib/bounded/writer";
import { gpuGroupName, gpuGroupNameBytes } from "../../lib/gpu/index";
import {
  Counter, Gauge, Histogram, MT_UNIT_NS, counter, counterAdd, counterWithLabels, gauge, gaugeSet, histogram, observe,
} from "../../lib/nexus-metrics/index";
import { DG_KINDS } from "../../lib/wire/dcgmd";
import { kindName } from "./kinds";

/** Outcomes of samples, in the order of SAMPLE_*. */
export const SAMPLE_OUTCOMES: u32 = 8;
export const SAMPLE_VALUE: u32 = 0;
export const SAMPLE_BLANK: u32 = 1;
export const SAMPLE_UNSUPPORTED: u32 = 2;
export const SAMPLE_STALE: u32 = 3;
export const SAMPLE_ERROR: u32 = 4;
export const SAMPLE_BAD: u32 = 5;
export const SAMPLE_HOMELESS: u32 = 6;
export const SAMPLE_DENIED: u32 = 7;

/** Series without a label of their own kind: emissions, duration, degraded, last_activity, not_retained. */
const UNLABELLED: u32 = 5;
const LABEL_BYTES: u32 = 32;
const LABELS_MAX: u32 = 9 + 8 + 32;
const LABELS: usize = memory.data((9 + 8 + 32) * 32);
const writer: Writer = changetype<Writer>(memory.data(16, 4));
const errors: usize = memory.data((9 + 1) * 4, 4);
const samples: usize = memory.data(8 * 4, 4);
const dropped: usize = memory.data(32 * 4, 4);
let labelsUsed: u32 = 0;
let emissions: Counter = changetype<Counter>(0);
let duration: Histogram = changetype<Histogram>(0);
let degraded: Gauge = changetype<Gauge>(0);
let lastActivity: Gauge = changetype<Gauge>(0);
let notRetained: Gauge = changetype<Gauge>(0);

function outcomeName(outcome: u32): string {
  if (outcome == SAMPLE_VALUE) return "ok";
  if (outcome == SAMPLE_BLANK) return "no_data";
  if (outcome == SAMPLE_UNSUPPORTED) return "not_supported";
  if (outcome == SAMPLE_STALE) return "stale";
  if (outcome == SAMPLE_ERROR) return "error";
  if (outcome == SAMPLE_BAD) return "bad";
  return outcome == SAMPLE_HOMELESS ? "homeless" : "denied";
}

/** The next label under construction: `key=`, and what the caller puts behind it. */
function label(key: string): Writer {
  assert(labelsUsed < LABELS_MAX);
  const at = LABELS + labelsUsed * LABEL_BYTES;
  labelsUsed++;
  return writer.reset(at, LABEL_BYTES).fieldKey(key);
}
/** A counter with that label. */
function labelled(name: string): u32 {
  assert(writer.ok);
  return counterWithLabels(name, writer.base, writer.length).index;
}

/** Makes the series, once, after metricsInit. */
export function selfInit(): void {
  assert(GPU_GROUPS <= 32 && LABELS_MAX + UNLABELLED <= DCGMD_SELF_SERIES_MAX);
  emissions = counter("vigil.receiver.emissions");
  duration = histogram("vigil.receiver.scrape.duration", MT_UNIT_NS);
  degraded = gauge("vigil.receiver.degraded");
  // There from the first flush on: who watches tells a healthy receiver from one that says nothing.
  gaugeSet(degraded, 0);
  lastActivity = gauge("vigil.receiver.last_activity", "unit=s");
  notRetained = gauge("vigil.receiver.series.not_retained");
  for (let i: u32 = 1; i <= DG_KINDS; i++) {
    label("kind").putText(kindName(<u8>i));
    const failures = labelled("vigil.receiver.errors");
    store<u32>(errors + (i << 2), failures);
    // There from the first flush on: an increase from nothing to 1 is none for whoever watches.
    counterAdd(Counter.of(failures), 0);
  }
  for (let i: u32 = 0; i < SAMPLE_OUTCOMES; i++) {
    label("status").putText(outcomeName(i));
    store<u32>(samples + (i << 2), labelled("vigil.receiver.samples"));
  }
  for (let i: u32 = 0; i < GPU_GROUPS; i++) {
    label("group").putBytes(gpuGroupName(i), gpuGroupNameBytes(i));
    store<u32>(dropped + (i << 2), labelled("vigil.receiver.series.dropped"));
  }
}

export function selfError(kind: u8): void {
  counterAdd(Counter.of(load<u32>(errors + (<usize>kind << 2))), 1);
}
export function selfDegraded(now: bool): void {
  gaugeSet(degraded, now ? 1 : 0);
}
/** Samples of one outcome (SAMPLE_*). */
export function selfSamples(outcome: u32, count: u32): void {
  if (count != 0) counterAdd(Counter.of(load<u32>(samples + (outcome << 2))), count);
}
/** Series of a group that the cap or a budget dropped. */
export function selfDropped(group: u32, count: u32): void {
  if (count != 0) counterAdd(Counter.of(load<u32>(dropped + (group << 2))), count);
}
/** A scrape that ended, well or not. */
export function selfScrape(durationNs: u64): void {
  observe(duration, durationNs);
}
/** A scrape whose values went out: at which second of the host's clock, and how many series metricsd got no copy of. */
export function selfEmitted(hostWallNs: u64, notCopied: u32): void {
  counterAdd(emissions, 1);
  gaugeSet(degraded, 0);
  gaugeSet(lastActivity, <i64>(hostWallNs / 1_000_000_000));
  gaugeSet(notRetained, notCopied);
}
