// SPDX-License-Identifier: Apache-2.0
// logd: the bounded journal of the system. APPEND for everyone, STATS for everyone, QUERY for holders of a capability with the
// query right (policy decides at hand-out, so logd asks nobody).
// Invariant: logd waits for no one but its own queue: it makes no call, its replies are one-shot, and a reply over a moved
// capability is one send with deadline 0. A client that never drains costs one counted loss.
// Limits: limits.logd; layouts: docs/format/wire-logd.md.
import { LOGD_JOURNAL_BYTES_MAX, LOGD_RECORDS_MAX } from "../../gen/limits";
import { M_LOGD_READY, mark } from "../../gen/markers";
import {
  MUT_LOGD_BINDS_WRONG_SENDER, MUT_LOGD_HIDES_LOST_REPLIES, MUT_LOGD_QUERY_OPEN, MUT_LOGD_QUERY_REPEATS_PAGE,
  MUT_LOGD_READY_EVIDENCE_BROKEN, MUT_LOGD_STORES_REFUSED, mutant,
} from "../../gen/mutants";
import { SVC_LOGD_ID, SVC_TIMED_ID } from "../../gen/services";
import { copyLiteral } from "../../lib/bounded/text";
import { Reader, Writer } from "../../lib/bounded/writer";
import {
  LO, Request, serve, serverAnswersLost, serverFramesRefused, serverRoute,
} from "../../lib/nexus-ipc/index";
import { redactionCount } from "../../lib/redact/redact";
import {
  LEVEL_INFO, LO_APPEND, LO_DENIED, LO_INVALID_ARGS, LO_MALFORMED, LO_OK, LO_QUERY, LO_STATS, LO_UNSUPPORTED, LogQuery, LogRecord, LogStats,
  RIGHT_QUERY, STATS_BYTES, readQuery, readRecord,
} from "../../lib/wire/logd";
import { admit, rejectedInvalidArgs, rejectedOverLimit, rejectedRateLimited, senderEvictions } from "./admission";
import { journalAppend, journalBytes, journalDropped, journalNextId, journalQuery, journalRecords } from "./journal";

export const vigil_abi: i32 = 1;

const record: LogRecord = changetype<LogRecord>(memory.data(56, 8));
const query: LogQuery = changetype<LogQuery>(memory.data(24, 8));
const stats: LogStats = changetype<LogStats>(memory.data(96, 8));
let malformed: u64 = 0;
let denied: u64 = 0;

function onAppend(request: Request): void {
  const status = admit(request.body, request.sender, record);
  let id: u64 = 0;
  if (mutant(MUT_LOGD_STORES_REFUSED) && status == LO_INVALID_ARGS) {
    record.sender = request.sender.value;
    journalAppend(record);
  }
  if (status == LO_OK) {
    if (mutant(MUT_LOGD_BINDS_WRONG_SENDER) && record.sender == SVC_TIMED_ID) record.sender = SVC_LOGD_ID;
    id = journalAppend(record).value;
  }
  request.answer(status).putU64(id).putU64(journalDropped());
}

function onQuery(request: Request): void {
  if ((request.badge & RIGHT_QUERY) == 0 && !mutant(MUT_LOGD_QUERY_OPEN)) {
    denied++;
    request.answer(LO_DENIED);
    return;
  }
  if (!readQuery(request.body, query)) {
    malformed++;
    request.answer(LO_MALFORMED);
    return;
  }
  if (mutant(MUT_LOGD_QUERY_REPEATS_PAGE) && rejectedRateLimited != 0 && query.afterRecordId != 0) query.afterRecordId--;
  journalQuery(query, request.answer(LO_OK));
}

function onStats(request: Request): void {
  if (request.body.left != 0) {
    malformed++;
    request.answer(LO_MALFORMED);
    return;
  }
  stats.total = journalNextId() - 1;
  stats.dropped = journalDropped();
  stats.recordsMax = LOGD_RECORDS_MAX;
  stats.bytesMax = LOGD_JOURNAL_BYTES_MAX;
  stats.recordsUsed = journalRecords();
  stats.bytesUsed = journalBytes();
  stats.rejectInvalidArgs = rejectedInvalidArgs;
  stats.rejectOverLimit = rejectedOverLimit;
  stats.rejectRateLimited = rejectedRateLimited;
  stats.malformed = malformed + serverFramesRefused();
  stats.denied = denied;
  stats.senderEvictions = senderEvictions();
  stats.redactions = redactionCount();
  stats.repliesLost = mutant(MUT_LOGD_HIDES_LOST_REPLIES) ? 0 : serverAnswersLost();
  request.answer(LO_OK).putBytes(changetype<usize>(stats), STATS_BYTES);
}

const probeText: usize = memory.data(64);
const probePage: usize = memory.data(1024, 8);
const probeWriter: Writer = changetype<Writer>(memory.data(16, 4));
const probeReader: Reader = changetype<Reader>(memory.data(16, 4));

/** Evidence for ready: a record of logd's own goes through the journal and comes back whole by the QUERY path. */
function onPing(): bool {
  if (mutant(MUT_LOGD_READY_EVIDENCE_BROKEN)) return false;
  const scopeBytes = copyLiteral(probeText, "logd");
  const messageBytes = copyLiteral(probeText + scopeBytes, "journal open");
  record.level = LEVEL_INFO;
  record.sender = SVC_LOGD_ID;
  record.scope = probeText;
  record.scopeBytes = scopeBytes;
  record.message = probeText + scopeBytes;
  record.messageBytes = messageBytes;
  record.fields = probeText;
  record.fieldsBytes = 0;
  const id = journalAppend(record).value;
  const time_ns = record.ts_ns;
  query.since_ns = 0;
  query.afterRecordId = id - 1;
  query.countMax = 1;
  journalQuery(query, probeWriter.reset(probePage, 1024));
  probeReader.reset(probePage, probeWriter.length);
  if (probeReader.takeU64() != id) return false;
  probeReader.takeU64();
  if (probeReader.takeU16() != 1) return false;
  if (!readRecord(probeReader, record) || !probeReader.finished) return false;
  if (record.recordId != id || record.ts_ns != time_ns || record.sender != SVC_LOGD_ID) return false;
  if (record.scopeBytes != scopeBytes || record.messageBytes != messageBytes) return false;
  return memory.compare(record.scope, probeText, scopeBytes + messageBytes) == 0;
}

function onReady(): void {
  mark(M_LOGD_READY);
}

export function main(): void {
  serverRoute(LO_APPEND, onAppend);
  serverRoute(LO_QUERY, onQuery);
  serverRoute(LO_STATS, onStats);
  serve(LO, LO_MALFORMED, LO_UNSUPPORTED, onPing, onReady);
}
