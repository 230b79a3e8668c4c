// SPDX-License-Identifier: Apache-2.0
// Owns: the copy of the newest values in metricsd: one gauge a series of lib/gpu, made when its first value comes.
// Invariant: a gauge's name and labels never change; the same series after an interruption gets its old gauge. metricsd's gauges are whole
// numbers, so a fraction travels in a smaller unit, and the label `unit` says which. While there is room for all, all are copied; then the
// series of the groups that the cap would drop last go first, and what finds no gauge is counted. Limits: limits.dcgmd copy_series_max
// gauges, copy_labels_bytes_max of labels; a gauge lives as long as dcgmd.
import { DCGMD_COPY_LABELS_BYTES_MAX, DCGMD_COPY_SERIES_MAX, GPU_SLOTS_MAX } from "../../gen/limits";
import { fnv1a64 } from "../../lib/bounded/fnv";
import { equalsBytes, equalsLiteral } from "../../lib/bounded/text";
import { Writer } from "../../lib/bounded/writer";
import {
  GpuEntity, GpuSeries, entityAt, entityIndex, gpuMetricName, gpuMetricNameBytes, gpuMetricUnit, gpuMetricUnitBytes, gpuSeriesAt,
  gpuSeriesCount, gpuSeriesLabels,
} from "../../lib/gpu/index";
import { GROUP_GPU, GROUP_SWITCH } from "../../lib/gpu/entities";
import { groupRow } from "../../lib/gpu/tables";
import { Gauge, gaugeSet } from "../../lib/nexus-metrics/index";
import { addSeries } from "../../lib/nexus-metrics/table";
import { MT_KIND_GAUGE, MT_UNIT_NONE } from "../../lib/wire/metricsd";

/** What a slot of lib/gpu has: the gauge + 1 of the series `born` in it. */
@unmanaged
class Link {
  born: u32;
  gauge: u32;
}
/** One gauge. */
@unmanaged
class Copy {
  hash: u32;
  labelsBytes: u32;
  metric: u32;
  index: u32;
}
const TIERS: u32 = 32;
const PARENTS_MAX: u32 = 4;
const VALUE_MAX: f64 = 9.0e18;
const LINKS: usize = memory.data(GPU_SLOTS_MAX * 8, 4);
const COPIES: usize = memory.data(DCGMD_COPY_SERIES_MAX * 16, 4);
const LABELS: usize = memory.data(DCGMD_COPY_SERIES_MAX * DCGMD_COPY_LABELS_BYTES_MAX, 8);
const draft: usize = memory.data(DCGMD_COPY_LABELS_BYTES_MAX, 8);
const writer: Writer = changetype<Writer>(memory.data(16, 4));
let made: u32 = 0;

function linkAt(slot: u32): Link {
  return changetype<Link>(LINKS + (slot << 3));
}
function copyAt(index: u32): Copy {
  return changetype<Copy>(COPIES + (index << 4));
}
function labelsAt(index: u32): usize {
  return LABELS + index * DCGMD_COPY_LABELS_BYTES_MAX;
}

/** Sets the gauges of the last finished scrape's series; returns how many series have none. */
export function copySeries(source: string): u32 {
  const count = gpuSeriesCount();
  let strangers: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const series = gpuSeriesAt(i);
    const link = linkAt(series.slot);
    if (link.gauge != 0 && link.born == series.born) set(link.gauge - 1, series);
    else strangers++;
  }
  return strangers == 0 ? 0 : strangers - admit(count, strangers, source);
}

/** Gives gauges to series that have none, the most useful groups first; returns how many got one. */
function admit(count: u32, strangers: u32, source: string): u32 {
  let admitted: u32 = 0;
  for (let tier = TIERS; tier > 0 && admitted < strangers; tier--) {
    for (let i: u32 = 0; i < count; i++) {
      const series = gpuSeriesAt(i);
      if (<u32>groupRow(series.group).tier != tier) continue;
      const link = linkAt(series.slot);
      if (link.gauge != 0 && link.born == series.born) continue;
      const gauge = gaugeOf(series, source);
      if (gauge < 0) continue;
      link.born = series.born;
      link.gauge = <u32>gauge + 1;
      set(<u32>gauge, series);
      admitted++;
    }
  }
  return admitted;
}

