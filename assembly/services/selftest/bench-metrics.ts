// SPDX-License-Identifier: Apache-2.0
// Bench rows of metricsd: one update in one frame, client to acknowledged, and one update inside a batch by handle at 1 and at 1,024
// series. Needs the recipe `bench` (room for 1,024 series, no rate that matters).
// Invariant: every status is checked; a refused frame prints no figure. Snapshots are flushed between rows, so that no export runs
// inside a measured span.
import { SLOT_METRICSD } from "../../gen/slots";
import { sys_instret } from "../../gen/syscalls";
import { MT, beginRequest, callRequest, reply } from "../../lib/nexus-ipc/index";
import {
  MT_KIND_COUNTER, MT_OK, MT_OP_BATCH, MT_OP_COUNTER_INC, MT_OP_FLUSH, MT_OP_REGISTER, MT_UNIT_NONE,
} from "../../lib/wire/metricsd";
import { figure } from "./bench";
import { check, checkEqual, holding, proof } from "./lib";

const SERIES: u32 = 1024;
const ITEMS: u32 = 256;
const ROUNDS: u32 = 64;
const WAIT_NS: u64 = 500_000_000;
const FLUSHES_MAX: u32 = 64;
const handles: usize = memory.data(4096, 4);
const name: usize = memory.data(16);

function ask(): i32 {
  const outcome = callRequest(SLOT_METRICSD, WAIT_NS);
  return outcome != 0 ? outcome : <i32>reply.status;
}

/** Everything that waits leaves before a row is measured. */
function settle(): void {
  for (let i: u32 = 0; i < FLUSHES_MAX; i++) {
    beginRequest(MT, MT_OP_FLUSH);
    if (!checkEqual(ask(), MT_OK, "flush")) return;
    reply.body.takeU32();
    if (reply.body.takeU32() == 0) return;
  }
  check(false, "exports never end");
}

/** c0000 .. c1023, one series each. */
function registerAll(): void {
  for (let i: u32 = 0; i < SERIES && holding(); i++) {
    store<u8>(name, 99);
    let rest = i;
    for (let digit: u32 = 4; digit > 0; digit--) {
      store<u8>(name + digit, <u8>(48 + rest % 10));
      rest /= 10;
    }
    beginRequest(MT, MT_OP_REGISTER).putU8(MT_KIND_COUNTER).putU8(MT_UNIT_NONE).putU8(5).putU8(0).putU16(0).putBytes(name, 5);
    checkEqual(ask(), MT_OK, "register");
    store<u32>(handles + (i << 2), reply.body.takeU32());
  }
}

function oneFrame(): i32 {
  beginRequest(MT, MT_OP_COUNTER_INC).putU8(5).putU16(0).putU64(1).putText("c0000");
  return ask();
}

/** A batch of ITEMS updates over `spread` series, starting at `first`. */
function batch(first: u32, spread: u32): i32 {
  const w = beginRequest(MT, MT_OP_BATCH).putU16(<u16>ITEMS).putU16(0);
  const at = w.reserve(ITEMS * 12);
  for (let i: u32 = 0; i < ITEMS; i++) {
    const series = spread == 1 ? 0 : (first + i) & (SERIES - 1);
    store<u32>(at + i * 12, load<u32>(handles + (series << 2)));
    store<u64>(at + i * 12, 1, 4);
  }
  return ask();
}

function batched(key: string, spread: u32): void {
  settle();
  for (let i: u32 = 0; i < 4; i++) checkEqual(batch(i * ITEMS, spread), MT_OK, key);
  const start = <u64>sys_instret();
  let bad: i32 = 0;
  for (let i: u32 = 0; i < ROUNDS; i++) bad |= batch(i * ITEMS, spread);
  const spent = <u64>sys_instret() - start;
  if (checkEqual(bad, MT_OK, key)) figure(key, spent / (ROUNDS * ITEMS));
}

export function bench_metrics(): void {
  proof("bench metrics");
  registerAll();
  settle();
  for (let i: u32 = 0; i < 8; i++) checkEqual(oneFrame(), MT_OK, "counter_inc");
  const start = <u64>sys_instret();
  let bad: i32 = 0;
  for (let i: u32 = 0; i < ROUNDS; i++) bad |= oneFrame();
  const spent = <u64>sys_instret() - start;
  if (checkEqual(bad, MT_OK, "counter_inc")) figure("counter_inc", spent / ROUNDS);
  batched("counter_inc_batched_1_series", 1);
  batched("counter_inc_batched_1024_series", SERIES);
}
