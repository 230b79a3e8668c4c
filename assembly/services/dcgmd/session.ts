// SPDX-License-Identifier: Apache-2.0
// Owns: the session with the host's source: connect, version, enumerate, watch; then the values of that watch.
// Invariant: each step is taken once a session, not once a scrape; a refusal or a broken link voids the session and the next
// scrape starts over. The source that a session names must be the first one's: labels of series never change under way.
// Limits: limits.dcgmd pages_max pages, entities_max entities, fields_max fields.
import { DCGMD_PAGES_MAX, DCGMD_SCRAPE_PERIOD_NS } from "../../gen/limits";
import { Reader } from "../../lib/nexus-ipc/index";
import {
  BRIDGE_SAMPLE_BYTES, BRIDGE_SOURCE_DCGM, BRIDGE_SOURCE_NVML, BRIDGE_SOURCE_REPLAY, BRIDGE_SOURCE_STUB, BRIDGE_STATUS_ALREADY_CONNECTED,
  BRIDGE_TYPE_CLOSE, BRIDGE_TYPE_CONNECT, BRIDGE_TYPE_ENUMERATE, BRIDGE_TYPE_LATEST_VALUES, BRIDGE_TYPE_VERSION,
  BRIDGE_TYPE_WATCH, BRIDGE_VERSION,
} from "../../lib/wire/bridge";
import { beginEnumeration, takeEntity } from "./entities";
import { fieldAt, fieldCount } from "./fields";
import { LINK_MALFORMED, LINK_OK, beginPayload, hostWallNs, replyPayload, requestHost } from "./link";
import { Sample } from "./samples";

export const STATE_IDLE: u32 = 0;
export const STATE_CONNECTED: u32 = 1;
export const STATE_WATCHED: u32 = 2;

const KEEP_S: u32 = 30;
let state: u32 = STATE_IDLE;
let source: u8 = 0;
let watchId: u32 = 0;
let sessions: u64 = 0;

export function sessionState(): u32 {
  return state;
}
/** Row of [[source]] that the first session named; 0 before it. */
export function sourceNow(): u8 {
  return source;
}
/** Sessions opened since start: more than one means that the link broke or dcgmd lost it. */
export function sessionCount(): u64 {
  return sessions;
}

/** The label of the source for records and series. */
export function sourceLabel(): string {
  if (source == BRIDGE_SOURCE_REPLAY) return "replay";
  if (source == BRIDGE_SOURCE_STUB) return "stub";
  if (source == BRIDGE_SOURCE_NVML) return "nvml";
  return source == BRIDGE_SOURCE_DCGM ? "dcgm" : "none";
}

/** Voids the session. */
export function dropSession(): void {
  state = STATE_IDLE;
  watchId = 0;
}

/** Brings the session to STATE_WATCHED: LINK_OK, a BRIDGE_STATUS above 0, or LINK_*. */
export function ensureWatched(): i32 {
  if (state == STATE_WATCHED) return LINK_OK;
  let outcome = connect();
  if (outcome == <i32>BRIDGE_STATUS_ALREADY_CONNECTED) {
    // Our predecessor's session: it was restarted before it could close.
    beginPayload();
    requestHost(BRIDGE_TYPE_CLOSE);
    outcome = connect();
  }
  if (outcome != LINK_OK) return outcome;
  outcome = enumerate();
  return outcome == LINK_OK ? watch() : outcome;
}

function connect(): i32 {
  beginPayload().putU16(<u16>BRIDGE_VERSION).putU16(<u16>BRIDGE_VERSION);
  const outcome = requestHost(BRIDGE_TYPE_CONNECT);
  if (outcome != LINK_OK) return outcome;
  const body = replyPayload();
  const named = body.takeU8();
  const protocol = body.takeU16();
  body.takeU32();
  body.takeBytes(<u32>body.takeU8());
  if (!body.finished || protocol != <u16>BRIDGE_VERSION) return LINK_MALFORMED;
  if (named < BRIDGE_SOURCE_REPLAY || named > BRIDGE_SOURCE_NVML) return LINK_MALFORMED;
  if (source != 0 && named != source) return LINK_MALFORMED;
  source = named;
  sessions++;
  state = STATE_CONNECTED;
  beginPayload();
  return requestHost(BRIDGE_TYPE_VERSION);
}

/** Head of a page: source, count, next cursor. Returns the count, or -1 when it is not of our source. */
function pageHead(body: Reader): i32 {
  const named = body.takeU8();
  const count = <i32>body.takeU16();
  return body.ok && named == source ? count : -1;
}

function enumerate(): i32 {
  beginEnumeration();
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

/** Watches every field of every entity. */
function watch(): i32 {
  const payload = beginPayload().putU64(DCGMD_SCRAPE_PERIOD_NS / 1000).putU32(KEEP_S);
  payload.putU16(<u16>fieldCount()).putU16(0);
  for (let i: u32 = 0; i < fieldCount(); i++) payload.putU16(<u16>fieldAt(i).id);
  const outcome = requestHost(BRIDGE_TYPE_WATCH);
  if (outcome != LINK_OK) return outcome;
  const body = replyPayload();
  body.takeU8();
  body.takeU16();
  watchId = body.takeU32();
  if (!body.finished) return LINK_MALFORMED;
  state = STATE_WATCHED;
  return LINK_OK;
}

/** Reads the newest values, page by page, and gives each to `onSample` with the host's time. */
export function latestValues(onSample: (sample: Sample, hostWallNs: u64) => void): i32 {
  let cursor: u32 = 0;
  for (let page: u32 = 0; page < DCGMD_PAGES_MAX; page++) {
    beginPayload().putU32(watchId).putU32(cursor);
    const outcome = requestHost(BRIDGE_TYPE_LATEST_VALUES);
    if (outcome != LINK_OK) return outcome;
    const body = replyPayload();
    const count = pageHead(body);
    const next = body.takeU32();
    if (count < 0 || body.left != <u32>count * BRIDGE_SAMPLE_BYTES) return LINK_MALFORMED;
    for (let i: i32 = 0; i < count; i++) {
      onSample(changetype<Sample>(body.takeBytes(BRIDGE_SAMPLE_BYTES)), hostWallNs);
    }
    if (next == 0) return LINK_OK;
    if (next <= cursor) return LINK_MALFORMED;
    cursor = next;
  }
  return LINK_MALFORMED;
}
