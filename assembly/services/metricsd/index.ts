// SPDX-License-Identifier: Apache-2.0
// metricsd: counters, gauges, histograms and spans of every service, kept bounded and exported to logd.
// One request end to end: charge the sender's buckets (before anything is decoded), decode, check, apply or refuse, note the
// answer, reply; export happens later, at the tick.
//
// Invariant: a refused frame changes nothing but its sender's buckets and one counter. Identity is the kernel's stamp.
// Limits: the recipe (recipe.ts), at most limits.metricsd. Layouts: docs/format/wire-metricsd.md.
import { M_METRICSD_READY, mark } from "../../gen/markers";
import {
  MUT_METRICSD_ACCEPTS_BAD_NAME, MUT_METRICSD_ACKS_OVER_LIMIT, MUT_METRICSD_ACKS_STALE_HANDLE, MUT_METRICSD_HISTORY_OPEN, mutant,
} from "../../gen/mutants";
import { sys_exit, sys_time_ns } from "../../gen/syscalls";
import { delegateCheck } from "../../lib/nexus-ipc/delegate";
import { MT, Reader, Writer } from "../../lib/nexus-ipc/frame";
import {
  Request, serve, serverOnRefuse, serverOnTick, serverRoute, serverTickAt,
} from "../../lib/nexus-ipc/server";
import { SpanId, TraceId } from "../../lib/nexus-ipc/types";
import {
  MT_BADGE_QUERY, MT_BATCH_HEAD_BYTES, MT_DENIED, MT_INVALID_ARGS, MT_ITEM_BYTES, MT_KIND_COUNTER, MT_KIND_GAUGE,
  MT_KIND_HISTOGRAM, MT_OK, MT_OP_BATCH, MT_OP_COUNTER_INC, MT_OP_FLUSH, MT_OP_GAUGE_SET, MT_OP_HIST_OBSERVE, MT_OP_LIMITS,
  MT_OP_PING, MT_OP_RANGE, MT_OP_REGISTER, MT_OP_SNAPSHOT, MT_OP_SPAN_END, MT_OP_SPAN_START, MT_OP_STATS, MT_OVER_LIMIT,
  MT_RATE_LIMITED, MT_RETENTION_READY, MT_STALE_HANDLE, MT_UNAVAILABLE, MT_UNIT_BYTES, MT_UNIT_NONE, MT_UNIT_NS,
} from "../../lib/wire/metricsd";
import { exportBackoff, exportWaiting, exportsWaiting, recordsFailed } from "./export";
import { applyBatch, badItem, seriesHandle } from "./handles";
import { isName } from "./labels";
import {
  ATTRS_LEN, BATCH_ITEMS, EXPORT_INTERVAL_NS, LABELS_LEN, NAME_LEN, RAW_INTERVAL_NS, SPAN_NAME_LEN, limit, limit32,
} from "./limits";
import { evidence } from "./probe";
import { loadRecipe, putLimits, recipeDigest, refuseRecipe } from "./recipe";
import { apply, resolve, resolved, valueFits } from "./registry";
import { note } from "./rejects";
import {
  openInterval_ns, retentionAdvance, retentionClock, retentionDue_ns, retentionMode, retentionOffset_ns, retentionStart, retentionTick,
} from "./retention/index";
import { putRange, readRange } from "./retention/range";
import { selfInit, selfRefresh } from "./self";
import { Sender, charge, claimSender } from "./senders";
import { putPage, putStats } from "./snapshot";
import { endSpan, expireSpans, nextExpiry_ns, startSpan } from "./spans";

export const vigil_abi: i32 = 1;

const limitsText: usize = memory.data(2048);
const limitsWriter: Writer = changetype<Writer>(memory.data(16, 4));
let now_ns: u64 = 0;
let sender: Sender = changetype<Sender>(0);
let exportDue_ns: u64 = 0;

/** Charges the frame to its sender before anything of it is decoded. False: rate limited (or the sender table is full). */
function admit(request: Request, events: u32): bool {
  now_ns = <u64>sys_time_ns();
  // What is over ends before this frame's updates, which belong to the next interval.
  retentionAdvance(now_ns);
  sender = claimSender(request.sender.value, now_ns);
  if (changetype<usize>(sender) == 0) return false;
  return charge(sender, events, request.frameLength, now_ns);
}

