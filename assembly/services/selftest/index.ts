// SPDX-License-Identifier: Apache-2.0
// The proof client. It answers its PING, then waits for init-lite's GO, which comes after `init: ready`, and climbs the ladder of its
// boot profile in the order of markers/. When it ends, it ends the machine; in profile run it does
// nothing at all.
import { M_SELFTEST_END, mark } from "../../gen/markers";
import { MUT_SELFTEST_SKIPS_END, mutant } from "../../gen/mutants";
import { sys_boot_arg, sys_shutdown } from "../../gen/syscalls";
import { copyLiteral, equalsLiteral } from "../../lib/bounded/text";
import { IN_GO, Request, serve, serverRouteInit } from "../../lib/nexus-ipc/index";
import { FX } from "../../lib/wire/probe";
import { bench } from "./bench";
import { bus_proofs } from "./bus";
import { crashrec_proofs } from "./crashrec";
import { crash_proofs, exec_proofs } from "./exec";
import { export_proofs } from "./export";
import { gpu_proofs, gpu_restart_proofs } from "./gpu";
import { invalid_only } from "./invalid";
import { ipc_proofs } from "./ipc";
import { failedChecks } from "./lib";
import { keys_proofs } from "./keys";
import { logd_proofs } from "./logd";
import { metrics_proofs } from "./metrics";
import { mmio_proofs } from "./mmio";
import { persist_first, persist_second } from "./persist";
import { policy_proofs } from "./policy";
import { crash, crash_check } from "./power";
import { disk_errors, disk_read_only } from "./power-errors";
import { soak } from "./soak";
import { keepStart } from "./start-records";
import { tracing_proofs } from "./tracing";
import { restart_proofs } from "./restart";
import { retention_proofs } from "./retention";
import { state_proofs } from "./state";
import { isRefusedProfile, state_refused } from "./state-refused";
import { trap_proofs } from "./traps";

export const vigil_abi: i32 = 1;

const VALUE_BYTES: u32 = 32;
const key: usize = memory.data(16);
const value: usize = memory.data(32);

/** Whether boot argument `name` has exactly this value. */
function argumentIs(name: string, expected: string): bool {
  const bytes = copyLiteral(key, name);
  const length = sys_boot_arg(<u32>key, bytes, <u32>value, VALUE_BYTES);
  return length >= 0 && equalsLiteral(value, <u32>length, expected);
}

function proofs(): void {
  keepStart();
  mmio_proofs();
  ipc_proofs();
  policy_proofs();
  logd_proofs();
  state_proofs();
  keys_proofs();
  metrics_proofs();
  tracing_proofs();
  retention_proofs();
  trap_proofs();
  crash_proofs();
  crashrec_proofs();
  exec_proofs();
  bus_proofs();
  gpu_proofs();
  export_proofs();
  gpu_restart_proofs();
  restart_proofs();
}

function go(request: Request): void {
  if (argumentIs("profile", "run")) return;
  if (argumentIs("profile", "bench")) bench();
  else if (argumentIs("profile", "invalid-only")) invalid_only();
  else if (argumentIs("profile", "crash")) crash();
  else if (argumentIs("profile", "crash-check")) crash_check();
  else if (argumentIs("profile", "soak")) soak();
  else if (argumentIs("profile", "disk-errors")) disk_errors();
  else if (argumentIs("profile", "disk-read-only")) disk_read_only();
  else if (isRefusedProfile()) state_refused();
  else if (argumentIs("profile", "persist-first")) persist_first();
  else if (argumentIs("profile", "persist-second")) persist_second();
  else proofs();
  if (!mutant(MUT_SELFTEST_SKIPS_END)) mark(M_SELFTEST_END);
  sys_shutdown(failedChecks() == 0 ? 0 : 1);
}

function ready(): bool { return true; }
function nothing(): void {}

export function main(): void {
  serverRouteInit(IN_GO, go);
  serve(FX, 1, 2, ready, nothing);
}
