// SPDX-License-Identifier: Apache-2.0
// Proofs of phase tracing: lifecycle, ids, parents and attributes of spans, expiry of an orphan, and the client's guard.
// Invariant: each success was read back from logd by QUERY, whole: ids, parent, trace, producer, times, status, attributes.
// Limits: the default recipe; the orphan's expiry is waited for in guest time.
import { M_SELFTEST_TRACING_ORPHAN_EXPIRY_OK, M_SELFTEST_TRACING_SPANS_OK } from "../../gen/markers";
import { sys_time_ns } from "../../gen/syscalls";
import { MT, beginRequest } from "../../lib/nexus-ipc/index";
import {
  metricsFlush, metricsLost, metricsWaiting, nextSpanId, nextTraceId, rootSpan, spanGuard, spanId, spanScopeEnd,
  spanTrace, spansLeftOpen,
} from "../../lib/nexus-metrics/index";
import {
  MT_INVALID_ARGS, MT_NOT_FOUND, MT_OK, MT_OP_SPAN_END, MT_OP_SPAN_START, MT_SPAN_ERROR, MT_SPAN_OK, MT_SPAN_TIMEOUT,
  MT_STAT_LIVE_SPANS, putSpanEnd, putSpanStart,
} from "../../lib/wire/metricsd";
import { check, checkEqual, proof, proven, waitNs } from "./lib";
import { METRICS_SPANS, METRICS_TRACES, expectedSpanId, expectedTraceId } from "./metrics";
import {
  ask, beginExchange, countLiteral, findWanted, flush, keepStats, readStatsAgain, scratch, statDelta, text, want, wanted,
  wantOwnProducer,
} from "./records";

/** The recipe's spans.expiry_ns and a little more. */
const EXPIRY_NS: u64 = 5_200_000_000;

/** SPAN_START with texts as literals; status or negative error. */
function startSpan(span: u64, trace: u64, parent: u64, start_ns: u64, name: string, attrs: string): i32 {
  text().putText(name).putText(attrs);
  const nameLen = <u32>name.length;
  const w = beginRequest(MT, MT_OP_SPAN_START);
  putSpanStart(w, span, trace, parent, start_ns, scratch.base, nameLen, scratch.base + nameLen, <u32>attrs.length);
  return ask();
}

function endSpan(span: u64, end_ns: u64, status: u8, attrs: string): i32 {
  text().putText(attrs);
  putSpanEnd(beginRequest(MT, MT_OP_SPAN_END), span, end_ns, status, scratch.base, <u32>attrs.length);
  return ask();
}

function provesSpans(): void {
  proof("tracing spans");
  beginExchange();
  keepStats();
  const trace = nextTraceId();
  const root = nextSpanId();
  const child = nextSpanId();
  checkEqual(root, expectedSpanId(METRICS_SPANS + 1), "span id");
  checkEqual(child, expectedSpanId(METRICS_SPANS + 2), "the next span id");
  checkEqual(trace, expectedTraceId(METRICS_TRACES + 1), "trace id");
  checkEqual(startSpan(root, trace, 0, 100, "selftest.root", "phase=selftest"), MT_OK, "root");
  checkEqual(startSpan(root, trace, 0, 100, "selftest.root", ""), MT_INVALID_ARGS, "the same id twice");
  checkEqual(startSpan(child, trace, root, 120, "selftest.child", "b=2\na=1"), MT_OK, "child");
  const stranger = nextSpanId();
  checkEqual(startSpan(stranger, trace, stranger, 1, "s", ""), MT_INVALID_ARGS, "a parent that never was");
  checkEqual(startSpan(stranger, nextTraceId(), root, 1, "s", ""), MT_INVALID_ARGS, "a parent in another trace");
  checkEqual(startSpan(stranger, trace ^ (1 << 40), 0, 1, "s", ""), MT_INVALID_ARGS, "a trace of another sender");
  checkEqual(endSpan(stranger, 1, MT_SPAN_OK, ""), MT_NOT_FOUND, "an end without a start");
  checkEqual(endSpan(child, 119, MT_SPAN_OK, ""), MT_INVALID_ARGS, "an end before the start");
  checkEqual(endSpan(child, 180, MT_SPAN_TIMEOUT, ""), MT_INVALID_ARGS, "a status that is not ours to give");
  checkEqual(endSpan(child, 180, MT_SPAN_ERROR, "result=bad"), MT_OK, "child end");
  checkEqual(endSpan(root, 200, MT_SPAN_OK, "result=ok"), MT_OK, "root end");
  const late = nextSpanId();
  checkEqual(startSpan(late, trace, root, 210, "selftest.late", ""), MT_OK, "a child of a span that just ended");
  checkEqual(endSpan(late, 211, MT_SPAN_OK, ""), MT_OK, "late end");
  flush();
  want().putText("attr.phase=selftest\nduration_ns=100\nend.result=ok\nend_ns=200\nkind=span\nname=selftest.root");
  wanted.fieldHex("parent", 0);
  wantOwnProducer().fieldHex("span", root).putText("\nstart_ns=100\nstatus=ok").fieldHex("trace", trace);
  findWanted("the record of the root");
  want().putText("attr.a=1\nattr.b=2\nduration_ns=60\nend.result=bad\nend_ns=180\nkind=span\nname=selftest.child");
  wanted.fieldHex("parent", root);
  wantOwnProducer().fieldHex("span", child).putText("\nstart_ns=120\nstatus=error").fieldHex("trace", trace);
  findWanted("the record of the child");
  provesGuard();
  readStatsAgain();
  checkEqual(statDelta(MT_INVALID_ARGS), 6, "invalid_args counted");
  checkEqual(statDelta(MT_STAT_LIVE_SPANS), 0, "spans left live");
  proven(M_SELFTEST_TRACING_SPANS_OK);
}