/** Notes the status and answers with an empty body. */
function finish(request: Request, status: u8): void {
  note(status);
  request.answer(status);
  arm();
}

/** Sets the tick for what waits: the export interval from the first change on, or the next expiry of a span. */
function arm(): void {
  if (exportDue_ns == 0 && exportsWaiting() != 0) exportDue_ns = now_ns + limit(EXPORT_INTERVAL_NS) * exportBackoff();
  let expiry_ns = nextExpiry_ns();
  // Overdue: the export queue had no room. Look again after an interval, not at once and for ever.
  if (expiry_ns != 0 && expiry_ns <= now_ns) expiry_ns = now_ns + limit(EXPORT_INTERVAL_NS);
  let next_ns = exportDue_ns;
  if (expiry_ns != 0 && (next_ns == 0 || expiry_ns < next_ns)) next_ns = expiry_ns;
  const retention_ns = retentionDue_ns(now_ns);
  if (retention_ns != 0 && (next_ns == 0 || retention_ns < next_ns)) next_ns = retention_ns;
  serverTickAt(next_ns);
}

function onTick(): void {
  now_ns = <u64>sys_time_ns();
  retentionTick(now_ns);
  expireSpans(now_ns);
  // Retention and expiry have ticks of their own: the export waits for its time.
  if (exportDue_ns == 0 || now_ns >= exportDue_ns) {
    selfRefresh();
    exportWaiting();
    exportDue_ns = 0;
  }
  arm();
}

/** Length and characters of a name. */
function checkName(ptr: usize, length: u32, most: u32): u8 {
  if (length > most) return MT_OVER_LIMIT;
  if (isName(ptr, length)) return MT_OK;
  return mutant(MUT_METRICSD_ACCEPTS_BAD_NAME) ? MT_OK : MT_INVALID_ARGS;
}

function endsInBytes(ptr: usize, length: u32): bool {
  // b y t e s, little-endian
  return length >= 5 && load<u32>(ptr + length - 5) == 0x65747962 && load<u8>(ptr + length - 1) == 115;
}

function update(request: Request, kind: u8): u8 {
  const body: Reader = request.body;
  const nameLen = <u32>body.takeU8();
  const labelsLen = <u32>body.takeU16();
  const value = body.takeU64();
  if (!body.ok) return MT_INVALID_ARGS;
  if (nameLen > limit32(NAME_LEN) || labelsLen > limit32(LABELS_LEN)) return MT_OVER_LIMIT;
  const name = body.takeBytes(nameLen);
  const labels = body.takeBytes(labelsLen);
  if (!body.finished || !valueFits(kind, value)) return MT_INVALID_ARGS;
  const named = checkName(name, nameLen, limit32(NAME_LEN));
  if (named != MT_OK) return named;
  const unit = kind != MT_KIND_HISTOGRAM ? MT_UNIT_NONE : endsInBytes(name, nameLen) ? MT_UNIT_BYTES : MT_UNIT_NS;
  const status = resolve(sender, kind, unit, name, nameLen, labels, labelsLen, now_ns);
  if (status == MT_OK) apply(resolved, value);
  return status;
}

function onUpdate(request: Request): void {
  if (!admit(request, 1)) return finish(request, MT_RATE_LIMITED);
  // Ops 1, 2, 3 are kinds 1, 2, 3.
  const status = update(request, <u8>request.op);
  finish(request, mutant(MUT_METRICSD_ACKS_OVER_LIMIT) && status == MT_OVER_LIMIT ? MT_OK : status);
}

function register(request: Request): u8 {
  const body: Reader = request.body;
  const kind = body.takeU8();
  const unit = body.takeU8();
  const nameLen = <u32>body.takeU8();
  const zero = body.takeU8();
  const labelsLen = <u32>body.takeU16();
  if (!body.ok || zero != 0 || kind < MT_KIND_COUNTER || kind > MT_KIND_HISTOGRAM) return MT_INVALID_ARGS;
  if (kind == MT_KIND_HISTOGRAM ? unit != MT_UNIT_NS && unit != MT_UNIT_BYTES : unit > MT_UNIT_BYTES) return MT_INVALID_ARGS;
  if (nameLen > limit32(NAME_LEN) || labelsLen > limit32(LABELS_LEN)) return MT_OVER_LIMIT;
  const name = body.takeBytes(nameLen);
  const labels = body.takeBytes(labelsLen);
  if (!body.finished) return MT_INVALID_ARGS;
  const named = checkName(name, nameLen, limit32(NAME_LEN));
  if (named != MT_OK) return named;
  return resolve(sender, kind, unit, name, nameLen, labels, labelsLen, now_ns);
}

