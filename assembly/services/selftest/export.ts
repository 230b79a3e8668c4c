// SPDX-License-Identifier: Apache-2.0
// Proofs of phase export: dcgmd's scrape, metricsd's series, spans and log records leave the image, each frame acknowledged by the
// host; the host's `over_limit` (the gate's end says it once) loses nothing; while nothing is sent the queue stays within its limits; a
// restarted exporter is another one and works.
// Invariant: what exportd made is acknowledged, refused, dropped or waiting, and each record id of logd is accounted for: the words of its
// STATS must add up. Limits: TURNS_MAX passes a proof; what the host made of the frames is for the host's tests.
import { EXPORTD_QUEUE_BYTES, EXPORTD_QUEUE_FRAMES } from "../../gen/limits";
import {
  M_SELFTEST_EXPORT_LOGS_OK, M_SELFTEST_EXPORT_METRICS_OK_REPLAY, M_SELFTEST_EXPORT_QUEUE_BOUNDED_OK,
  M_SELFTEST_EXPORT_RESTART_OK, M_SELFTEST_EXPORT_TRACES_OK,
} from "../../gen/markers";
import { SLOT_LOGD } from "../../gen/slots";
import { Route, beginRequest, callRequest, reply } from "../../lib/nexus-ipc/index";
import { readLogStats } from "../../lib/nexus-log/index";
import { metricsFlush, rootSpan, spanGuard, spanScopeEnd } from "../../lib/nexus-metrics/index";
import {
  XP, XP_FLUSH_GPU, XP_FLUSH_RECORDS, XP_FLUSH_SELF, XP_FLUSH_SEND, XP_OK, XP_OP_FLUSH, XP_OP_STATS, XP_STATS,
  XP_STAT_ACKED, XP_STAT_CURSOR,
  XP_STAT_DROPPED, XP_STAT_GENERATION, XP_STAT_ITEMS_ACKED, XP_STAT_LOGS, XP_STAT_MADE, XP_STAT_QUEUE_BYTES,
  XP_STAT_QUEUE_FRAMES, XP_STAT_RECORDS_CUT,
  XP_STAT_RECORDS_LOST, XP_STAT_REFUSED, XP_STAT_RETRIED, XP_STAT_SERIES_CUT, XP_STAT_SESSIONS, XP_STAT_SNAPSHOTS_FAILED,
  XP_STAT_SNAPSHOTS_LEFT_OUT, XP_STAT_SPANS, XP_STAT_SPAN_PARTS, XP_STAT_WALL_OFFSET_NS, XP_STREAMS, XP_STREAM_GPU, XP_STREAM_LOGS,
  XP_STREAM_SELF, XP_STREAM_TRACES,
} from "../../lib/wire/exportd";
import { LogStats } from "../../lib/wire/logd";
import { check, checkEqual, holding, proof, proven, waitNs } from "./lib";
import { beginExchange, flush } from "./records";
import { killed, RESTART_LOOKS } from "./traps";

const FLUSH_WAIT_NS: u64 = 20_000_000_000;
const STATS_WAIT_NS: u64 = 500_000_000;
/** More than the queue holds frames: each snapshot is one at least. */
const TURNS_MAX: u32 = EXPORTD_QUEUE_FRAMES + 1;
const SEND_TURNS_MAX: u32 = 8;
/** metricsd's buckets take a snapshot this often. */
const BETWEEN_NS: u64 = 100_000_000;
const exportd: Route = changetype<Route>(memory.data(8, 4));
const words: usize = memory.data(40 * 8, 8);
const logStats: LogStats = changetype<LogStats>(memory.data(96, 8));
let waiting: u32 = 0;

function word(index: u32): u64 {
  return load<u64>(words + (index << 3));
}

/** One pass of exportd. */
function passes(what: u32): bool {
  const handle = exportd.resolve("exportd");
  if (!check(handle > 0, "no route to exportd")) return false;
  beginRequest(XP, XP_OP_FLUSH).putU8(<u8>what);
  if (!checkEqual(callRequest(<u32>handle, FLUSH_WAIT_NS), 0, "flush call")) return false;
  if (!checkEqual(reply.status, XP_OK, "flush status")) return false;
  waiting = reply.body.takeU32();
  return true;
}

/** Sends until nothing waits. */
function sendsAll(): void {
  for (let turn: u32 = 0; turn < SEND_TURNS_MAX && passes(XP_FLUSH_SEND) && waiting != 0; turn++) {}
  checkEqual(waiting, 0, "frames that wait");
}

function readsStats(): void {
  beginRequest(XP, XP_OP_STATS);
  if (!checkEqual(callRequest(exportd.handle, STATS_WAIT_NS), 0, "stats call")) return;
  if (!checkEqual(reply.body.left, XP_STATS << 3, "stats length")) return;
  memory.copy(words, reply.body.takeBytes(XP_STATS << 3), XP_STATS << 3);
}

/** Every frame is acknowledged, refused, dropped or waiting. */
function addsUp(): void {
  let made: u64 = 0;
  let gone: u64 = 0;
  for (let i: u32 = 0; i < XP_STREAMS; i++) {
    made += word(XP_STAT_MADE + i);
    gone += word(XP_STAT_ACKED + i) + word(XP_STAT_REFUSED + i) + word(XP_STAT_DROPPED + i);
  }
  checkEqual(gone + word(XP_STAT_QUEUE_FRAMES), made, "frames acknowledged, refused, dropped or waiting");
}