/** The gauge with this series' name and labels, an old or a new one; -1 when there is no room. */
function gaugeOf(series: GpuSeries, source: string): i32 {
  putLabels(series, source);
  if (!writer.ok) return -1;
  const hash = <u32>fnv1a64(draft, writer.length);
  for (let i: u32 = 0; i < made; i++) {
    const known = copyAt(i);
    if (known.hash != hash || known.metric != series.metric) continue;
    if (equalsBytes(labelsAt(i), known.labelsBytes, draft, writer.length)) return <i32>i;
  }
  if (made == DCGMD_COPY_SERIES_MAX) return -1;
  const copy = copyAt(made);
  copy.hash = hash;
  copy.labelsBytes = writer.length;
  copy.metric = series.metric;
  memory.copy(labelsAt(made), draft, writer.length);
  const name = gpuMetricName(series.metric);
  copy.index = addSeries(
    MT_KIND_GAUGE, MT_UNIT_NONE, name, gpuMetricNameBytes(series.metric), 0, labelsAt(made), writer.length, 0,
  );
  made++;
  return <i32>made - 1;
}

/** hw.gpu.index or hw.switch.index, hw.id, the point's own, source, unit. */
function putLabels(series: GpuSeries, source: string): void {
  const entity = entityAt(series.resource);
  writer.reset(draft, DCGMD_COPY_LABELS_BYTES_MAX);
  const gpu = gpuOf(entity);
  if (gpu >= 0) writer.fieldDecimal("hw.gpu.index", <u64>gpu);
  if (entity.group == GROUP_SWITCH) writer.fieldDecimal("hw.switch.index", entity.id);
  writer.fieldText("hw.id", entity.uuid, entity.uuidBytes);
  gpuSeriesLabels(series, writer);
  writer.fieldLiteral("source", source);
  const unit = smallUnit(series.metric);
  if (unit.length != 0) writer.fieldLiteral("unit", unit);
  else writer.fieldText("unit", gpuMetricUnit(series.metric), gpuMetricUnitBytes(series.metric));
}

/** Index of the GPU that an entity is or belongs to, or -1. */
function gpuOf(entity: GpuEntity): i64 {
  let at = entity;
  for (let i: u32 = 0; i < PARENTS_MAX; i++) {
    if (at.group == GROUP_GPU) return <i64>at.id;
    const parent = entityIndex(at.parentGroup, at.parentId);
    if (parent < 0) return -1;
    at = entityAt(<u32>parent);
  }
  return -1;
}

/** The unit in which a metric's values are whole enough; empty: its own. */
function smallUnit(metric: u32): string {
  const unit = gpuMetricUnit(metric);
  const bytes = gpuMetricUnitBytes(metric);
  if (equalsLiteral(unit, bytes, "W")) return "mW";
  if (equalsLiteral(unit, bytes, "J")) return "mJ";
  if (equalsLiteral(unit, bytes, "s")) return "ms";
  return equalsLiteral(unit, bytes, "1") && isShare(metric) ? "%" : "";
}

/** Of the metrics without a unit: the shares of time. */
function isShare(metric: u32): bool {
  const suffix = "utilization";
  const bytes = gpuMetricNameBytes(metric);
  const from = <u32>suffix.length;
  return bytes > from && equalsLiteral(gpuMetricName(metric) + bytes - from, from, suffix);
}

function set(gauge: u32, series: GpuSeries): void {
  const unit = smallUnit(series.metric);
  const scale: f64 = unit.length == 0 ? 1 : unit == "%" ? 100 : 1000;
  const value = Math.round(series.value * scale);
  // lib/gpu holds values below 9e18 in their own unit; past that in the smaller one the gauge keeps its last value.
  if (value < VALUE_MAX && value > -VALUE_MAX) gaugeSet(Gauge.of(copyAt(gauge).index), <i64>value);
}
