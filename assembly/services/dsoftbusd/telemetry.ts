// SPDX-License-Identifier: Apache-2.0
// What dsoftbusd measures of itself, for STATS and for metricsd: sessions opened, closed and refused, how long a handshake took, bytes.
// Invariant: STATS and the series are counted at one place, so they agree. Limit: nothing is sent here (tick.ts).
import { MUT_DSOFTBUSD_EMITS_NOTHING, mutant } from "../../gen/mutants";
import { MT_UNIT_NS, counter, counterAdd, histogram, observe } from "../../lib/nexus-metrics/index";
import {
  DB_STATS_BYTES, DB_STATS_CLOSED, DB_STATS_COUNTERS, DB_STATS_MESSAGES, DB_STATS_OPENED, DB_STATS_REFUSED,
} from "../../lib/wire/dsoftbusd";

const counts: usize = memory.data(96, 8);
const opened = counter("dsoftbusd.session.opened");
const closed = counter("dsoftbusd.session.closed");
const refused = counter("dsoftbusd.session.refused");
const bytes = counter("dsoftbusd.bytes");
const handshake = histogram("dsoftbusd.handshake_ns", MT_UNIT_NS);

function add(index: u32, n: u64): void {
  assert(DB_STATS_COUNTERS * 8 == 96);
  store<u64>(counts + (index << 3), load<u64>(counts + (index << 3)) + n);
}
/** A counter of STATS. */
export function statistic(index: u32): u64 {
  return load<u64>(counts + (index << 3));
}
/** Counts one of what has no series of its own. */
export function count(index: u32): void {
  add(index, 1);
}
export function countOpened(handshake_ns: u64): void {
  add(DB_STATS_OPENED, 1);
  if (mutant(MUT_DSOFTBUSD_EMITS_NOTHING)) return;
  counterAdd(opened, 1);
  observe(handshake, handshake_ns);
}
export function countClosed(): void {
  add(DB_STATS_CLOSED, 1);
  counterAdd(closed, 1);
}
export function countRefused(): void {
  add(DB_STATS_REFUSED, 1);
  counterAdd(refused, 1);
}
export function countMessage(length: u32): void {
  add(DB_STATS_MESSAGES, 1);
  add(DB_STATS_BYTES, length);
  counterAdd(bytes, length);
}
