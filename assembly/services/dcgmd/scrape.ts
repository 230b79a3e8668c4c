// SPDX-License-Identifier: Apache-2.0
// Owns: one scrape: read the newest values, turn each into a gauge, log what the profile asks for, send the gauges.
// Invariant: every sample is counted once: as a value, a blank, stale, bad or lost. A failed scrape voids the session, sets no
// gauge anew and is counted; dcgmd itself goes on. Limits: limits.dcgmd; in profile=proof eight temperatures become records.
import { DCGMD_FLUSHES_MAX } from "../../gen/limits";
import { MUT_DCGMD_SWAPS_ENTITIES, mutant } from "../../gen/mutants";
import { metricsFlush, metricsLost, metricsWaiting } from "../../lib/nexus-metrics/index";
import { entitiesPresent, entityAt, entityIndex } from "./entities";
import { FIELD_TEMPERATURE, fieldAt, fieldIndex } from "./fields";
import { LINK_OK } from "./link";
import { logSummary, logTemperature, recordsLost } from "./records";
import { SAMPLE_BAD, SAMPLE_BLANK, SAMPLE_OK, SAMPLE_STALE, Sample, judge, sampleValue } from "./samples";
import { seriesMade, seriesRefused, setCell } from "./series";
import { dropSession, ensureWatched, latestValues, sourceLabel } from "./session";

/** What a scrape counted. */
@unmanaged
export class Tally {
  samples: u32;
  values: u32;
  blanks: u32;
  stale: u32;
  bad: u32;
  /** Values without an entity or a series to go to. */
  homeless: u32;
}
export const tally: Tally = changetype<Tally>(memory.data(24, 4));

let scrapes: u64 = 0;
let failures: u64 = 0;
let logsTemperatures: bool = false;

export function scrapeCount(): u64 {
  return scrapes;
}
export function failureCount(): u64 {
  return failures;
}
/** Everything of this service that will not arrive: gauge updates, records, series without room. */
export function lostCount(): u64 {
  return metricsLost() + recordsLost() + seriesRefused();
}

/** One scrape; true when the host gave values. `withRecords`: log each temperature (profile=proof). */
export function scrape(withRecords: bool): bool {
  scrapes++;
  memory.fill(changetype<usize>(tally), 0, offsetof<Tally>());
  logsTemperatures = withRecords;
  let outcome = ensureWatched();
  if (outcome == LINK_OK) outcome = latestValues(onSample);
  if (outcome != LINK_OK) {
    failures++;
    dropSession();
    return false;
  }
  sendGauges();
  logSummary(entitiesPresent(), tally.samples, seriesMade(), tally.blanks, sourceLabel());
  return true;
}

function onSample(sample: Sample, hostWallNs: u64): void {
  tally.samples++;
  const field = fieldIndex(<u32>sample.fieldId);
  const entity = entityIndex(<u32>sample.group, mutant(MUT_DCGMD_SWAPS_ENTITIES) ? sample.entityId ^ 1 : sample.entityId);
  if (field < 0 || entity < 0) {
    tally.homeless++;
    return;
  }
  const verdict = judge(sample, fieldAt(<u32>field), hostWallNs);
  if (verdict == SAMPLE_BLANK) tally.blanks++;
  if (verdict == SAMPLE_STALE) tally.stale++;
  if (verdict == SAMPLE_BAD) tally.bad++;
  if (verdict != SAMPLE_OK) return;
  if (!setCell(<u32>entity, <u32>field, sampleValue, sourceLabel())) {
    tally.homeless++;
    return;
  }
  tally.values++;
  if (logsTemperatures && <u32>sample.fieldId == FIELD_TEMPERATURE) {
    logTemperature(entityAt(<u32>entity), sampleValue, sourceLabel());
  }
}

/** Registrations go out at most flush_frames_max a flush, so the first scrape needs several. */
function sendGauges(): void {
  for (let i: u32 = 0; i < DCGMD_FLUSHES_MAX && metricsWaiting(); i++) metricsFlush();
}
