// SPDX-License-Identifier: Apache-2.0
// Owns: the session with the host's source, a step a function: config, connect with the version probe, enumerate, watch, read.
// Invariant: each step is taken once a session, not once a scrape; which source it is comes from the host's replies, and must stay the
// first one's: labels of series never change under way. Limits: limits.dcgmd pages_max pages; one watch of every field of lib/gpu's list.
import {
  DCGMD_PAGES_MAX, DCGMD_WATCH_KEEP_MULTIPLIER, DCGMD_WATCH_KEEP_SLACK_S, DCGMD_WATCH_UPDATE_DIVISOR, DCGMD_WATCH_UPDATE_MIN_MS,
} from "../../gen/limits";
import { MUT_DCGMD_KEEPS_BLANKS, MUT_DCGMD_SWAPS_ENTITIES, mutant } from "../../gen/mutants";
import { LINK_MALFORMED, LINK_OK, beginPayload, hostWallNs, replyPayload, requestHost } from "../../lib/bridge-link/index";
import { GROUP_COMPUTE, beginEnumeration, endEnumeration, gpuWatchAt, gpuWatchList, takeEntity, takeSample } from "../../lib/gpu/index";
import { Reader } from "../../lib/nexus-ipc/index";
import {
  BRIDGE_CONFIG_BYTES_MAX, BRIDGE_SAMPLE_BYTES, BRIDGE_SOURCE_DCGM, BRIDGE_SOURCE_NVML, BRIDGE_SOURCE_REPLAY, BRIDGE_SOURCE_STUB,
  BRIDGE_STATUS_ALREADY_CONNECTED, BRIDGE_TYPE_CLOSE, BRIDGE_TYPE_CONFIG, BRIDGE_TYPE_CONNECT, BRIDGE_TYPE_ENUMERATE,
  BRIDGE_TYPE_LATEST_VALUES, BRIDGE_TYPE_VERSION, BRIDGE_TYPE_WATCH, BRIDGE_VERSION,
} from "../../lib/wire/bridge";

/** The host named another source than the first session did. */
export const SESSION_SOURCE: i32 = -210;

/** The field whose blanks the mutant turns into zeros: the gate's capture has no value of it. */
const FIELD_FB_USED: u16 = 252;

let source: u8 = 0;
let watchId: u32 = 0;

/** Row of [[source]] that the first session named; 0 before it. */
export function sourceNow(): u8 {
  return source;
}

/** The label of the source for records and series. */
export function sourceLabel(): string {
  if (source == BRIDGE_SOURCE_REPLAY) return "replay";
  if (source == BRIDGE_SOURCE_STUB) return "stub";
  if (source == BRIDGE_SOURCE_NVML) return "nvml";
  return source == BRIDGE_SOURCE_DCGM ? "dcgm" : "none";
}

/** Text of the last config reply, valid until the next request. */
export let configText: usize = 0;
export let configBytes: u32 = 0;

/** Asks for the receiver's configuration: LINK_OK (then configText), a BRIDGE_STATUS above 0, or LINK_*. */
export function askConfig(): i32 {
  beginPayload();
  const outcome = requestHost(BRIDGE_TYPE_CONFIG);
  if (outcome != LINK_OK) return outcome;
  const body = replyPayload();
  configBytes = <u32>body.takeU16();
  configText = body.takeBytes(configBytes);
  return body.finished && configBytes <= BRIDGE_CONFIG_BYTES_MAX ? LINK_OK : LINK_MALFORMED;
}

/** Opens the session and asks what it speaks to. A session that is there already is our predecessor's: it was restarted before it could
 *  close, so it is closed for it, with the watches it left; where even then one is there, it is as good as ours. */
export function connect(): i32 {
  let outcome = connectOnce();
  if (outcome == <i32>BRIDGE_STATUS_ALREADY_CONNECTED) {
    beginPayload();
    requestHost(BRIDGE_TYPE_CLOSE);
    outcome = connectOnce();
  }
  if (outcome != LINK_OK && outcome != <i32>BRIDGE_STATUS_ALREADY_CONNECTED) return outcome;
  return probeVersion();
}

function connectOnce(): i32 {
  beginPayload().putU16(<u16>BRIDGE_VERSION).putU16(<u16>BRIDGE_VERSION);
  const outcome = requestHost(BRIDGE_TYPE_CONNECT);
  if (outcome != LINK_OK) return outcome;
  const body = replyPayload();
  const named = body.takeU8();
  const protocol = body.takeU16();
  body.takeU32();
  body.takeBytes(<u32>body.takeU8());
  return body.finished && protocol == <u16>BRIDGE_VERSION ? sameSource(named) : LINK_MALFORMED;
}

/** The version names the source too: connect's answer says which only when the session is new. */
function probeVersion(): i32 {
  beginPayload();
  const outcome = requestHost(BRIDGE_TYPE_VERSION);
  if (outcome != LINK_OK) return outcome;
  const body = replyPayload();
  const named = body.takeU8();
  body.takeBytes(<u32>body.takeU16());
  return body.finished ? sameSource(named) : LINK_MALFORMED;
}

