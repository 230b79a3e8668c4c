// SPDX-License-Identifier: Apache-2.0
// A module for the host tests of nexus-log: the sink, the line builder and the reading half behind exports.
import { SLOT_LOGD, SLOT_LOG_QUERY } from "../../assembly/gen/slots";
import {
  LogCursor, configure_sink_logd_slots, logCut, logInfo, nextRecord, queryOutcome, readLogStats, sinkFlush,
  sinkInFlight, sinkOnSlots, sinkStart, sinkStats, sinkWaiting,
} from "../../assembly/lib/nexus-log/index";
import { LogStats } from "../../assembly/lib/wire/logd";
import { sys_cap_clone, sys_endpoint_create } from "../../assembly/gen/syscalls";

export const vigil_abi: i32 = 1;
const scratch: usize = memory.data(4096, 8);
const cursor: LogCursor = changetype<LogCursor>(memory.data(40, 8));
const stats: LogStats = changetype<LogStats>(memory.data(96, 8));
cursor.begin(0);

export function address(): usize { return scratch; }
export function start(): bool { return sinkStart(); }
export function configure(logd: u32, send: u32, recv: u32): bool { return configure_sink_logd_slots(logd, send, recv); }
export function endpoint(): i64 { return sys_endpoint_create(8); }
export function clone(handle: u32, rights: u32): i64 { return sys_cap_clone(handle, rights); }
export function onSlots(): bool { return sinkOnSlots(); }
export function flush(): void { sinkFlush(); }
export function waiting(): u32 { return sinkWaiting(); }
export function inFlight(): u32 { return sinkInFlight(); }
/** A record whose message is `n=` and the number, padded to `bytes` of message. */
export function note(n: u32, bytes: u32): bool {
  memory.fill(scratch, 46, 4096);
  const line = logInfo("test").text("n=").dec(n);
  return line.bytes(scratch, bytes).fieldDec("n", n).fieldHex("h", 255).field("k", "v").fieldSigned("s", -1).end();
}
export function cut(): u64 { return logCut(); }
export function statPut(): u64 { return sinkStats().put; }
export function statSent(): u64 { return sinkStats().sent; }
export function statAcknowledged(): u64 { return sinkStats().acknowledged; }
export function statRefused(): u64 { return sinkStats().refused; }
export function statUnanswered(): u64 { return sinkStats().unanswered; }
export function statDropped(): u64 { return sinkStats().dropped; }
export function statMismatched(): u64 { return sinkStats().mismatched; }
export function statFailures(): u64 { return sinkStats().sendFailures; }
export function statRoutes(): u64 { return sinkStats().routes; }
export function statLastId(): u64 { return sinkStats().lastRecordId; }

export function readFrom(after: u64): void { cursor.begin(after); }
/** Id of the next record, 0 at the end or on a failure. */
export function readNext(): u64 {
  const record = nextRecord(SLOT_LOG_QUERY, cursor);
  return record === null ? 0 : record.recordId;
}
export function readOutcome(): i32 { return queryOutcome; }
export function readMissed(): u64 { return cursor.missed; }
export function readStats(): i32 { return readLogStats(SLOT_LOGD, stats); }
export function main(): void {}
