// SPDX-License-Identifier: Apache-2.0
// How the metrics and tracing proofs speak to metricsd and look for its records in logd.
//
// Invariant: a record counts as found only if its sender is metricsd and its fields equal, byte for byte, what was
// expected (findFitting leaves digits open where the expectation says so); the expectation is built here from what was
// sent, never from what came back.
// Limits: one pass over the journal a search; the recipes metrics and gpu.
import { LOGD_RECORDS_MAX } from "../../gen/limits";
import { SVC_METRICSD_ID, SVC_SELFTEST_ID } from "../../gen/services";
import { SLOT_LOGD, SLOT_LOG_QUERY, SLOT_METRICSD } from "../../gen/slots";
import { equalsBytes, indexOfLiteral } from "../../lib/bounded/text";
import { MT, Writer, beginRequest, callRequest, reply } from "../../lib/nexus-ipc/index";
import { LogCursor, nextRecord, queryOutcome, readLogStats } from "../../lib/nexus-log/index";
import { LogStats } from "../../lib/wire/logd";
import { MT_OK, MT_OP_FLUSH, MT_OP_STATS, MT_STATS } from "../../lib/wire/metricsd";
import { check, checkDone, checkEqual, waitNs } from "./lib";

export const ASK_WAIT_NS: u64 = 500_000_000;

/** metricsd's buckets are full again after this long (default recipe: a second). */
const REFILL_NS: u64 = 1_100_000_000;

const wantedBuffer: usize = memory.data(1024);
/** The fields that the next findWanted looks for. */
export const wanted: Writer = changetype<Writer>(memory.data(16, 4));
const textBuffer: usize = memory.data(1024);
/** Labels, attributes and names in the making. */
export const scratch: Writer = changetype<Writer>(memory.data(16, 4));
const cursor: LogCursor = changetype<LogCursor>(memory.data(40, 8));
const logStats: LogStats = changetype<LogStats>(memory.data(96, 8));
const statsBefore: usize = memory.data(MT_STATS * 8, 8);
const statsNow: usize = memory.data(MT_STATS * 8, 8);
let mark: u64 = 0;

/** Fresh text of the proof. */
export function text(): Writer {
  return scratch.reset(textBuffer, 1024);
}

/** Begins an exchange: the sender's buckets are full, and searches start at what logd holds now. */
export function beginExchange(): void {
  waitNs(REFILL_NS);
  checkDone(readLogStats(SLOT_LOGD, logStats), "logd stats");
  mark = logStats.total;
}

/** Sends the request begun last to metricsd; its status, or a negative error. */
export function ask(handle: u32 = SLOT_METRICSD): i32 {
  const outcome = callRequest(handle, ASK_WAIT_NS);
  return outcome != 0 ? outcome : <i32>reply.status;
}

/** Has metricsd export everything that waits, so that it can be read back now. */
export function flush(): void {
  beginRequest(MT, MT_OP_FLUSH);
  if (!checkEqual(ask(), MT_OK, "flush")) return;
  reply.body.takeU32();
  checkEqual(reply.body.takeU32(), 0, "records still waiting after a flush");
  checkEqual(reply.body.takeU32(), 0, "records that logd refused");
}

function readStats(to: usize): void {
  beginRequest(MT, MT_OP_STATS);
  if (!checkEqual(ask(), MT_OK, "stats")) return;
  const words = reply.body.takeBytes(MT_STATS * 8);
  if (check(reply.body.finished, "stats length")) memory.copy(to, words, MT_STATS * 8);
}
/** Keeps metricsd's counters for statDelta. */
export function keepStats(): void {
  readStats(statsBefore);
}
/** Reads them again. */
export function readStatsAgain(): void {
  readStats(statsNow);
}
/** How much one word grew between the two. */
export function statDelta(word: u32): i64 {
  return <i64>(load<u64>(statsNow + (word << 3)) - load<u64>(statsBefore + (word << 3)));
}

/** Starts the expectation. */
export function want(): Writer {
  return wanted.reset(wantedBuffer, 1024);
}

/** The tail that most expectations end in: `producer` of this service. */
export function wantOwnProducer(): Writer {
  return wanted.fieldHex("producer", SVC_SELFTEST_ID);
}

