// SPDX-License-Identifier: Apache-2.0
// Sends what waits: registrations first, then batches of handle and value, then span frames in order.
//
// Invariant: an update leaves the table only in a batch that is kept until its answer; a refused batch (all or nothing) is put
// back when trying again can help (rate_limited, stale_handle, not sent) and counted as lost when it cannot. One batch and one
// span frame are unanswered at a time. Limits: flush_frames_max frames a flush (a registration is one), limits.metrics_client.
import { E_BAD_HANDLE, E_DEAD } from "../../gen/errors";
import { METRICS_CLIENT_FLUSH_FRAMES_MAX } from "../../gen/limits";
import { beginRequest } from "../nexus-ipc/client";
import { MT, Writer } from "../nexus-ipc/frame";
import { SeriesHandle } from "../nexus-ipc/types";
import {
  MT_INVALID_ARGS, MT_KIND_COUNTER, MT_KIND_HISTOGRAM, MT_NOT_FOUND, MT_OK, MT_OP_BATCH, MT_OP_REGISTER, MT_OP_SPAN_START,
  MT_OVER_LIMIT, MT_RATE_LIMITED, MT_STALE_HANDLE,
} from "../wire/metricsd";
import { dropSpanFrame, spanFrame, spanFrameAttrs, spanFramesWaiting } from "./spans";
import {
  STATE_ASKED, STATE_HELD, STATE_NEW, STATE_REFUSED, Series, addObservation, addPending, countLost, dirtyWaiting, forgetHandles,
  markDirty, observationSeries, observationsWaiting, seriesAt, takeDirty, takeObservation,
} from "./table";
import {
  MT_NO_ANSWER, SENT_ANSWERED, SENT_WAITING, answerBody, answerStatus, drain, transmit, transportFree, transportReady,
  transportReconnect, transportWaiting,
} from "./transport";

const BATCH_ITEMS_MAX: u32 = 256;
// The unanswered batch: {series u32, 0 u32, value u64} each.
const flight: usize = memory.data(256 * 16, 8);
let flightCount: u32 = 0;
let spanAsked: bool = false;
let framesLeft: u32 = 0;
let stopped: bool = false;
let registrations: u64 = 0;

/** Registrations sent since start; more than series means that metricsd was restarted or busy. */
export function metricsRegistrations(): u64 {
  return registrations;
}

/** Whether anything waits to be sent or answered. */
export function metricsWaiting(): bool {
  return (dirtyWaiting() | observationsWaiting() | spanFramesWaiting() | flightCount | transportWaiting()) != 0;
}

/** Sends what waits, within flush_frames_max frames. Never waits longer than one call a frame; without an edge, not at all. */
export function metricsFlush(): void {
  if (!transportReady()) return;
  framesLeft = METRICS_CLIENT_FLUSH_FRAMES_MAX;
  stopped = false;
  drain(onAnswer);
  if (registerPass()) batchPass();
  spanPass();
}

function sent(op: u8, tag: u32): bool {
  const outcome = transmit(op, tag);
  framesLeft -= 1;
  if (outcome == SENT_ANSWERED) {
    onAnswer(op, tag, answerStatus);
    return true;
  }
  if (outcome == SENT_WAITING) return true;
  stopped = true;
  if (outcome == <i32>E_DEAD || outcome == <i32>E_BAD_HANDLE) {
    forgetHandles();
    transportReconnect();
  }
  return false;
}

function room(): bool {
  return !stopped && framesLeft != 0 && transportFree();
}

/** Asks for a handle for `index` if it has none. True when it has one now. */
function held(index: u32): bool {
  const s = seriesAt(index);
  if (s.state != STATE_NEW || !room()) return s.state == STATE_HELD;
  const w = beginRequest(MT, MT_OP_REGISTER);
  w.putU8(s.kind).putU8(s.unit).putU8(<u8>s.nameLen).putU8(0).putU16(<u16>s.labelsLen);
  putMaybeWide(w, s.name, s.nameLen, s.nameWide);
  putMaybeWide(w, s.labels, s.labelsLen, s.labelsWide);
  s.state = STATE_ASKED;
  registrations += 1;
  if (!sent(MT_OP_REGISTER, index)) s.state = STATE_NEW;
  return s.state == STATE_HELD;
}

function putMaybeWide(w: Writer, text: usize, length: u32, wide: u8): void {
  if (!wide) {
    w.putBytes(text, length);
    return;
  }
  for (let i: u32 = 0; i < length; i++) w.putU8(load<u8>(text + (i << 1)));
}