function onRegister(request: Request): void {
  if (!admit(request, 1)) return finish(request, MT_RATE_LIMITED);
  const status = register(request);
  if (status != MT_OK) return finish(request, status);
  note(MT_OK);
  request.answer(MT_OK).putU32(seriesHandle(resolved).raw);
}

function onBatch(request: Request): void {
  // The cost follows from the frame's length, so that nothing has to be decoded before it is charged.
  const length = request.frameLength;
  const items = length < MT_BATCH_HEAD_BYTES ? 0 : (length - MT_BATCH_HEAD_BYTES) / MT_ITEM_BYTES;
  if (!admit(request, items == 0 ? 1 : items)) return finish(request, MT_RATE_LIMITED);
  const body: Reader = request.body;
  const count = <u32>body.takeU16();
  const zero = body.takeU16();
  if (!body.ok || zero != 0 || count == 0) return finish(request, MT_INVALID_ARGS);
  if (count > limit32(BATCH_ITEMS)) return finish(request, MT_OVER_LIMIT);
  const at = body.takeBytes(count * MT_ITEM_BYTES);
  if (!body.finished) return finish(request, MT_INVALID_ARGS);
  let status = applyBatch(sender.id, at, count);
  if (mutant(MUT_METRICSD_ACKS_STALE_HANDLE) && status == MT_STALE_HANDLE) status = MT_OK;
  note(status);
  request.answer(status).putU16(<u16>(status == MT_OK ? count : badItem));
  arm();
}

function spanStart(request: Request): u8 {
  const body: Reader = request.body;
  const ids = body.takeBytes(24); // span, trace, parent; looked at once the body is known to hold them
  const start_ns = body.takeU64();
  const nameLen = <u32>body.takeU8();
  const attrsLen = <u32>body.takeU16();
  if (!body.ok) return MT_INVALID_ARGS;
  if (nameLen > limit32(SPAN_NAME_LEN) || attrsLen > limit32(ATTRS_LEN)) return MT_OVER_LIMIT;
  const name = body.takeBytes(nameLen);
  const attrs = body.takeBytes(attrsLen);
  if (!body.finished) return MT_INVALID_ARGS;
  const named = checkName(name, nameLen, limit32(SPAN_NAME_LEN));
  if (named != MT_OK) return named;
  const parent = SpanId.at(ids + 16);
  return startSpan(sender, SpanId.at(ids), TraceId.at(ids + 8), parent, start_ns, name, nameLen, attrs, attrsLen, now_ns);
}

function onSpanStart(request: Request): void {
  const status = admit(request, 1) ? spanStart(request) : MT_RATE_LIMITED;
  finish(request, status);
}

function spanEnd(request: Request): u8 {
  const body: Reader = request.body;
  const span = SpanId.at(body.takeBytes(8));
  const end_ns = body.takeU64();
  const status = body.takeU8();
  const attrsLen = <u32>body.takeU16();
  if (!body.ok) return MT_INVALID_ARGS;
  if (attrsLen > limit32(ATTRS_LEN)) return MT_OVER_LIMIT;
  const attrs = body.takeBytes(attrsLen);
  if (!body.finished) return MT_INVALID_ARGS;
  return endSpan(sender, span, end_ns, status, attrs, attrsLen);
}

function onSpanEnd(request: Request): void {
  const status = admit(request, 1) ? spanEnd(request) : MT_RATE_LIMITED;
  finish(request, status);
}

function onPingOp(request: Request): void {
  if (!admit(request, 0)) return finish(request, MT_RATE_LIMITED);
  finish(request, request.body.left == 0 ? MT_OK : MT_INVALID_ARGS);
}

