// SPDX-License-Identifier: Apache-2.0
// Profile invalid-only: nothing but invalid traffic reaches metricsd, so no metrics success line may appear (RFC-0024, no fake success).
// Invariant: every frame sent here must be refused; afterwards metricsd holds no series and logd no snapshot of this service.
import { METRICSD_SERIES_MAX } from "../../gen/limits";
import { M_SELFTEST_INVALID_ONLY_SENT } from "../../gen/markers";
import { SVC_METRICSD_ID, SVC_SELFTEST_ID } from "../../gen/services";
import { SLOT_METRICSD } from "../../gen/slots";
import { MT, beginRequest, reply } from "../../lib/nexus-ipc/index";
import {
  MT_CURSOR_END, MT_INVALID_ARGS, MT_NOT_FOUND, MT_OK, MT_OP_BATCH, MT_OP_COUNTER_INC, MT_OP_GAUGE_SET, MT_OP_HIST_OBSERVE,
  MT_OP_REGISTER, MT_OP_SNAPSHOT, MT_OP_SPAN_END, MT_OP_SPAN_START, MT_OVER_LIMIT, MT_RATE_LIMITED, MT_STALE_HANDLE,
  putSnapshot, putSpanEnd, putSpanStart,
} from "../../lib/wire/metricsd";
import { check, checkEqual, holding, proof, proven } from "./lib";
import { anyRecordHolds, ask, beginExchange, flush, scratch, text, want } from "./records";

const UNKNOWN_OP: u8 = 99;
/** More frames than any bucket of the default recipe holds. */
const FLOOD: u32 = 96;

function update(op: u8, nameBytes: u32, labels: string): i32 {
  text();
  for (let i: u32 = 0; i < nameBytes; i++) scratch.putU8(110);
  const w = beginRequest(MT, op).putU8(<u8>nameBytes).putU16(<u16>labels.length).putU64(<u64>-1);
  w.putBytes(scratch.base, nameBytes).putText(labels);
  return ask();
}

/** Series of this service in metricsd's registry. */
function ownSeries(): u32 {
  let found: u32 = 0;
  let page: u32 = 0;
  for (let turn: u32 = 0; turn < METRICSD_SERIES_MAX && page != MT_CURSOR_END && holding(); turn++) {
    putSnapshot(beginRequest(MT, MT_OP_SNAPSHOT), page, 0);
    if (!checkEqual(ask(SLOT_METRICSD), MT_OK, "snapshot")) break;
    const body = reply.body;
    const next = body.takeU32();
    if (!check(next > page, "snapshot goes on")) break;
    page = next;
    body.takeU32();
    const count = <u32>body.takeU16();
    for (let i: u32 = 0; i < count; i++) {
      body.takeBytes(6);
      const buckets = <u32>body.takeU8();
      const nameLen = <u32>body.takeU8();
      const labelsLen = <u32>body.takeU16();
      if (body.takeU64() == SVC_SELFTEST_ID) found++;
      body.takeBytes(16 + buckets * 16 + nameLen + labelsLen);
    }
    check(body.finished, "snapshot page");
  }
  checkEqual(page, MT_CURSOR_END, "end of the snapshot");
  return found;
}

export function invalid_only(): void {
  proof("invalid only");
  beginExchange();
  checkEqual(update(MT_OP_COUNTER_INC, 0, ""), MT_INVALID_ARGS, "counter without a name");
  checkEqual(update(MT_OP_GAUGE_SET, 0, ""), MT_INVALID_ARGS, "gauge without a name");
  checkEqual(update(MT_OP_HIST_OBSERVE, 4, ""), MT_INVALID_ARGS, "negative observation");
  checkEqual(update(MT_OP_COUNTER_INC, 4, "no label"), MT_INVALID_ARGS, "labels without =");
  checkEqual(update(MT_OP_COUNTER_INC, 4, "service_id=1"), MT_INVALID_ARGS, "identity claim");
  beginRequest(MT, UNKNOWN_OP);
  checkEqual(ask(), MT_INVALID_ARGS, "unknown op");
  beginRequest(MT, MT_OP_REGISTER).putU8(9);
  checkEqual(ask(), MT_INVALID_ARGS, "register cut short");
  beginRequest(MT, MT_OP_BATCH).putU16(1).putU16(0).putU32(0xffffffff).putU64(1);
  checkEqual(ask(), MT_STALE_HANDLE, "a handle of nobody");
  text().putText("x");
  putSpanStart(beginRequest(MT, MT_OP_SPAN_START), 1, 1, 0, 0, scratch.base, 1, 0, 0);
  checkEqual(ask(), MT_INVALID_ARGS, "a span of nobody");
  putSpanEnd(beginRequest(MT, MT_OP_SPAN_END), 1, 1, 0, 0, 0);
  checkEqual(ask(), MT_NOT_FOUND, "an end without a start");
  checkEqual(update(MT_OP_COUNTER_INC, 49, ""), MT_OVER_LIMIT, "name over limit");
  let limited: u32 = 0;
  for (let i: u32 = 0; i < FLOOD; i++) {
    const status = update(MT_OP_COUNTER_INC, 0, "");
    if (status == MT_RATE_LIMITED) limited++;
    else checkEqual(status, MT_INVALID_ARGS, "flood");
  }
  check(limited != 0, "nothing was rate limited");
  beginExchange();
  flush();
  checkEqual(ownSeries(), 0, "series made by invalid traffic");
  want().putText("\nproducer=").putHex(SVC_SELFTEST_ID).putText("\n");
  check(!anyRecordHolds(SVC_METRICSD_ID), "a record made by invalid traffic");
  proven(M_SELFTEST_INVALID_ONLY_SENT);
}