/** Registers dirty series. In call mode a registration is answered at once, so a series' first flush also sends its value. */
function registerPass(): bool {
  const count = dirtyWaiting();
  for (let n: u32 = 0; n < count && room(); n++) {
    const index = takeDirty();
    held(index);
    const s = seriesAt(index);
    if (s.state == STATE_REFUSED) continue; // onAnswer counted its loss
    markDirty(s, index);
  }
  return !stopped;
}

function batchPass(): void {
  while (flightCount == 0 && room()) {
    const waitingCount = dirtyWaiting();
    for (let n: u32 = 0; n < waitingCount && flightCount < BATCH_ITEMS_MAX; n++) {
      const index = takeDirty();
      const s = seriesAt(index);
      if (s.state == STATE_HELD) {
        fly(index, s.pending);
        if (s.kind == MT_KIND_COUNTER) s.pending = 0;
      } else if (s.state == STATE_REFUSED) {
        s.pending = 0;
        countLost(1);
      } else {
        markDirty(s, index);
      }
    }
    while (observationsWaiting() != 0 && flightCount < BATCH_ITEMS_MAX) {
      const index = observationSeries();
      if (seriesAt(index).state == STATE_REFUSED) {
        takeObservation();
        countLost(1);
      } else if (held(index)) {
        fly(index, takeObservation());
      } else if (seriesAt(index).state != STATE_REFUSED) {
        break;
      }
    }
    if (flightCount == 0) return;
    if (!room()) return putBack();
    const w = beginRequest(MT, MT_OP_BATCH).putU16(<u16>flightCount).putU16(0);
    for (let i: u32 = 0; i < flightCount; i++) {
      const item = flight + (i << 4);
      w.putU32(seriesAt(load<u32>(item)).handle.raw).putU64(load<u64>(item, 8));
    }
    if (!sent(MT_OP_BATCH, 0)) putBack();
  }
}

@inline function fly(index: u32, value: u64): void {
  const item = flight + (flightCount << 4);
  store<u32>(item, index);
  store<u64>(item, value, 8);
  flightCount += 1;
}

/** The batch was not applied: its values wait again. A gauge set since keeps its newer value. */
function putBack(): void {
  for (let i: u32 = 0; i < flightCount; i++) {
    const item = flight + (i << 4);
    const index = load<u32>(item);
    const value = load<u64>(item, 8);
    const s = seriesAt(index);
    if (s.kind == MT_KIND_HISTOGRAM) addObservation(index, value);
    else if (s.kind == MT_KIND_COUNTER) addPending(index, value);
    else if (!s.dirty) markDirty(s, index);
  }
  flightCount = 0;
}

function spanPass(): void {
  while (spanFramesWaiting() != 0 && !spanAsked && room()) {
    const frame = spanFrame();
    const w = beginRequest(MT, frame.op).putU64(frame.span);
    if (frame.op == MT_OP_SPAN_START) {
      w.putU64(frame.trace).putU64(frame.parent).putU64(frame.time_ns);
      w.putU8(<u8>frame.nameLen).putU16(<u16>frame.attrsLen);
      putMaybeWide(w, frame.name, frame.nameLen, 1);
    } else {
      w.putU64(frame.time_ns).putU8(frame.status).putU16(<u16>frame.attrsLen);
    }
    w.putBytes(spanFrameAttrs(frame), frame.attrsLen);
    spanAsked = true;
    if (!sent(frame.op, 0)) spanAsked = false;
  }
}

function onAnswer(op: u8, tag: u32, status: u32): void {
  if (status == MT_RATE_LIMITED) stopped = true; // the bucket is empty: more frames only cost
  if (op == MT_OP_REGISTER) onRegistered(seriesAt(tag), status);
  else if (op == MT_OP_BATCH) onBatch(status);
  else onSpan(status);
}

function onRegistered(s: Series, status: u32): void {
  s.state = STATE_NEW;
  if (status == MT_OK) {
    s.handle = SeriesHandle.of(answerBody.takeU32());
    if (answerBody.ok) s.state = STATE_HELD;
  } else if (status == MT_INVALID_ARGS || status == MT_OVER_LIMIT) {
    s.state = STATE_REFUSED;
    if (s.kind != MT_KIND_HISTOGRAM) countLost(1);
    s.pending = 0;
  }
}

function onBatch(status: u32): void {
  if (status == MT_OK) {
    flightCount = 0;
  } else if (status == MT_RATE_LIMITED) {
    putBack();
  } else if (status == MT_STALE_HANDLE) {
    forgetHandles();
    putBack();
  } else {
    // Refused for good, or the answer never came: applied or not, sending it again could count it twice.
    countLost(flightCount);
    flightCount = 0;
  }
}

function onSpan(status: u32): void {
  spanAsked = false;
  if (status == MT_RATE_LIMITED) return;
  if (status != MT_OK) countLost(1);
  dropSpanFrame();
}