function sameSource(named: u8): i32 {
  if (named < BRIDGE_SOURCE_REPLAY || named > BRIDGE_SOURCE_NVML) return LINK_MALFORMED;
  if (source != 0 && named != source) return SESSION_SOURCE;
  source = named;
  return LINK_OK;
}

/** Head of a page: source, count, next cursor. Returns the count, or -1 when it is not of our source. */
function pageHead(body: Reader): i32 {
  const named = body.takeU8();
  const count = <i32>body.takeU16();
  return body.ok && named == source ? count : -1;
}

/** Lists the entities into lib/gpu, page by page; one that breaks off changes nothing there. */
export function enumerate(): i32 {
  beginEnumeration();
  const outcome = enumeratePages();
  if (outcome == LINK_OK) endEnumeration();
  return outcome;
}

function enumeratePages(): i32 {
  let cursor: u32 = 0;
  for (let page: u32 = 0; page < DCGMD_PAGES_MAX; page++) {
    beginPayload().putU32(cursor);
    const outcome = requestHost(BRIDGE_TYPE_ENUMERATE);
    if (outcome != LINK_OK) return outcome;
    const body = replyPayload();
    const count = pageHead(body);
    const next = body.takeU32();
    for (let i: i32 = 0; i < count; i++) if (!takeEntity(body)) return LINK_MALFORMED;
    if (count < 0 || !body.finished) return LINK_MALFORMED;
    if (next == 0) return LINK_OK;
    if (next <= cursor) return LINK_MALFORMED;
    cursor = next;
  }
  return LINK_MALFORMED;
}

/** How often the engine updates a watched field, us: a part of the interval, and never faster than watch_update_min_ms. */
export function watchUpdateUs(intervalMs: u64): u64 {
  return max<u64>(intervalMs / DCGMD_WATCH_UPDATE_DIVISOR, DCGMD_WATCH_UPDATE_MIN_MS) * 1000;
}
/** How long the engine keeps a value, s: some intervals and a slack, so that a late scrape still finds one. */
export function watchKeepS(intervalMs: u64): u32 {
  return <u32>(intervalMs * DCGMD_WATCH_KEEP_MULTIPLIER / 1000) + DCGMD_WATCH_KEEP_SLACK_S;
}

/** Watches every field of lib/gpu's list for every entity. */
export function watch(intervalMs: u64): i32 {
  const count = gpuWatchList();
  const payload = beginPayload().putU64(watchUpdateUs(intervalMs)).putU32(watchKeepS(intervalMs));
  payload.putU16(<u16>count).putU16(0);
  for (let i: u32 = 0; i < count; i++) payload.putU16(<u16>gpuWatchAt(i));
  const outcome = requestHost(BRIDGE_TYPE_WATCH);
  if (outcome != LINK_OK) return outcome;
  const body = replyPayload();
  body.takeU8();
  body.takeU16();
  watchId = body.takeU32();
  return body.finished ? LINK_OK : LINK_MALFORMED;
}

/** Hands one sample to lib/gpu. The mutants are what the proofs of phase gpu must notice. */
function take(sample: usize): void {
  if (mutant(MUT_DCGMD_SWAPS_ENTITIES)) store<u32>(sample, load<u32>(sample, 4) ^ 1, 4);
  if (mutant(MUT_DCGMD_KEEPS_BLANKS) && load<u16>(sample, 2) == FIELD_FB_USED && load<i32>(sample, 8) != 0) {
    store<i32>(sample, 0, 8);
    store<i64>(sample, <i64>(hostWallNs / 1000), 16);
    store<u64>(sample, 0, 24);
  }
  // A compute instance has the fields of its instance: its samples are not taken (abi/gpu-metrics.toml, group mig_ci).
  if (load<u8>(sample) != GROUP_COMPUTE) takeSample(sample);
}

/** Reads the newest values, page by page. `begin` runs before the first sample, when the host's times of the reading are known. */
export function latestValues(begin: () => void): i32 {
  let cursor: u32 = 0;
  for (let page: u32 = 0; page < DCGMD_PAGES_MAX; page++) {
    beginPayload().putU32(watchId).putU32(cursor);
    const outcome = requestHost(BRIDGE_TYPE_LATEST_VALUES);
    if (outcome != LINK_OK) return outcome;
    const body = replyPayload();
    const count = pageHead(body);
    const next = body.takeU32();
    if (count < 0 || body.left != <u32>count * BRIDGE_SAMPLE_BYTES) return LINK_MALFORMED;
    if (page == 0) begin();
    for (let i: i32 = 0; i < count; i++) take(body.takeBytes(BRIDGE_SAMPLE_BYTES));
    if (next == 0) return LINK_OK;
    if (next <= cursor) return LINK_MALFORMED;
    cursor = next;
  }
  return LINK_MALFORMED;
}
