// SPDX-License-Identifier: Apache-2.0
// Owns: what becomes of a finished reading: kept for exportd, copied to metricsd, counted, and summed up in one record.
// Invariant: every sample is in exactly one count; a reading is published whole or not at all. Limits: limits.gpu, limits.dcgmd.
import { GPU_GROUPS } from "../../gen/gpu";
import { equalsLiteral } from "../../lib/bounded/text";
import {
  GpuTally, entitiesPresent, entityAt, gpuDropped, gpuMetricName, gpuMetricNameBytes, gpuSeriesAt, gpuSeriesCount, gpuSeriesLabels,
} from "../../lib/gpu/index";
import { Writer } from "../../lib/bounded/writer";
import { copySeries } from "./copy";
import { keepScrape, latestScrape } from "./latest";
import { logSummary, logTemperature } from "./records";
import {
  SAMPLE_BAD, SAMPLE_BLANK, SAMPLE_DENIED, SAMPLE_ERROR, SAMPLE_HOMELESS, SAMPLE_STALE, SAMPLE_UNSUPPORTED, SAMPLE_VALUE, selfDropped,
  selfEmitted, selfSamples,
} from "./self";

/** What the last published reading was, for SCRAPE: `blanks` are all samples that rightly have no value. */
@unmanaged
export class Published {
  samples: u32;
  series: u32;
  blanks: u32;
  /** Stale, in error, bad, homeless, refused at the cap. */
  lost: u32;
}
export const published: Published = changetype<Published>(memory.data(16, 4));

/** Since start. */
@unmanaged
export class Totals {
  samples: u64;
  values: u64;
  blanks: u64;
  stale: u64;
  errors: u64;
  dropped: u64;
  /** Series without a copy in metricsd, at the last reading. */
  notCopied: u64;
}
export const totals: Totals = changetype<Totals>(memory.data(56, 8));
const droppedBefore: usize = memory.data(GPU_GROUPS * 8, 8);
const ownLabels: usize = memory.data(64);
const own: Writer = changetype<Writer>(memory.data(16, 4));

export function publish(tally: GpuTally, sourceRow: u8, source: string, wallNs: u64, logsTemperatures: bool): void {
  const blanks = tally.blanks + tally.unsupported + tally.denied;
  published.samples = tally.samples;
  published.series = tally.series;
  published.blanks = blanks;
  published.lost = tally.stale + tally.errors + tally.bad + tally.homeless + tally.dropped;
  totals.samples += tally.samples;
  totals.values += tally.values;
  totals.blanks += blanks;
  totals.stale += tally.stale;
  totals.errors += tally.errors;
  totals.dropped += tally.dropped;
  keepScrape(tally.series, sourceRow, wallNs);
  totals.notCopied = copySeries(source);
  countSamples(tally);
  countDropped();
  selfEmitted(wallNs, <u32>totals.notCopied);
  if (logsTemperatures) logTemperatures(source);
  logSummary(
    latestScrape(), entitiesPresent(), tally.samples, tally.series, blanks, tally.stale, tally.errors, tally.dropped, source,
  );
}

function countSamples(tally: GpuTally): void {
  selfSamples(SAMPLE_VALUE, tally.values);
  selfSamples(SAMPLE_BLANK, tally.blanks);
  selfSamples(SAMPLE_UNSUPPORTED, tally.unsupported);
  selfSamples(SAMPLE_DENIED, tally.denied);
  selfSamples(SAMPLE_STALE, tally.stale);
  selfSamples(SAMPLE_ERROR, tally.errors);
  selfSamples(SAMPLE_BAD, tally.bad);
  selfSamples(SAMPLE_HOMELESS, tally.homeless);
}

/** lib/gpu counts a group's refused series since it was configured; metricsd gets what came since the last reading. */
function countDropped(): void {
  for (let group: u32 = 0; group < GPU_GROUPS; group++) {
    const now = gpuDropped(group);
    const before = load<u64>(droppedBefore + (group << 3));
    selfDropped(group, <u32>(now >= before ? now - before : now));
    store<u64>(droppedBefore + (group << 3), now);
  }
}

/** A record for each GPU's own temperature (profile=proof). */
function logTemperatures(source: string): void {
  for (let i: u32 = 0; i < gpuSeriesCount(); i++) {
    const series = gpuSeriesAt(i);
    if (!equalsLiteral(gpuMetricName(series.metric), gpuMetricNameBytes(series.metric), "hw.temperature")) continue;
    gpuSeriesLabels(series, own.reset(ownLabels, 64));
    if (!equalsLiteral(ownLabels, own.length, "hw.sensor_location=gpu")) continue;
    const entity = entityAt(series.resource);
    logTemperature(entity.id, entity.uuid, entity.uuidBytes, <i64>Math.round(series.value), source);
  }
}