/** The client's guard: left open, it is ended by the scope with the real time, and counted. */
function provesGuard(): void {
  const outer = spanGuard("selftest.guard", rootSpan());
  const id = spanId(outer);
  const trace = spanTrace(outer);
  checkEqual(id, expectedSpanId(METRICS_SPANS + 5), "span id of the guard");
  checkEqual(trace, expectedTraceId(METRICS_TRACES + 3), "trace id of the guard");
  const start_ns = <u64>sys_time_ns();
  waitNs(2_000_000);
  checkEqual(spanScopeEnd(), 1, "guards ended by the scope");
  checkEqual(spansLeftOpen(), 1, "guards counted");
  metricsFlush();
  check(!metricsWaiting(), "the client still waits");
  checkEqual(metricsLost(), 0, "lost by the client");
  flush();
  want().putText("name=selftest.guard");
  wanted.fieldHex("parent", 0);
  wantOwnProducer().fieldHex("span", id);
  checkEqual(countLiteral("name=selftest.guard\nparent=0000000000000000\n"), 1, "the record of the guard");
  checkEqual(countLiteral("end.ended_by=scope"), 1, "who ended it");
  checkEqual(countLiteral("name=selftest.guard status=ok"), 1, "its message");
  check(<u64>sys_time_ns() - start_ns >= 2_000_000, "the clock stood still");
  checkEqual(countLiteral("duration_ns=0\nend.ended_by=scope"), 0, "a guard of no duration");
}

function provesOrphan(): void {
  proof("orphan expiry");
  beginExchange();
  keepStats();
  const trace = nextTraceId();
  const span = nextSpanId();
  checkEqual(startSpan(span, trace, 0, 100, "selftest.orphan", ""), MT_OK, "start");
  readStatsAgain();
  checkEqual(statDelta(MT_STAT_LIVE_SPANS), 1, "live");
  waitNs(EXPIRY_NS);
  flush();
  readStatsAgain();
  checkEqual(statDelta(MT_STAT_LIVE_SPANS), 0, "still live");
  checkEqual(endSpan(span, 200, MT_SPAN_OK, ""), MT_NOT_FOUND, "an end after the expiry");
  checkEqual(countLiteral("tracing span end name=selftest.orphan status=timeout"), 1, "the record of the orphan");
  proven(M_SELFTEST_TRACING_ORPHAN_EXPIRY_OK);
}

/** Phase tracing of the ladder, in the order of markers/65-tracing.toml; metrics_proofs began the ids. */
export function tracing_proofs(): void {
  provesSpans();
  provesOrphan();
}
