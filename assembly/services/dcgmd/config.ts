// SPDX-License-Identifier: Apache-2.0
// Owns: the receiver's configuration: what the host sent for `config` (docs/format/bridge.md), judged line by line, and what holds.
// Invariant: the host judged it before, and still every line is judged here; all faults are collected, each a record that names the
// operator's path, and with any fault the receiver does not scrape. What no line says has seed 000's default.
// Limits: BRIDGE_CONFIG_BYTES_MAX of text; limits.dcgmd config_faults_logged_max faults have a record, the others are counted.
import { GPU_GROUPS, GPU_METRICS } from "../../gen/gpu";
import {
  DCGMD_CONFIG_FAULTS_LOGGED_MAX, DCGMD_INITIAL_DELAY_MS, DCGMD_INTERVAL_MS, DCGMD_INTERVAL_MS_MAX, DCGMD_INTERVAL_MS_MIN,
  GPU_SERIES_DEFAULT, GPU_SERIES_MAX,
} from "../../gen/limits";
import { equalsBytes, equalsLiteral, parseDecimal, parsedDecimal, startsWithLiteral } from "../../lib/bounded/text";
import {
  GROUP_AUTO, GROUP_DISABLED, GROUP_ENABLED, gpuBudget, gpuFieldAllowed, gpuGroup, gpuGroupByName, gpuGroupHasSwitch, gpuMetricAllowed,
  gpuMetricByName, gpuReset, gpuSeriesMax,
} from "../../lib/gpu/index";
import { BRIDGE_CONFIG_BYTES_MAX } from "../../lib/wire/bridge";
import { isEndpoint } from "./endpoint";
import { logFault, logRefused } from "./records";

const NEWLINE: u8 = 10;
const EQUALS: u8 = 61;
/** 2^53 - 1: what the host's clock of milliseconds counts to. */
const MS_MAX: u64 = 9_007_199_254_740_991;
const SEEN_MODE: u32 = 1;
const SEEN_ENDPOINT: u32 = 2;
const SEEN_INTERVAL: u32 = 4;
const SEEN_DELAY: u32 = 8;
const SEEN_CAP: u32 = 16;

const kept: usize = memory.data(BRIDGE_CONFIG_BYTES_MAX);
const fieldsSeen: usize = memory.data(8192);
let keptBytes: u32 = 0;
let held: bool = false;
let faultCount: u32 = 0;
let embedded: bool = false;
let seen: u32 = 0;
let groupsSeen: u32 = 0;
let budgetsSeen: u32 = 0;
let included: u32 = 0;
let excluded: u32 = 0;
let endpointAt: usize = 0;
let endpointBytes: u32 = 0;
let keyAt: usize = 0;
let keyBytes: u32 = 0;
let valueAt: usize = 0;
let valueBytes: u32 = 0;

/** Time between two scrapes, and from the start of the receiver to the first, ms. */
export let intervalMs: u64 = DCGMD_INTERVAL_MS;
export let initialDelayMs: u64 = DCGMD_INITIAL_DELAY_MS;

/** Faults of the configuration that was taken last. */
export function configFaults(): u32 {
  return faultCount;
}
/** Whether one was taken at all, and held. */
export function configHolds(): bool {
  return held && faultCount == 0;
}

/** Takes what the host sent. True when it is another text than the one held: lib/gpu began anew, and so does the watch. */
export function takeConfig(text: usize, bytes: u32): bool {
  if (held && equalsBytes(kept, keptBytes, text, bytes)) return false;
  assert(bytes <= BRIDGE_CONFIG_BYTES_MAX && GPU_GROUPS <= 32 && GPU_METRICS <= 32);
  memory.copy(kept, text, bytes);
  keptBytes = bytes;
  held = true;
  begin();
  let at: u32 = 0;
  while (at < bytes) {
    let end = at;
    while (end < bytes && load<u8>(kept + end) != NEWLINE) end++;
    takeLine(kept + at, end - at);
    at = end + 1;
  }
  finish();
  if (faultCount != 0) logRefused(faultCount, min<u32>(faultCount, DCGMD_CONFIG_FAULTS_LOGGED_MAX));
  return true;
}

