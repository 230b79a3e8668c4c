// SPDX-License-Identifier: Apache-2.0
// Deterministic span and trace ids: low32(sender) << 32 | local counter. No entropy; two boots give the same ids.
//
// Invariant: an id is never issued twice by one service in one boot, restarts included: the counter's high 8 bits hold the
// service's generation less one, so the first generation counts 1, 2, 3, ... and a restarted one starts elsewhere.
// Limits: 2^24 - 1 spans and as many traces a generation, 256 generations; past that none is issued (0), never a repeated one.
import { sys_counter } from "../../gen/syscalls";
import { SpanId, TraceId } from "../nexus-ipc/types";
import { MT_TRACE_XOR } from "../wire/metricsd";

const COUNTER_OWN_GENERATION: u32 = 7;
const PER_GENERATION: u32 = 0xffffff;
const GENERATIONS_MAX: i64 = 256;

let sender: u64 = 0;
let base: u32 = 0;
let open: bool = false;
let spans: u32 = 0;
let traces: u32 = 0;

/** Starts the source for the service with this id (FNV-1a 64 of its name). */
export function idsInit(ownSender: u64): void {
  sender = ownSender;
  const generation = sys_counter(COUNTER_OWN_GENERATION);
  open = generation >= 1 && generation <= GENERATIONS_MAX;
  base = open ? <u32>(generation - 1) << 24 : 0;
}

/** The next span id, or 0 when none is left. */
export function nextSpanId(): u64 {
  if (!open || spans == PER_GENERATION) return 0;
  spans += 1;
  return (sender << 32) | <u64>(base | spans);
}

/** Writes the next span id to its place; false (and 0 there) when none is left. */
export function issueSpanId(place: SpanId): bool {
  place.value = nextSpanId();
  return place.value != 0;
}

/** The next trace id, or 0 when none is left. */
export function nextTraceId(): u64 {
  if (!open || traces == PER_GENERATION) return 0;
  traces += 1;
  return ((sender ^ MT_TRACE_XOR) << 32) | <u64>(base | traces);
}

/** Writes the next trace id to its place; false (and 0 there) when none is left. */
export function issueTraceId(place: TraceId): bool {
  place.value = nextTraceId();
  return place.value != 0;
}
