// SPDX-License-Identifier: Apache-2.0
// GET in pieces, LIST in pages, STATS.
// Invariant: what a read shows is durable: whatever is staged is committed first. A LIST shows keys of the area that its prefix lies in
// alone, so the right to read one area does not name the keys of another. Every piece of a GET carries the sequence of its value.
// Limits: a piece is what fits into one message, a page limits.statefsd list_page_bytes_max.
import { STATEFSD_LIST_PAGE_BYTES_MAX } from "../../gen/limits";
import { MUT_STATEFSD_GET_IGNORES_OFFSET, MUT_STATEFSD_LIST_REPEATS_PAGE, mutant } from "../../gen/mutants";
import { copyLiteral } from "../../lib/bounded/text";
import { FRAME_BYTES_MAX, Request, SF, serverAnswersLost } from "../../lib/nexus-ipc/index";
import { logError } from "../../lib/nexus-log/index";
import {
  S_INTEGRITY, listCount, listMore, report, storeFind, storeFoundSequence, storeList, storeRead, storeSequence, storeStagedBytes,
} from "../../lib/statefs/index";
import {
  SF_ACCESS_DENIED, SF_LIST_HEAD_BYTES, SF_LIST_ITEM_HEAD_BYTES, SF_MALFORMED, SF_NOT_FOUND, SF_OK, SF_STATS_COUNTERS, SF_STATS_GETS,
  SF_STATS_INTEGRITY, SF_STATS_LISTS,
} from "../../lib/wire/statefsd";
import {
  AREA_BOOT, AREA_CRASH, AREA_KEYSTORE, LOGGED_PATH_BYTES, allowed, allowedCapability, areaOf, checkKey, checkPrefix,
} from "./access";
import { backingBlank, readStatus, stateDisk, writeStatus } from "./backing";
import { commitGroup, groupAnswersLost } from "./group";
import { refuse, tallied, tally } from "./telemetry";
import { statusOf } from "./writes";

const PIECE_HEAD_BYTES: u32 = 18;
const ENGINE_ITEM_HEAD_BYTES: u32 = 5;
/** A LIST of /state/ jumps over each of the areas that it may not show. */
const JUMPS_MAX: u32 = 8;
const engineList: usize = memory.data(4096, 8);
const after: usize = memory.data(256);
let afterBytes: u32 = 0;

// Makes what is staged durable before it is shown: SF_OK, or what the read is answered with.
function readable(): u32 {
  if (readStatus() == SF_OK && storeStagedBytes() != 0) commitGroup();
  return readStatus();
}

export function onGet(request: Request): void {
  const keyLen = <u32>request.body.takeU16();
  const offset = request.body.takeU32();
  const most = <u32>request.body.takeU16();
  const key = request.body.takeBytes(keyLen);
  if (!request.body.finished || most == 0) return refuse(request, SF_MALFORMED);
  const bad = checkKey(key, keyLen);
  if (bad != SF_OK) return refuse(request, bad);
  if (!allowed(request.sender, key, keyLen, false)) return refuse(request, SF_ACCESS_DENIED);
  const state = readable();
  if (state != SF_OK) return refuse(request, state);
  if (backingBlank()) return refuse(request, SF_NOT_FOUND);
  const total = storeFind(key, keyLen);
  if (total < 0) return unread(request, total, key, keyLen);
  const room = FRAME_BYTES_MAX - SF.replyHeadBytes - PIECE_HEAD_BYTES;
  const left = offset < <u32>total ? <u32>total - offset : 0;
  const length = min<u32>(min<u32>(left, most), room);
  const writer = request.answer(SF_OK).putU32(<u32>total).putU32(offset).putU16(<u16>length);
  const sequence = writer.reserve(8);
  const from = mutant(MUT_STATEFSD_GET_IGNORES_OFFSET) ? 0 : offset;
  const read = storeRead(key, keyLen, from, writer.reserve(length), length);
  if (read < 0) return unread(request, read, key, keyLen);
  assert(<u32>read == length);
  store<u64>(sequence, storeFoundSequence());
  tally(SF_STATS_GETS);
}

// A value that is not what was put is said aloud: it had been acknowledged.
function unread(request: Request, outcome: i32, key: usize, keyLen: u32): void {
  if (outcome == S_INTEGRITY) {
    tally(SF_STATS_INTEGRITY);
    logError("statefsd").text("value rotten").fieldBytes("path", key, min<u32>(keyLen, LOGGED_PATH_BYTES)).end();
  }
  refuse(request, statusOf(outcome));
}