/** Every frame of the stream that was made is acknowledged, and at least one was. */
function acknowledged(stream: u32): void {
  check(word(XP_STAT_MADE + stream) != 0, "nothing was made");
  checkEqual(word(XP_STAT_ACKED + stream), word(XP_STAT_MADE + stream), "frames acknowledged");
}

function provesMetrics(): void {
  proof("export metrics");
  if (!passes(XP_FLUSH_GPU | XP_FLUSH_SELF)) return;
  sendsAll();
  readsStats();
  acknowledged(XP_STREAM_GPU);
  acknowledged(XP_STREAM_SELF);
  addsUp();
  checkEqual(word(XP_STAT_RETRIED), 1, "frames that the host had no room for at first");
  checkEqual(word(XP_STAT_SESSIONS), 1, "sessions");
  checkEqual(word(XP_STAT_SNAPSHOTS_FAILED) + word(XP_STAT_SERIES_CUT), 0, "series not exported");
  check(word(XP_STAT_WALL_OFFSET_NS) != 0, "no wall time");
  proven(M_SELFTEST_EXPORT_METRICS_OK_REPLAY);
}

/** Two spans of our own in the journal, then every record up to here exported. */
function provesTraces(): void {
  proof("export traces");
  beginExchange();
  spanGuard("selftest.export.child", spanGuard("selftest.export", rootSpan()));
  checkEqual(spanScopeEnd(), 2, "spans ended");
  metricsFlush();
  flush();
  checkEqual(readLogStats(SLOT_LOGD, logStats), 0, "logd stats");
  for (let turn: u32 = 0; turn < TURNS_MAX && holding(); turn++) {
    if (!passes(XP_FLUSH_RECORDS | XP_FLUSH_SEND)) return;
    readsStats();
    if (word(XP_STAT_CURSOR) >= logStats.total) break;
  }
  sendsAll();
  readsStats();
  check(word(XP_STAT_SPANS) >= 2, "spans");
  acknowledged(XP_STREAM_TRACES);
  checkEqual(word(XP_STAT_ITEMS_ACKED + XP_STREAM_TRACES), word(XP_STAT_SPANS), "spans acknowledged");
  proven(M_SELFTEST_EXPORT_TRACES_OK);
}

function provesLogs(): void {
  proof("export logs");
  check(word(XP_STAT_CURSOR) >= logStats.total, "records that were not read");
  acknowledged(XP_STREAM_LOGS);
  checkEqual(word(XP_STAT_ITEMS_ACKED + XP_STREAM_LOGS), word(XP_STAT_LOGS), "records acknowledged");
  const read = word(XP_STAT_LOGS) + word(XP_STAT_SPANS) + word(XP_STAT_SPAN_PARTS) + word(XP_STAT_SNAPSHOTS_LEFT_OUT);
  checkEqual(read + word(XP_STAT_RECORDS_LOST), word(XP_STAT_CURSOR), "record ids accounted for");
  checkEqual(word(XP_STAT_RECORDS_CUT), 0, "records that fitted no request");
  addsUp();
  proven(M_SELFTEST_EXPORT_LOGS_OK);
}

/** Snapshots without sending until the oldest goes; then the rest is sent. */
function provesBounded(): void {
  proof("export queue");
  readsStats();
  const dropped = word(XP_STAT_DROPPED + XP_STREAM_SELF);
  for (let turn: u32 = 0; turn < TURNS_MAX && holding() && word(XP_STAT_DROPPED + XP_STREAM_SELF) == dropped; turn++) {
    waitNs(BETWEEN_NS);
    if (!passes(XP_FLUSH_SELF)) return;
    readsStats();
    check(word(XP_STAT_QUEUE_FRAMES) <= EXPORTD_QUEUE_FRAMES, "frames over the limit");
    check(word(XP_STAT_QUEUE_BYTES) <= EXPORTD_QUEUE_BYTES, "bytes over the limit");
    addsUp();
  }
  check(word(XP_STAT_DROPPED + XP_STREAM_SELF) > dropped, "no frame was dropped");
  checkEqual(word(XP_STAT_SNAPSHOTS_FAILED), 0, "snapshots that failed");
  sendsAll();
  readsStats();
  addsUp();
  checkEqual(word(XP_STAT_QUEUE_FRAMES) + word(XP_STAT_QUEUE_BYTES), 0, "left in the queue");
  for (let i: u32 = 0; i < XP_STREAMS; i++) checkEqual(word(XP_STAT_REFUSED + i), 0, "frames refused");
  proven(M_SELFTEST_EXPORT_QUEUE_BOUNDED_OK);
}

/** exportd ends with a frame in its queue: that frame is gone, the next exporter says that it is another, and exports what there is. */
function provesRestart(): void {
  proof("export restart");
  const generation = word(XP_STAT_GENERATION);
  passes(XP_FLUSH_SELF);
  if (killed("exportd", RESTART_LOOKS)) {
    exportd.drop();
    passes(XP_FLUSH_GPU | XP_FLUSH_SELF);
    sendsAll();
    readsStats();
    checkEqual(word(XP_STAT_GENERATION), generation + 1, "generation");
    checkEqual(word(XP_STAT_SESSIONS), 1, "sessions of the new one");
    acknowledged(XP_STREAM_GPU);
    acknowledged(XP_STREAM_SELF);
    addsUp();
  }
  proven(M_SELFTEST_EXPORT_RESTART_OK);
}

/** Phase export of the ladder, in the order of markers/91-export.toml. */
export function export_proofs(): void {
  provesMetrics();
  provesTraces();
  provesLogs();
  provesBounded();
  provesRestart();
}
