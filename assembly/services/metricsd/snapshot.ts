// SPDX-License-Identifier: Apache-2.0
// SNAPSHOT: the registry by pages, STATS: the service's own counters (docs/format/wire-metricsd.md).
//
// Invariant: a record that does not fit ends the page and starts the next; series are never removed, so the union of the pages is
// the registry. Limits: snapshot_page_bytes_max a page.
import { METRICSD_SNAPSHOT_PAGE_BYTES_MAX } from "../../gen/limits";
import { sys_time_ns } from "../../gen/syscalls";
import { Writer } from "../../lib/bounded/writer";
import { redactionCount } from "../../lib/redact/redact";
import { MT_CURSOR_END, MT_KIND_HISTOGRAM, MT_STATUSES, MT_UNAVAILABLE, MT_UNIT_RESTORED } from "../../lib/wire/metricsd";
import { exportsWaiting, recordsDeferred, recordsExported, recordsFailed } from "./export";
import { ownGeneration, seriesHandle } from "./handles";
import { boundAt, boundCount } from "./limits";
import {
  ORIGIN_HERE, Series, histogramBucketOf, histogramCountOf, histogramSumOf, metricAt, seriesAt, seriesInUse, seriesUsed, textAt,
  updatesApplied,
} from "./registry";
import { answered } from "./rejects";
import { samplesDropped } from "./retention/builder";
import { retentionClock, retentionMode, retentionOffset_ns, retentionWhy } from "./retention/index";
import {
  deletionsAcknowledged, jobsLost, jobsWaiting, lastWriteStatus, recordsAcknowledged, rollupsAcknowledged, writeFailures,
} from "./retention/jobs";
import { recoveredBad, recoveredRecords, recoveredRefused, recoveredSeries } from "./retention/recover";
import { segmentNow, segmentRecordsNow, segmentsDropped } from "./retention/segments";
import { quarantineCount, sendersKnown } from "./senders";
import { liveSpans, spansExpired } from "./spans";

const RECORD_HEAD_BYTES: u32 = 34;

function recordBytes(s: Series): u32 {
  const buckets: u32 = s.kind == MT_KIND_HISTOGRAM ? (boundCount(s.unit) + 1) * 16 : 0;
  return RECORD_HEAD_BYTES + buckets + <u32>metricAt(<u32>s.metric).nameLen + <u32>s.labelsLen;
}

/** Puts one page into a reply whose head is written: next cursor, series, count, records from `cursor` on. */
export function putPage(w: Writer, cursor: u32, countMax: u32): void {
  const used = seriesUsed();
  const nextAt = w.reserve(4);
  w.putU32(used);
  const countAt = w.reserve(2);
  let index = cursor;
  let count: u32 = 0;
  while (index < used && (countMax == 0 || count < countMax)) {
    const s = seriesAt(index);
    if (w.length + recordBytes(s) > METRICSD_SNAPSHOT_PAGE_BYTES_MAX) break;
    putRecord(w, s, index);
    index += 1;
    count += 1;
  }
  store<u32>(nextAt, index >= used ? MT_CURSOR_END : index);
  store<u16>(countAt, <u16>count);
}

function putRecord(w: Writer, s: Series, index: u32): void {
  const m = metricAt(<u32>s.metric);
  const isHistogram = s.kind == MT_KIND_HISTOGRAM;
  const buckets: u32 = isHistogram ? boundCount(s.unit) + 1 : 0;
  const restored: u8 = s.origin != ORIGIN_HERE && s.updates == 0 ? MT_UNIT_RESTORED : 0;
  w.putU32(seriesHandle(index).raw).putU8(s.kind).putU8(s.unit | restored).putU8(<u8>buckets).putU8(m.nameLen);
  w.putU16(<u16>s.labelsLen).putU64(s.sender);
  w.putU64(isHistogram ? histogramSumOf(s) : s.value).putU64(isHistogram ? histogramCountOf(s) : s.updates);
  for (let i: u32 = 0; i < buckets; i++) {
    w.putU64(i + 1 == buckets ? u64.MAX_VALUE : boundAt(s.unit, i)).putU64(histogramBucketOf(s, i));
  }
  w.putBytes(textAt(m.name), <u32>m.nameLen).putBytes(textAt(s.labels), <u32>s.labelsLen);
}

/** Puts the STATS words. */
export function putStats(w: Writer): void {
  for (let status: u32 = 0; status < MT_STATUSES; status++) w.putU64(answered(status));
  w.putU64(seriesInUse()).putU64(liveSpans()).putU64(recordsExported()).putU64(recordsFailed());
  w.putU64(recordsDeferred()).putU64(exportsWaiting()).putU64(quarantineCount()).putU64(spansExpired());
  w.putU64(redactionCount()).putU64(sendersKnown()).putU64(ownGeneration()).putU64(updatesApplied());
  w.putU64(retentionMode()).putI64(retentionWhy());
  w.putU64(recordsAcknowledged()).putU64(rollupsAcknowledged()).putU64(deletionsAcknowledged());
  w.putU64(writeFailures()).putU64(lastWriteStatus()).putU64(jobsLost()).putU64(samplesDropped()).putU64(jobsWaiting());
  w.putU64(retentionClock(<u64>sys_time_ns())).putU64(retentionOffset_ns());
  w.putU64(segmentNow()).putU64(segmentRecordsNow()).putU64(segmentsDropped());
  w.putU64(recoveredRecords()).putU64(recoveredBad()).putU64(recoveredSeries()).putU64(recoveredRefused());
  w.putU64(answered(MT_UNAVAILABLE));
}