export function onList(request: Request): void {
  const prefixLen = <u32>request.body.takeU16();
  afterBytes = <u32>request.body.takeU16();
  const most = <u32>request.body.takeU16();
  const prefix = request.body.takeBytes(prefixLen);
  const from = request.body.takeBytes(afterBytes);
  if (!request.body.finished || afterBytes > 255) return refuse(request, SF_MALFORMED);
  const bad = checkPrefix(prefix, prefixLen);
  if (bad != SF_OK) return refuse(request, bad);
  if (!allowed(request.sender, prefix, prefixLen, false)) return refuse(request, SF_ACCESS_DENIED);
  const state = readable();
  if (state != SF_OK) return refuse(request, state);
  if (mutant(MUT_STATEFSD_LIST_REPEATS_PAGE)) afterBytes = 0;
  memory.copy(after, from, afterBytes);
  const failed = putPage(request, prefix, prefixLen, most == 0 ? 0xffff : most);
  if (failed != SF_OK) return refuse(request, failed);
  tally(SF_STATS_LISTS);
}

function putPage(request: Request, prefix: usize, prefixLen: u32, most: u32): u32 {
  const writer = request.answer(SF_OK);
  const head = writer.reserve(SF_LIST_HEAD_BYTES);
  const end = writer.length - SF_LIST_HEAD_BYTES + STATEFSD_LIST_PAGE_BYTES_MAX;
  const area = areaOf(prefix, prefixLen);
  let count: u32 = 0;
  let more = !backingBlank();
  for (let jumps: u32 = 0; more && count == 0 && jumps < JUMPS_MAX; jumps++) {
    // Each entry grows by a byte on the way from the engine's form to the wire's.
    const room = end - writer.length - (STATEFSD_LIST_PAGE_BYTES_MAX >> 3);
    const bytes = storeList(prefix, prefixLen, after, afterBytes, engineList, room, most);
    if (bytes < 0) return statusOf(bytes);
    more = listMore;
    let at = engineList;
    for (let i: u32 = 0; i < listCount; i++) {
      const keyLen = <u32>load<u8>(at);
      const key = at + ENGINE_ITEM_HEAD_BYTES;
      const found = areaOf(key, keyLen);
      if (found != area) {
        more = true;
        jumpOver(found);
        break;
      }
      writer.putU16(<u16>keyLen).putU32(load<u32>(at, 1)).putBytes(key, keyLen);
      count++;
      afterBytes = keyLen;
      memory.copy(after, key, keyLen);
      at = key + keyLen;
    }
  }
  assert(writer.length <= end && (count != 0 || !more));
  store<u16>(head, <u16>count);
  store<u8>(head, u8(more), 2);
  store<u8>(head, 0, 3);
  return SF_OK;
}

// Behind every key of an area: no key holds a byte 0xff.
function jumpOver(area: u32): void {
  const prefix = area == AREA_KEYSTORE ? "/state/keystore/" : area == AREA_BOOT ? "/state/boot/"
    : area == AREA_CRASH ? "/state/crash/" : "/state/observability/";
  afterBytes = copyLiteral(after, prefix) + 1;
  store<u8>(after + afterBytes - 1, 0xff);
}

export function onStats(request: Request): void {
  if (!request.body.finished) return refuse(request, SF_MALFORMED);
  if (!allowedCapability(request.sender, "statefs.read")) return refuse(request, SF_ACCESS_DENIED);
  const out = request.answer(SF_OK);
  out.putU64(writeStatus()).putU64(storeSequence()).putU64(report.durable).putU64(report.epoch);
  out.putU64(report.liveKeys).putU64(report.liveBytes).putU64(report.journalBytes).putU64(stateDisk.sectors);
  for (let stat: u32 = 8; stat < 20; stat++) out.putU64(tallied(stat));
  out.putU64(report.flushes).putU64(report.writes).putU64(report.compactions).putU64(tallied(23)).putU64(tallied(24));
  out.putU64(serverAnswersLost() + groupAnswersLost()).putU64(report.recordsKept).putU64(report.bytesDropped);
  out.putU64(report.badSector).putU64(report.badKind).putU64(report.groupsBehind).putU64(report.recordsDropped);
  out.putU64(report.lostKeys).putU64(report.superblocks).putU64(tallied(SF_STATS_INTEGRITY));
  assert(out.length == SF.replyHeadBytes + SF_STATS_COUNTERS * 8);
}