function onStats(request: Request): void {
  if (!admit(request, 0)) return finish(request, MT_RATE_LIMITED);
  if (request.body.left != 0) return finish(request, MT_INVALID_ARGS);
  note(MT_OK);
  putStats(request.answer(MT_OK));
}

function onLimits(request: Request): void {
  if (!admit(request, 0)) return finish(request, MT_RATE_LIMITED);
  if (request.body.left != 0) return finish(request, MT_INVALID_ARGS);
  note(MT_OK);
  const w = request.answer(MT_OK).putU32(recipeDigest());
  const lengthAt = w.reserve(2);
  limitsWriter.reset(limitsText, 2048);
  putLimits(limitsWriter, 0);
  store<u16>(lengthAt, <u16>limitsWriter.length);
  w.putBytes(limitsText, limitsWriter.length);
}

function onSnapshot(request: Request): void {
  if (!admit(request, 1)) return finish(request, MT_RATE_LIMITED);
  if ((request.badge & MT_BADGE_QUERY) == 0) return finish(request, MT_DENIED);
  const cursor = request.body.takeU32();
  const countMax = <u32>request.body.takeU16();
  if (!request.body.finished) return finish(request, MT_INVALID_ARGS);
  note(MT_OK);
  putPage(request.answer(MT_OK), cursor, countMax);
}

function onFlush(request: Request): void {
  if (!admit(request, 1)) return finish(request, MT_RATE_LIMITED);
  if ((request.badge & MT_BADGE_QUERY) == 0) return finish(request, MT_DENIED);
  if (request.body.left != 0) return finish(request, MT_INVALID_ARGS);
  note(MT_OK);
  const failedBefore = recordsFailed();
  expireSpans(now_ns);
  selfRefresh();
  const done = exportWaiting();
  arm();
  request.answer(MT_OK).putU32(done).putU32(exportsWaiting()).putU32(<u32>(recordsFailed() - failedBefore));
}

function onRange(request: Request): void {
  if (!admit(request, 1)) return finish(request, MT_RATE_LIMITED);
  if (!delegateCheck(request.sender, "metrics.history") && !mutant(MUT_METRICSD_HISTORY_OPEN)) return finish(request, MT_DENIED);
  const status = readRange(request.body);
  if (status != MT_OK) return finish(request, status);
  if (retentionMode() != MT_RETENTION_READY) return finish(request, MT_UNAVAILABLE);
  note(MT_OK);
  putRange(request.answer(MT_OK), retentionClock(now_ns), retentionOffset_ns(), openInterval_ns(), limit(RAW_INTERVAL_NS));
  arm();
}

/** Frames that no handler saw (bad head, unknown op) cost and count like any other. */
function onRefuse(request: Request, status: u8): u8 {
  const answer = admit(request, 1) ? MT_INVALID_ARGS : MT_RATE_LIMITED;
  note(answer);
  return answer;
}

function onReady(): void {
  mark(M_METRICSD_READY);
}

export function main(): void {
  if (!loadRecipe()) sys_exit(1);
  retentionStart();
  if (!selfInit()) {
    refuseRecipe("metrics.max_series_total", "too_small");
    sys_exit(1);
  }
  serverRoute(MT_OP_COUNTER_INC, onUpdate);
  serverRoute(MT_OP_GAUGE_SET, onUpdate);
  serverRoute(MT_OP_HIST_OBSERVE, onUpdate);
  serverRoute(MT_OP_SPAN_START, onSpanStart);
  serverRoute(MT_OP_SPAN_END, onSpanEnd);
  serverRoute(MT_OP_PING, onPingOp);
  serverRoute(MT_OP_REGISTER, onRegister);
  serverRoute(MT_OP_BATCH, onBatch);
  serverRoute(MT_OP_SNAPSHOT, onSnapshot);
  serverRoute(MT_OP_STATS, onStats);
  serverRoute(MT_OP_LIMITS, onLimits);
  serverRoute(MT_OP_FLUSH, onFlush);
  serverRoute(MT_OP_RANGE, onRange);
  serverOnRefuse(onRefuse);
  serverOnTick(onTick, 0);
  serverTickAt(retentionDue_ns(<u64>sys_time_ns()));
  serve(MT, MT_INVALID_ARGS, MT_INVALID_ARGS, evidence, onReady);
}
