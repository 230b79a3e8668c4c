// SPDX-License-Identifier: Apache-2.0
// Owns: GPU telemetry between the bridge's samples and OTLP requests; pure: no system calls, no clock of its own, static memory alone.
// Use: gpuReset; configure (gpuGroup, gpuBudget, gpuMetricAllowed, gpuFieldAllowed, gpuSeriesMax, gpuInterval); beginEnumeration,
// takeEntity .., endEnumeration; gpuWatchList; then each scrape: beginScrape, takeSample .., endScrape; then gpuPartAt and gpuSeriesAt.
// Invariant: the same calls from gpuReset on give the same bytes. Limits: limits.gpu.
import { GPU_FIELDS } from "../../gen/gpu";
import { Writer } from "../bounded/writer";
import { fieldOfId, gpuWatchList, resetConfig } from "./config";
import { GROUP_LINK, GpuEntity, entityAt, entityCount, portOf, resetEntities } from "./entities";
import { emittedAt, emittedCount, resetParts } from "./parts";
import { pointTimeNs, pointValue, putPointLabels } from "./point";
import { resetScrape } from "./scrape";
import { groupOf, resetSelect } from "./select";
import { resetSlots, slotAt } from "./slots";
import { NONE_U8, fieldRow, pointRow } from "./tables";

export {
  GROUP_AUTO, GROUP_DISABLED, GROUP_ENABLED, gpuBudget, gpuFieldAllowed, gpuGroup, gpuGroupOn, gpuInterval, gpuMetricAllowed, gpuSeriesMax,
  gpuWatchAt, gpuWatchList,
} from "./config";
export {
  GROUP_COMPUTE, GpuEntity, beginEnumeration, endEnumeration, entitiesPresent, entitiesRefused, entityAt, entityCount, entityIndex,
  takeEntity,
} from "./entities";
export { GpuSample, GpuTally, gpuTally } from "./judge";
export { gpuPartAt, gpuPartBytes, gpuPartCount } from "./parts";
export { beginScrape, endScrape, gpuScrapes, takeSample } from "./scrape";
export { gpuDropped } from "./select";
export {
  gpuGroupByName, gpuGroupHasSwitch, gpuGroupName, gpuGroupNameBytes, gpuMetricByName, gpuMetricInstrument, gpuMetricName,
  gpuMetricNameBytes, gpuMetricUnit, gpuMetricUnitBytes,
} from "./tables";
export { sanitise } from "./sanitise";

/** One series of the last finished scrape, valid until the next call of gpuSeriesAt. */
@unmanaged
export class GpuSeries {
  value: f64;
  /** ns since 1970. */
  stampNs: u64;
  /** Place of the entity whose resource it belongs to (a link's owner), for entityAt. */
  resource: u32;
  /** Place of the entity that the sample was of. */
  entity: u32;
  group: u32;
  metric: u32;
  point: u32;
  /** Link, XID or state, where the point's attributes have one. */
  code: u32;
  /** Below limits.gpu slots_max; the same slot with another `born` is another series. */
  slot: u32;
  born: u32;
}
const series: GpuSeries = changetype<GpuSeries>(memory.data(48, 8));

/** Everything anew: no entity, no series, the seed's configuration. */
export function gpuReset(): void {
  resetConfig();
  resetSlots();
  resetEntities();
  resetScrape();
  resetSelect();
  resetParts();
}

/** Series that the entities present may have at most with the groups as they are: what the cap is to be compared with. Codes count once. */
export function gpuEstimate(): u32 {
  gpuWatchList();
  let series: u32 = 0;
  for (let i: u32 = 0; i < entityCount(); i++) {
    const entity = entityAt(i);
    if (entity.present == 0 || entity.owner < 0) continue;
    for (let field: u32 = 0; field < GPU_FIELDS; field++) {
      const row = fieldRow(field);
      if (fieldOfId(row.id) != 0 && ((<u32>row.levels >> entity.group) & 1) != 0 && !standsIn(field, entity)) series++;
    }
  }
  return series;
}
/** Whether a field only takes the place of another that the same entity has, or for a link its owner. */
function standsIn(field: u32, entity: GpuEntity): bool {
  const row = fieldRow(field);
  if (row.replaces == NONE_U8) return false;
  const owner = entity.group == GROUP_LINK ? entityAt(<u32>entity.owner) : entity;
  const other = <u32>row.replaces + <u32>row.stride * (entity.group == GROUP_LINK ? portOf(entity) : 0);
  if (other >= GPU_FIELDS || fieldRow(other).point != fieldRow(row.replaces).point) return false;
  return fieldOfId(fieldRow(other).id) != 0 && ((<u32>fieldRow(other).levels >> owner.group) & 1) != 0;
}

/** Series of the last finished scrape, in the order of its requests. */
export function gpuSeriesCount(): u32 {
  return emittedCount();
}
export function gpuSeriesAt(index: u32): GpuSeries {
  const place = emittedAt(index);
  const slot = slotAt(place);
  series.value = pointValue(slot);
  series.stampNs = pointTimeNs(slot);
  series.entity = slot.entity;
  series.resource = <u32>entityAt(slot.entity).owner;
  series.group = groupOf(slot.entity, slot.point);
  series.metric = pointRow(slot.point).metric;
  series.point = slot.point;
  series.code = slot.code;
  series.slot = place;
  series.born = slot.born;
  return series;
}
/** The series' own attributes as `key=value` lines behind what the writer has, for metricsd's labels. */
export function gpuSeriesLabels(one: GpuSeries, w: Writer): void {
  putPointLabels(w, one.point, one.code);
}
