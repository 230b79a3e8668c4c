// SPDX-License-Identifier: Apache-2.0
// What statefsd counts of itself: one tally for STATS, and the same events as metrics with the size of each group.
// Invariant: a request is counted once, under what it was answered with.
// Limit: nothing is sent here and nothing waits for metricsd, which itself calls statefsd; server.ts shares its one tick with
// lib/telemetry.
import { MUT_STATEFSD_EMITS_NOTHING, mutant } from "../../gen/mutants";
import { MT_UNIT_BYTES, counter, counterAdd, histogram, observe } from "../../lib/nexus-metrics/index";
import { Counter } from "../../lib/nexus-metrics/types";
import { Request } from "../../lib/nexus-ipc/index";
import {
  SF_ACCESS_DENIED, SF_STATS_BATCHES, SF_STATS_COUNTERS, SF_STATS_DELS, SF_STATS_DENIED, SF_STATS_GETS, SF_STATS_GROUPS,
  SF_STATS_GROUP_MAX, SF_STATS_INTEGRITY, SF_STATS_IO_ERRORS, SF_STATS_LISTS, SF_STATS_PUTS, SF_STATS_REFUSED, SF_STATS_SYNCS,
  SF_STATS_TXNS,
} from "../../lib/wire/statefsd";

const tallies: usize = memory.data(SF_STATS_COUNTERS * 8, 8);
const series: StaticArray<u32> = new StaticArray<u32>(SF_STATS_COUNTERS);
const groupRequests = counter("statefsd.group.requests");
const lost = counter("statefsd.lost");
const groupBytes = histogram("statefsd.group.bytes", MT_UNIT_BYTES);

// A series' index plus one; 0: counted for STATS alone.
function measured(stat: u32, by: Counter): void {
  series[stat] = by.index + 1;
}
measured(SF_STATS_PUTS, counter("statefsd.put"));
measured(SF_STATS_GETS, counter("statefsd.get"));
measured(SF_STATS_DELS, counter("statefsd.del"));
measured(SF_STATS_LISTS, counter("statefsd.list"));
measured(SF_STATS_SYNCS, counter("statefsd.sync"));
measured(SF_STATS_BATCHES, counter("statefsd.batch"));
measured(SF_STATS_TXNS, counter("statefsd.txn"));
measured(SF_STATS_DENIED, counter("statefsd.denied"));
measured(SF_STATS_REFUSED, counter("statefsd.refused"));
measured(SF_STATS_GROUPS, counter("statefsd.flush"));
measured(SF_STATS_IO_ERRORS, counter("statefsd.io"));
measured(SF_STATS_INTEGRITY, counter("statefsd.integrity"));

/** Counts one event of STATS counter `stat`. */
export function tally(stat: u32): void {
  const at = tallies + (stat << 3);
  store<u64>(at, load<u64>(at) + 1);
  if (series[stat] != 0 && !mutant(MUT_STATEFSD_EMITS_NOTHING)) counterAdd(Counter.of(series[stat] - 1), 1);
}
/** Events counted so far. */
export function tallied(stat: u32): u64 {
  return load<u64>(tallies + (stat << 3));
}

/** One group of that many requests was made durable by one FLUSH. */
export function observeGroup(requests: u32, bytes: u32): void {
  tally(SF_STATS_GROUPS);
  const largest = tallies + (SF_STATS_GROUP_MAX << 3);
  store<u64>(largest, max<u64>(load<u64>(largest), requests));
  counterAdd(groupRequests, requests);
  observe(groupBytes, bytes);
}

/** So many things that had been acknowledged turned out to be gone: keys whose value rotted, groups behind a bad record. */
export function countLost(n: u32): void {
  if (n != 0) counterAdd(lost, n);
}

/** Answers a request with a status that is not OK, and counts it. */
export function refuse(request: Request, status: u32): void {
  tally(status == SF_ACCESS_DENIED ? SF_STATS_DENIED : SF_STATS_REFUSED);
  request.answer(<u8>status);
}
