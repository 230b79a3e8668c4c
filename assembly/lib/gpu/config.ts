// SPDX-License-Identifier: Apache-2.0
// Owns: what an operator switched: groups, metrics, single fields, budgets, the cap, the interval; and from these the fields to watch.
// Invariant: a field is on if its own switch says so or, without one, if its group is on; and never while its metric is excluded. Group
// `auto` is on while an entity of its level is present. Limits: limits.gpu; FIELD_ID_MAX.
import { GPU_FIELDS, GPU_GROUPS, GPU_METRICS } from "../../gen/gpu";
import { GPU_FIELDS_MAX, GPU_INTERVAL_NS_DEFAULT, GPU_SERIES_DEFAULT, GPU_SERIES_MAX } from "../../gen/limits";
import { fieldRow, gpuGroupHasSwitch, groupRow, pointRow } from "./tables";

export const GROUP_DISABLED: u32 = 0;
export const GROUP_ENABLED: u32 = 1;
export const GROUP_AUTO: u32 = 2;

/** Field ids are below this. */
const FIELD_ID_MAX: u32 = 2048;
const SWITCH_NONE: u8 = 0;
const SWITCH_ON: u8 = 1;
const SWITCH_OFF: u8 = 2;
const NO_BUDGET: u32 = u32.MAX_VALUE;

const GROUP_STATES: usize = memory.data(GPU_GROUPS);
const BUDGETS: usize = memory.data(GPU_GROUPS * 4, 4);
const METRIC_OFF: usize = memory.data(GPU_METRICS);
const FIELD_SWITCH: usize = memory.data(GPU_FIELDS);
/** By field id: index + 1 of a field that is on, 0 for all others. */
const FIELD_OF_ID: usize = memory.data(2048);
const WATCH: usize = memory.data(GPU_FIELDS * 2, 2);
let watched: u32 = 0;
let dirty: bool = true;
let switches: bool = false;
let seriesCap: u32 = GPU_SERIES_DEFAULT;
let budgetsSet: u32 = 0;
let intervalNs: u64 = GPU_INTERVAL_NS_DEFAULT;

/** Everything as the seed has it. */
export function resetConfig(): void {
  assert(GPU_FIELDS <= GPU_FIELDS_MAX);
  for (let i: u32 = 0; i < GPU_GROUPS; i++) {
    store<u8>(GROUP_STATES + i, groupRow(i).initial);
    store<u32>(BUDGETS + (i << 2), NO_BUDGET);
  }
  memory.fill(METRIC_OFF, 0, GPU_METRICS);
  memory.fill(FIELD_SWITCH, SWITCH_NONE, GPU_FIELDS);
  seriesCap = GPU_SERIES_DEFAULT;
  budgetsSet = 0;
  intervalNs = GPU_INTERVAL_NS_DEFAULT;
  switches = false;
  dirty = true;
}

/** Switches a group that has a switch, and those that follow it; false for another group or for no state. Only nvswitch takes auto. */
export function gpuGroup(group: u32, state: u32): bool {
  if (group >= GPU_GROUPS || state > GROUP_AUTO || !gpuGroupHasSwitch(group)) return false;
  if (state == GROUP_AUTO && <u32>groupRow(group).initial != GROUP_AUTO) return false;
  store<u8>(GROUP_STATES + group, <u8>state);
  dirty = true;
  return true;
}
/** Most series of a group in a scrape. */
export function gpuBudget(group: u32, series: u32): bool {
  if (group >= GPU_GROUPS) return false;
  if (load<u32>(BUDGETS + (group << 2)) == NO_BUDGET) budgetsSet++;
  store<u32>(BUDGETS + (group << 2), series);
  return true;
}
export function gpuMetricAllowed(metric: u32, allowed: bool): bool {
  if (metric >= GPU_METRICS) return false;
  store<u8>(METRIC_OFF + metric, allowed ? 0 : 1);
  dirty = true;
  return true;
}
/** A switch of one field, by its id, that wins over its group's; false for a field that makes no point. */
export function gpuFieldAllowed(field: u32, allowed: bool): bool {
  for (let i: u32 = 0; i < GPU_FIELDS; i++) {
    if (<u32>fieldRow(i).id != field) continue;
    store<u8>(FIELD_SWITCH + i, allowed ? SWITCH_ON : SWITCH_OFF);
    dirty = true;
    return true;
  }
  return false;
}
/** Most series in a scrape, 1 to limits.gpu series_max. */
export function gpuSeriesMax(series: u32): bool {
  if (series == 0 || series > GPU_SERIES_MAX) return false;
  seriesCap = series;
  return true;
}
/** The collection interval, from which staleness and gaps are measured. */
export function gpuInterval(ns: u64): bool {
  if (ns == 0) return false;
  intervalNs = ns;
  return true;
}

export function cap(): u32 {
  return seriesCap;
}
export function anyBudget(): bool {
  return budgetsSet != 0;
}
export function budgetOf(group: u32): u32 {
  return load<u32>(BUDGETS + (group << 2));
}
export function interval(): u64 {
  return intervalNs;
}
/** Whether the last enumeration had a switch. */
export function setSwitches(present: bool): void {
  if (present != switches) dirty = true;
  switches = present;
}

/** Whether a group is on now. */
export function gpuGroupOn(group: u32): bool {
  const follows = <u32>groupRow(group).follows;
  if (follows >= GPU_GROUPS) return true;
  const state = <u32>load<u8>(GROUP_STATES + follows);
  return state == GROUP_AUTO ? switches : state == GROUP_ENABLED;
}

function isOn(field: u32): bool {
  const point = pointRow(fieldRow(field).point);
  if (load<u8>(METRIC_OFF + point.metric) != 0) return false;
  const own = load<u8>(FIELD_SWITCH + field);
  return own == SWITCH_NONE ? gpuGroupOn(point.group) : own == SWITCH_ON;
}

function refresh(): void {
  if (!dirty) return;
  memory.fill(FIELD_OF_ID, 0, FIELD_ID_MAX);
  watched = 0;
  for (let i: u32 = 0; i < GPU_FIELDS; i++) {
    if (!isOn(i)) continue;
    const id = <u32>fieldRow(i).id;
    assert(id < FIELD_ID_MAX);
    store<u8>(FIELD_OF_ID + id, <u8>(i + 1));
    store<u16>(WATCH + (watched << 1), <u16>id);
    watched++;
  }
  dirty = false;
}

/** Number of fields to watch: sorted, each once. */
export function gpuWatchList(): u32 {
  refresh();
  return watched;
}
export function gpuWatchAt(index: u32): u32 {
  assert(index < watched);
  return load<u16>(WATCH + (index << 1));
}

/** Index + 1 of a field that is on, 0 for any other. Call gpuWatchList once after a change. */
@inline
export function fieldOfId(id: u32): u32 {
  return id < FIELD_ID_MAX ? <u32>load<u8>(FIELD_OF_ID + id) : 0;
}