function begin(): void {
  gpuReset();
  memory.fill(fieldsSeen, 0, 8192);
  faultCount = 0;
  embedded = false;
  seen = 0;
  groupsSeen = 0;
  budgetsSeen = 0;
  included = 0;
  excluded = 0;
  endpointBytes = 0;
  intervalMs = DCGMD_INTERVAL_MS;
  initialDelayMs = DCGMD_INITIAL_DELAY_MS;
  gpuSeriesMax(GPU_SERIES_DEFAULT);
}

/** What can be judged only when every line is known. */
function finish(): void {
  if ((seen & SEEN_ENDPOINT) != 0 && !embedded && !isEndpoint(endpointAt, endpointBytes)) {
    valueAt = endpointAt;
    valueBytes = endpointBytes;
    fault("receivers.dcgm.endpoint", "host:port, [ipv6]:port or unix:///path; no user or password");
  }
  for (let i: u32 = 0; i < GPU_METRICS; i++) {
    const wanted = included == 0 || (included & (1 << i)) != 0;
    gpuMetricAllowed(i, wanted && (excluded & (1 << i)) == 0);
  }
}

/** One fault: counted, and logged while there are few. A value that may hold a password is not repeated. */
function fault(path: string, rule: string, name: usize = 0, nameBytes: u32 = 0): void {
  faultCount++;
  if (faultCount > DCGMD_CONFIG_FAULTS_LOGGED_MAX) return;
  let shown = valueBytes;
  for (let i: u32 = 0; i < valueBytes; i++) if (load<u8>(valueAt + i) == 64) shown = 0;
  logFault(path, name, nameBytes, valueAt, shown, rule);
}

function takeLine(line: usize, bytes: u32): void {
  let split: u32 = 0;
  while (split < bytes && load<u8>(line + split) != EQUALS) split++;
  keyAt = line;
  keyBytes = split;
  valueAt = line;
  valueBytes = bytes;
  if (split == 0 || split == bytes) {
    fault("receivers.dcgm", "key=value");
    return;
  }
  valueAt = line + split + 1;
  valueBytes = bytes - split - 1;
  if (startsWithLiteral(keyAt, keyBytes, "group.")) takeGroup(keyAt + 6, keyBytes - 6);
  else if (startsWithLiteral(keyAt, keyBytes, "budget.")) takeBudget(keyAt + 7, keyBytes - 7);
  else if (startsWithLiteral(keyAt, keyBytes, "field.")) takeField(keyAt + 6, keyBytes - 6);
  else if (equalsLiteral(keyAt, keyBytes, "include")) takeMetric(true);
  else if (equalsLiteral(keyAt, keyBytes, "exclude")) takeMetric(false);
  else takeScalar();
}

/** A key that may come once: false, and a fault, when it came before. */
function first(bit: u32, path: string): bool {
  if ((seen & bit) != 0) {
    fault(path, "once");
    return false;
  }
  seen |= bit;
  return true;
}

function takeScalar(): void {
  if (equalsLiteral(keyAt, keyBytes, "mode")) {
    if (!first(SEEN_MODE, "receivers.dcgm.mode")) return;
    embedded = equalsLiteral(valueAt, valueBytes, "embedded");
    if (!embedded && !equalsLiteral(valueAt, valueBytes, "standalone")) fault("receivers.dcgm.mode", "standalone or embedded");
  } else if (equalsLiteral(keyAt, keyBytes, "endpoint")) {
    if (!first(SEEN_ENDPOINT, "receivers.dcgm.endpoint")) return;
    endpointAt = valueAt;
    endpointBytes = valueBytes;
  } else if (equalsLiteral(keyAt, keyBytes, "collection_interval_ms")) {
    if (!first(SEEN_INTERVAL, "receivers.dcgm.collection_interval")) return;
    if (number(DCGMD_INTERVAL_MS_MIN, DCGMD_INTERVAL_MS_MAX)) intervalMs = parsedDecimal;
    else fault("receivers.dcgm.collection_interval", "1s to 10m");
  } else if (equalsLiteral(keyAt, keyBytes, "initial_delay_ms")) {
    if (!first(SEEN_DELAY, "receivers.dcgm.initial_delay")) return;
    if (number(0, MS_MAX)) initialDelayMs = parsedDecimal;
    else fault("receivers.dcgm.initial_delay", "0s or longer");
  } else if (equalsLiteral(keyAt, keyBytes, "max_series_per_scrape")) {
    if (!first(SEEN_CAP, "receivers.dcgm.max_series_per_scrape")) return;
    if (number(1, GPU_SERIES_MAX)) gpuSeriesMax(<u32>parsedDecimal);
    else fault("receivers.dcgm.max_series_per_scrape", "1 to 4096");
  } else {
    fault("receivers.dcgm", "no such key", keyAt, keyBytes);
  }
}