// 0 to 9, a to f.
function isHexDigit(byte: u8): bool {
  return byte - 48 < 10 || byte - 97 < 6;
}

// Equal byte for byte, except that `?` in the wanted fields is one hexadecimal digit and `*` one or more.
function fits(bytes: usize, length: u32): bool {
  let at: u32 = 0;
  for (let i: u32 = 0; i < wanted.length; i++) {
    const want = load<u8>(wanted.base + i);
    if (at >= length) return false;
    const got = load<u8>(bytes + at);
    if (want == 63 || want == 42) {
      if (!isHexDigit(got)) return false;
    } else if (want != got) {
      return false;
    }
    at++;
    while (want == 42 && at < length && isHexDigit(load<u8>(bytes + at))) at++;
  }
  return at == length;
}

/** Exactly one record of metricsd since beginExchange has the wanted fields: byte for byte, or `fitting` them. */
function findOne(fitting: bool, detail: string): bool {
  check(wanted.ok, "expectation too long");
  cursor.begin(mark);
  let found: u32 = 0;
  for (let i: u32 = 0; i <= 2 * LOGD_RECORDS_MAX; i++) {
    const record = nextRecord(SLOT_LOG_QUERY, cursor);
    if (record === null) break;
    if (record.sender != SVC_METRICSD_ID) continue;
    const bytes = record.fieldsBytes;
    if (fitting ? fits(record.fields, bytes) : equalsBytes(record.fields, bytes, wanted.base, wanted.length)) found++;
  }
  checkEqual(queryOutcome, 0, "query");
  checkEqual(cursor.missed, 0, "records missed");
  return checkEqual(found, 1, detail);
}

/** The same, where `?` and `*` stand for digits that the proof cannot know (a series handle, a time). */
export function findFitting(detail: string): bool {
  return findOne(true, detail);
}

/** Exactly one record has the wanted fields. */
export function findWanted(detail: string): bool {
  return findOne(false, detail);
}

/** Whether a snapshot of series `name` by `producer` is in the journal. It holds the newest records alone: what the start left is
 *  start-records.ts's, what a proof caused has to be looked for while it is new. */
export function findProducer(name: string, producer: u64): bool {
  wantSnapshot(name, producer);
  return anyRecordHolds(SVC_METRICSD_ID);
}

/** The expectation of findProducer: what is inside the fields of each snapshot of that series. */
export function wantSnapshot(name: string, producer: u64): void {
  want().putText("\nname=").putText(name).putText("\nproducer=").putHex(producer).putText("\n");
}

/** Whether some record since the oldest holds the wanted bytes in its fields; sender 0: anybody's. */
export function anyRecordHolds(sender: u64): bool {
  cursor.begin(0);
  for (let i: u32 = 0; i <= 2 * LOGD_RECORDS_MAX; i++) {
    const record = nextRecord(SLOT_LOG_QUERY, cursor);
    if (record === null) return false;
    if (sender != 0 && record.sender != sender) continue;
    if (holdsWanted(record.fields, record.fieldsBytes)) return true;
  }
  return false;
}

/** Whether these bytes hold the wanted ones. */
export function holdsWanted(bytes: usize, length: u32): bool {
  if (wanted.length > length) return false;
  for (let at: u32 = 0; at <= length - wanted.length; at++) {
    if (memory.compare(bytes + at, wanted.base, wanted.length) == 0) return true;
  }
  return false;
}

/** How many texts of the whole journal (scope, message, fields) hold the literal. */
export function countLiteral(literal: string): u32 {
  cursor.begin(0);
  let found: u32 = 0;
  for (let i: u32 = 0; i <= 2 * LOGD_RECORDS_MAX; i++) {
    const record = nextRecord(SLOT_LOG_QUERY, cursor);
    if (record === null) break;
    if (indexOfLiteral(record.scope, record.scopeBytes, literal) >= 0) found++;
    if (indexOfLiteral(record.message, record.messageBytes, literal) >= 0) found++;
    if (indexOfLiteral(record.fields, record.fieldsBytes, literal) >= 0) found++;
  }
  checkEqual(queryOutcome, 0, "query");
  return found;
}
