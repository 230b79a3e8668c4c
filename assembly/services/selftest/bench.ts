// SPDX-License-Identifier: Apache-2.0
// Profile bench: guest instruction counts, exact under icount. Each row times a span without a wait for anything outside, many rounds
// after a warm-up, and prints `SELFTEST: bench KEY=VALUE` with the figure of one round (rounded down). Rows and budgets: boot/budgets.toml.
import {
  sys_call, sys_cap_clone, sys_cap_close, sys_console_line, sys_endpoint_create, sys_instret, sys_null, sys_recv, sys_send, sys_time_ns,
} from "../../gen/syscalls";
import { Writer } from "../../lib/bounded/writer";
import { FX_RAW_ECHO } from "../../lib/wire/probe";
import { bench_log } from "./bench-log";
import { bench_metrics } from "./bench-metrics";
import { bench_state } from "./bench-state";
import { bench_threads } from "./bench-threads";
import { PROBE_C, probeHandle, probeRequest, probeSend } from "./probe";

const ROUNDS: u32 = 256;
const BUDGET_NS: u64 = 10_000_000_000;
const lineBuffer: usize = memory.data(128);
const line: Writer = changetype<Writer>(memory.data(16, 4));
const buffer: usize = memory.data(1024, 16);
const meta: usize = memory.data(32, 8);

/** Prints one row. */
export function figure(key: string, value: u64): void {
  line.reset(lineBuffer, 128).putText("SELFTEST: bench ").putText(key).putText("=").putDecimal(value);
  sys_console_line(<u32>lineBuffer, line.length);
}

@inline export function mark_instret(): u64 { return <u64>sys_instret(); }

function nullCall(): void {
  for (let i: u32 = 0; i < 16; i++) sys_null();
  const start = mark_instret();
  for (let i: u32 = 0; i < ROUNDS; i++) sys_null();
  figure("null_syscall", (mark_instret() - start) / ROUNDS);
}

/** A call of 64 bytes and its reply of 64 bytes, between two services in bare loops. */
function call64(): void {
  const handle = probeHandle(PROBE_C);
  probeRequest(PROBE_C, FX_RAW_ECHO).putU32(ROUNDS + 17);
  probeSend();
  const deadline = <u64>sys_time_ns() + BUDGET_NS;
  const back = <u64>(buffer + 512) | (<u64>256 << 32);
  for (let i: u32 = 0; i < 16; i++) sys_call(handle, <u32>buffer, 64, back, <u32>meta, deadline);
  const start = mark_instret();
  for (let i: u32 = 0; i < ROUNDS; i++) sys_call(handle, <u32>buffer, 64, back, <u32>meta, deadline);
  figure("ipc_call_64", (mark_instret() - start) / ROUNDS);
}

/** A send of 64 bytes into a queue with room, without its receive. */
function send64(): void {
  const depth: u32 = 64;
  const endpoint = <u32>sys_endpoint_create(depth);
  const clone = <u32>sys_cap_clone(endpoint, 1);
  const start = mark_instret();
  for (let i: u32 = 0; i < depth; i++) sys_send(clone, <u32>buffer, 64, 0);
  figure("ipc_send_64", (mark_instret() - start) / depth);
  for (let i: u32 = 0; i < depth; i++) sys_recv(endpoint, <u64>buffer | (<u64>256 << 32), <u32>meta, 0, 0);
  sys_cap_close(clone);
  sys_cap_close(endpoint);
}

export function bench(): void {
  nullCall();
  call64();
  send64();
  bench_metrics();
  bench_log();
  bench_threads();
  bench_state();
}
