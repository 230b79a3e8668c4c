// SPDX-License-Identifier: Apache-2.0
// The journal: accepted records, whole, in a drop-oldest ring without a lifetime limit.
// Invariant: ids run 1, 2, 3, ... without gap; times increase strictly even if the clock stands still or steps back; the kept
// records are exactly the ids [oldest, next). An entry is stored in the form in which QUERY returns it, so nothing is rebuilt.
// Limits: limits.logd records_max and journal_bytes_max, whichever is met first.
import { LOGD_JOURNAL_BYTES_MAX, LOGD_QUERY_PAGE_BYTES_MAX, LOGD_RECORDS_MAX } from "../../gen/limits";
import { sys_time_ns } from "../../gen/syscalls";
import { ByteRing } from "../../lib/bounded/ring";
import { Writer } from "../../lib/bounded/writer";
import { RecordId } from "../../lib/nexus-ipc/types";
import { LogQuery, LogRecord, RECORD_HEAD_BYTES, copyTexts, storeRecordHead } from "../../lib/wire/logd";

const bytes: usize = memory.data(LOGD_JOURNAL_BYTES_MAX, 8);
const positions: usize = memory.data(LOGD_RECORDS_MAX * 4, 4);
const ring: ByteRing = changetype<ByteRing>(memory.data(40, 8));
const headBuffer: usize = memory.data(32, 8);
let nextId: u64 = 1;
let lastTime_ns: u64 = 0;
ring.reset(bytes, LOGD_JOURNAL_BYTES_MAX);

/** Id that the next accepted record gets; one more than the number ever accepted. */
export function journalNextId(): u64 {
  return nextId;
}
/** Records dropped as oldest. */
export function journalDropped(): u64 {
  return ring.dropped;
}
export function journalRecords(): u32 {
  return ring.entries;
}
export function journalBytes(): u32 {
  return ring.used;
}
function oldestId(): u64 {
  return nextId - ring.entries;
}

/** Stores the record (its id and time are set here) and returns its id, a view of the record. */
export function journalAppend(record: LogRecord): RecordId {
  const now_ns = <u64>sys_time_ns();
  lastTime_ns = now_ns > lastTime_ns ? now_ns : lastTime_ns + 1;
  record.recordId = nextId;
  record.ts_ns = lastTime_ns;
  if (ring.entries == LOGD_RECORDS_MAX) ring.dropOldest();
  const length = RECORD_HEAD_BYTES + record.scopeBytes + record.messageBytes + record.fieldsBytes;
  store<u32>(positions + ((<u32>nextId % LOGD_RECORDS_MAX) << 2), ring.end);
  nextId++;
  const at = ring.claim(length);
  if (at == 0) appendInTwo(record, length);
  else {
    storeRecordHead(at, record);
    const texts = at + RECORD_HEAD_BYTES;
    copyTexts(texts, record.scope, record.scopeBytes, record.message, record.messageBytes, record.fields, record.fieldsBytes);
  }
  return RecordId.at(changetype<usize>(record) + offsetof<LogRecord>("recordId"));
}

/** The entry wraps at the end of the ring. */
function appendInTwo(record: LogRecord, length: u32): void {
  const position = ring.begin(length);
  assert(position >= 0);
  storeRecordHead(headBuffer, record);
  ring.append(headBuffer, RECORD_HEAD_BYTES);
  ring.append(record.scope, record.scopeBytes);
  ring.append(record.message, record.messageBytes);
  ring.append(record.fields, record.fieldsBytes);
}

@inline
function positionOf(id: u64): u32 {
  return load<u32>(positions + ((<u32>id % LOGD_RECORDS_MAX) << 2));
}
function timeOf(id: u64): u64 {
  ring.copyEntry(positionOf(id), 8, 8, headBuffer);
  return load<u64>(headBuffer);
}

/** First kept id whose time is at least since_ns (times increase with ids): binary search. */
function firstSince(since_ns: u64): u64 {
  let low = oldestId();
  let high = nextId;
  while (low < high) {
    const middle = low + ((high - low) >> 1);
    if (timeOf(middle) < since_ns) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The cursor of a query: records after it are wanted. */
@inline
function cursorOf(query: LogQuery): RecordId {
  return RecordId.at(changetype<usize>(query) + offsetof<LogQuery>("afterRecordId"));
}
/** First kept id after the cursor. */
function firstAfter(cursor: RecordId): u64 {
  return max<u64>(oldestId(), cursor.value == u64.MAX_VALUE ? nextId : cursor.value + 1);
}

/** Puts total, dropped, count and the matching records, oldest first, into a reply begun with its head. A record that does not
 *  fit ends the page; it is never skipped, so the union of pages by cursor is the journal. */
export function journalQuery(query: LogQuery, writer: Writer): void {
  let id = firstAfter(cursorOf(query));
  if (query.since_ns != 0) id = max<u64>(id, firstSince(query.since_ns));
  writer.putU64(nextId - 1).putU64(ring.dropped);
  const countAt = writer.reserve(2);
  let count: u32 = 0;
  const countMax = query.countMax == 0 ? LOGD_RECORDS_MAX : query.countMax;
  while (id < nextId && count < countMax) {
    const position = positionOf(id);
    const length = ring.lengthAt(position);
    if (writer.length + length > LOGD_QUERY_PAGE_BYTES_MAX) break;
    ring.copyEntry(position, 0, length, writer.reserve(length));
    count++;
    id++;
  }
  store<u16>(countAt, <u16>count);
}