/** The value as a number without sign or leading zero, in lowest..highest; it is in parsedDecimal. */
function number(lowest: u64, highest: u64): bool {
  if (valueBytes > 1 && load<u8>(valueAt) == 48) return false;
  return parseDecimal(valueAt, valueBytes) && parsedDecimal >= lowest && parsedDecimal <= highest;
}

function takeGroup(name: usize, bytes: u32): void {
  const path = "receivers.dcgm.metric_field_groups";
  const group = gpuGroupByName(name, bytes);
  if (group < 0 || !gpuGroupHasSwitch(<u32>group)) return fault(path, "no such group", name, bytes);
  if ((groupsSeen & (1 << group)) != 0) return fault(path, "once", name, bytes);
  groupsSeen |= 1 << group;
  const auto = equalsLiteral(name, bytes, "nvswitch");
  if (equalsLiteral(valueAt, valueBytes, "enabled")) gpuGroup(<u32>group, GROUP_ENABLED);
  else if (equalsLiteral(valueAt, valueBytes, "disabled")) gpuGroup(<u32>group, GROUP_DISABLED);
  else if (auto && equalsLiteral(valueAt, valueBytes, "auto")) gpuGroup(<u32>group, GROUP_AUTO);
  else fault(path, auto ? "enabled, disabled or auto" : "enabled or disabled", name, bytes);
}

function takeBudget(name: usize, bytes: u32): void {
  const path = "receivers.dcgm.group_budgets";
  const group = gpuGroupByName(name, bytes);
  if (group < 0) return fault(path, "no such group", name, bytes);
  if ((budgetsSeen & (1 << group)) != 0) return fault(path, "once", name, bytes);
  budgetsSeen |= 1 << group;
  if (number(0, GPU_SERIES_MAX)) gpuBudget(<u32>group, <u32>parsedDecimal);
  else fault(path, "0 to 4096", name, bytes);
}

function takeMetric(include: bool): void {
  const path = include ? "receivers.dcgm.metrics.include" : "receivers.dcgm.metrics.exclude";
  const metric = gpuMetricByName(valueAt, valueBytes);
  const mask = include ? included : excluded;
  if (metric < 0) return fault(path, "no such metric");
  if ((mask & (1 << metric)) != 0) return fault(path, "once");
  if (include) included |= 1 << metric;
  else excluded |= 1 << metric;
}

/** Fields come from a counters file, so that is where the operator finds the fault. */
function takeField(digits: usize, bytes: u32): void {
  const path = "receivers.dcgm.fields_file";
  if (!parseDecimal(digits, bytes) || parsedDecimal > 65_535) return fault(path, "a field id", digits, bytes);
  const id = <u32>parsedDecimal;
  const bit: u8 = 1 << <u8>(id & 7);
  if ((load<u8>(fieldsSeen + (id >> 3)) & bit) != 0) return fault(path, "once", digits, bytes);
  store<u8>(fieldsSeen + (id >> 3), load<u8>(fieldsSeen + (id >> 3)) | bit);
  const enabled = equalsLiteral(valueAt, valueBytes, "enabled");
  if (!enabled && !equalsLiteral(valueAt, valueBytes, "disabled")) fault(path, "enabled or disabled", digits, bytes);
  else if (!gpuFieldAllowed(id, enabled)) fault(path, "no metric is made of this field", digits, bytes);
}
