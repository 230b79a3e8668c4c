// SPDX-License-Identifier: Apache-2.0
// Phase traps: every way a service can end is named, ends that service alone, and is followed by a restart within its budget; then
// isolation between neighbours, floating point across preemption, and a service that never gives the processor up.
import { E_DEAD } from "../../gen/errors";
import {
  M_SELFTEST_ENDLESS_LOOP_OK, M_SELFTEST_FLOATING_POINT_OK, M_SELFTEST_MEMORY_LIMIT_OK, M_SELFTEST_NEIGHBOUR_ISOLATION_OK,
  M_SELFTEST_POLICYD_RESTART_OK, M_SELFTEST_RESTART_BUDGET_OK, M_SELFTEST_RESTART_OK, M_SELFTEST_TRAP_ABORT_OK,
  M_SELFTEST_TRAP_BAD_INDIRECT_CALL_OK, M_SELFTEST_TRAP_BAD_POINTER_OK, M_SELFTEST_TRAP_BAD_SYSCALL_OK,
  M_SELFTEST_TRAP_DIV_BY_ZERO_OK, M_SELFTEST_TRAP_ILLEGAL_INSTRUCTION_OK, M_SELFTEST_TRAP_INT_OVERFLOW_OK,
  M_SELFTEST_TRAP_OOB_READ_OK, M_SELFTEST_TRAP_OOB_WRITE_OK, M_SELFTEST_TRAP_STACK_OVERFLOW_OK,
  M_SELFTEST_TRAP_UNREACHABLE_OK, M_SELFTEST_TRAP_WILD_ACCESS_OK, M_SELFTEST_TWO_INSTANCES_OK,
} from "../../gen/markers";
import { SLOT_INIT } from "../../gen/slots";
import { sys_cap_close, sys_cap_query, sys_counter, sys_time_ns } from "../../gen/syscalls";
import {
  TRAP_ABORT, TRAP_BAD_INDIRECT_CALL, TRAP_BAD_POINTER, TRAP_BAD_SYSCALL, TRAP_DIV_BY_ZERO,
  TRAP_ILLEGAL_INSTRUCTION, TRAP_INT_OVERFLOW, TRAP_OOB_READ, TRAP_OOB_WRITE, TRAP_STACK_OVERFLOW, TRAP_UNREACHABLE,
  TRAP_WILD_ACCESS,
} from "../../gen/traps";
import { beginRequest, callRequest, IN, IN_KILL, lookup, lookupStatus, reply, REPLY_OK, sendRequest } from "../../lib/nexus-ipc/index";
import {
  FLOAT_STEPS, floatSeries, FX_COUNT, FX_FP_RESULT, FX_FP_START, FX_GROW, FX_LOOP, FX_TRAP,
} from "../../lib/wire/probe";
import { RG_OK } from "../../lib/wire/rngd";
import { SM_DENIED } from "../../lib/wire/samgrd";
import { EX_OK } from "../../lib/wire/execd";
import { draw } from "./mmio";
import { execDrop, execRun, execWait, waitCause } from "./children";
import { check, checkDone, checkEqual, proof, proven, waitNs } from "./lib";
import {
  CALL_BUDGET_NS, PROBE_A, PROBE_B, PROBE_C, probeAgain, probeCall, probeChecksum, probeHandle, probeRequest, probeSend, routeOf,
} from "./probe";

export const RESTART_LOOKS: u32 = 50;
const RESTART_LOOK_NS: u64 = 2_000_000;
const PREEMPTIONS: u32 = 6;
const FLOAT_WAIT_NS: u64 = 5_000_000;
const FLOAT_LOOKS_MAX: u32 = 100;
const meta: usize = memory.data(32, 8);
let neighbour: u32 = 0;

/** Traps a probe; the call in flight answers dead, the held handle names the new generation, the neighbour is untouched. */
function trapOf(probe: u32, op: u8, kind: u32): void {
  const handle = probeHandle(probe);
  checkDone(sys_cap_query(handle, <u32>meta), "query before");
  const generation = load<u64>(meta, 24);
  probeRequest(probe, op).putU8(<u8>kind);
  checkEqual(callRequest(handle, CALL_BUDGET_NS), E_DEAD, "the call in flight");
  checkDone(sys_cap_query(handle, <u32>meta), "query after");
  checkEqual(load<u64>(meta, 24), generation + 1, "generation");
  probeRequest(probe, FX_COUNT);
  checkEqual(callRequest(handle, CALL_BUDGET_NS), E_DEAD, "the held handle");
  checkEqual(probeChecksum(PROBE_C), neighbour, "neighbour's memory");
  checkEqual(probeAgain(probe), neighbour, "the restarted probe");
}

function trapClass(kind: u32, name: string, marker: usize, probe: u32): void {
  proof(name);
  trapOf(probe, FX_TRAP, kind);
  proven(marker);
}

/** A forged ELF meets the kernel's walls: the import mask, the privilege level, W^X. */
function forged(name: string, kind: u32, marker: usize): void {
  proof(name);
  checkEqual(execRun(name), EX_OK, "start");
  checkEqual(execWait(), EX_OK, "end");
  checkEqual(waitCause, kind, "its cause");
  execDrop();
  checkEqual(probeChecksum(PROBE_C), neighbour, "neighbour's memory");
  proven(marker);
}

/** The largest store that a 32-bit address and offset can express lands in nothing: every neighbour's bytes stay. */
function isolation(): void {
  proof("neighbour isolation");
  const before = probeChecksum(PROBE_B);
  checkEqual(execRun("child-far"), EX_OK, "start");
  checkEqual(execWait(), EX_OK, "end");
  checkEqual(waitCause, TRAP_OOB_WRITE, "its cause");
  execDrop();
  checkEqual(probeChecksum(PROBE_B), before, "the window before");
    checkEqual(probeChecksum(PROBE_C), neighbour, "the window after");
  proven(M_SELFTEST_NEIGHBOUR_ISOLATION_OK);
}

function memoryLimit(): void {
  proof("memory limit");
  probeRequest(PROBE_B, FX_GROW);
  if (checkEqual(probeCall(), REPLY_OK, "grow")) checkEqual(reply.body.takeI64(), -1, "memory.grow past the limit");
  probeRequest(PROBE_B, FX_COUNT);
  checkEqual(probeCall(), REPLY_OK, "the probe lives on");
  proven(M_SELFTEST_MEMORY_LIMIT_OK);
}

function countOf(probe: u32): i64 {
  probeRequest(probe, FX_COUNT);
  return probeCall() == REPLY_OK ? <i64>reply.body.takeU32() : -1;
}

/** Instances of one module share text and nothing else. */
function twoInstances(): void {
  proof("two instances");
  const a = countOf(PROBE_A);
  const c = countOf(PROBE_C);
  checkEqual(countOf(PROBE_C), c + 1, "its own count");
  checkEqual(countOf(PROBE_C), c + 2, "its own count");
  checkEqual(countOf(PROBE_A), a + 1, "untouched by the other");
  proven(M_SELFTEST_TWO_INSTANCES_OK);
}

/** Two probes compute for many slices at once; their bits must be those of a computation that nobody interrupted. */
function floatingPoint(): void {
  proof("floating point");
  const expectedA = floatSeries(11, FLOAT_STEPS);
  const expectedC = floatSeries(29, FLOAT_STEPS);
  const before = sys_counter(PREEMPTIONS);
  probeRequest(PROBE_A, FX_FP_START).putU32(11);
  checkEqual(probeSend(), 0, "start");
  probeRequest(PROBE_C, FX_FP_START).putU32(29);
  checkEqual(probeSend(), 0, "start");
  checkEqual(floatOf(PROBE_A), expectedA, "first service");
  checkEqual(floatOf(PROBE_C), expectedC, "second service");
  check(sys_counter(PREEMPTIONS) >= before + 4, "they never interleaved");
  proven(M_SELFTEST_FLOATING_POINT_OK);
}

function floatOf(probe: u32): i64 {
  for (let n: u32 = 0; n < FLOAT_LOOKS_MAX; n++) {
    probeRequest(probe, FX_FP_RESULT);
    if (probeCall() == REPLY_OK) return reply.body.takeI64();
    waitNs(FLOAT_WAIT_NS);
  }
  return 0;
}

/** A service that never yields: the others go on, and init-lite can end it. */
function endlessLoop(): void {
  proof("endless loop");
  probeRequest(PROBE_B, FX_LOOP);
  checkEqual(probeSend(), 0, "start");
  const start_ns = <u64>sys_time_ns();
  for (let n: u32 = 0; n < 20; n++) checkEqual(probeChecksum(PROBE_C), neighbour, "a neighbour meanwhile");
  check(<u64>sys_time_ns() - start_ns < 100_000_000, "the neighbour starves");
  const handle = probeHandle(PROBE_B);
  beginRequest(IN, IN_KILL).putU8(7).putText("probe-b");
  checkEqual(sendRequest(SLOT_INIT), 0, "kill");
  probeRequest(PROBE_B, FX_COUNT);
  checkEqual(callRequest(handle, CALL_BUDGET_NS), E_DEAD, "the looping service");
  checkEqual(probeAgain(PROBE_B), neighbour, "restarted");
  proven(M_SELFTEST_ENDLESS_LOOP_OK);
}

/** A restarted service starts clean and is a new generation to whoever held it. */
function restart(): void {
  proof("restart");
  const before = countOf(PROBE_B);
  check(before >= 1, "count before");
  const resolutions = routeOf(PROBE_B).resolutions;
  trapOf(PROBE_B, FX_TRAP, TRAP_ABORT);
  checkEqual(countOf(PROBE_B), 1, "state survived the restart");
  check(routeOf(PROBE_B).resolutions > resolutions, "resolved again");
  proven(M_SELFTEST_RESTART_OK);
}

/** Kills a service by init-lite and waits until it answers to its name again. */
export function killed(name: string, budgetLooks: u32): bool {
  const route = lookup(name);
  if (!checkDone(route, "not resolved")) return false;
  beginRequest(IN, IN_KILL).putU8(<u8>name.length).putText(name);
  checkEqual(sendRequest(SLOT_INIT), 0, "kill");
  for (let n: u32 = 0; n < budgetLooks; n++) {
    waitNs(RESTART_LOOK_NS);
    sys_cap_query(<u32>route, <u32>meta);
    const again = lookup(name);
    if (again < 0) continue;
    sys_cap_close(<u32>again);
    if (load<u64>(meta, 24) > load<u64>(meta, 16)) {
      sys_cap_close(<u32>route);
      return true;
    }
  }
  sys_cap_close(<u32>route);
  return check(false, "it did not come back");
}

/** The authority itself is restarted: who asked it by its first handle finds the new one, and still gets real decisions. */
function policydRestart(): void {
  proof("policyd restart");
  if (killed("policyd", RESTART_LOOKS)) {
    checkEqual(draw(16), RG_OK, "an allowed request after it");
    check(lookup("child-hello") < 0, "a route that is not granted");
    checkEqual(lookupStatus(), SM_DENIED, "why");
  }
  proven(M_SELFTEST_POLICYD_RESTART_OK);
}

/** Once its budget is used up a service stays down, and everybody else stays up. */
function restartBudget(): void {
  proof("restart budget");
  const handle = probeHandle(PROBE_A);
  probeRequest(PROBE_A, FX_TRAP).putU8(<u8>TRAP_ABORT);
  checkEqual(callRequest(handle, CALL_BUDGET_NS), E_DEAD, "the last trap");
  waitNs(20_000_000);
  probeRequest(PROBE_A, FX_COUNT);
  checkEqual(callRequest(handle, CALL_BUDGET_NS), E_DEAD, "held handle");
  routeOf(PROBE_A).drop();
  check(routeOf(PROBE_A).resolve("probe-a") < 0, "it came back over its budget");
  checkEqual(probeChecksum(PROBE_C), neighbour, "neighbour");
  proven(M_SELFTEST_RESTART_BUDGET_OK);
}

export function trap_proofs(): void {
  neighbour = probeChecksum(PROBE_C);
  trapClass(TRAP_OOB_READ, "oob_read", M_SELFTEST_TRAP_OOB_READ_OK, PROBE_A);
  trapClass(TRAP_OOB_WRITE, "oob_write", M_SELFTEST_TRAP_OOB_WRITE_OK, PROBE_A);
  trapClass(TRAP_DIV_BY_ZERO, "div_by_zero", M_SELFTEST_TRAP_DIV_BY_ZERO_OK, PROBE_A);
  trapClass(TRAP_INT_OVERFLOW, "int_overflow", M_SELFTEST_TRAP_INT_OVERFLOW_OK, PROBE_A);
  trapClass(TRAP_UNREACHABLE, "unreachable", M_SELFTEST_TRAP_UNREACHABLE_OK, PROBE_A);
  trapClass(TRAP_BAD_INDIRECT_CALL, "bad_indirect_call", M_SELFTEST_TRAP_BAD_INDIRECT_CALL_OK, PROBE_A);
  trapClass(TRAP_STACK_OVERFLOW, "stack_overflow", M_SELFTEST_TRAP_STACK_OVERFLOW_OK, PROBE_A);
  trapClass(TRAP_ABORT, "abort", M_SELFTEST_TRAP_ABORT_OK, PROBE_A);
  trapClass(TRAP_BAD_POINTER, "bad_pointer", M_SELFTEST_TRAP_BAD_POINTER_OK, PROBE_B);
  forged("child-unmasked", TRAP_BAD_SYSCALL, M_SELFTEST_TRAP_BAD_SYSCALL_OK);
  forged("child-illegal", TRAP_ILLEGAL_INSTRUCTION, M_SELFTEST_TRAP_ILLEGAL_INSTRUCTION_OK);
  forged("child-wild", TRAP_WILD_ACCESS, M_SELFTEST_TRAP_WILD_ACCESS_OK);
  isolation();
  memoryLimit();
  twoInstances();
  floatingPoint();
  endlessLoop();
  restart();
  policydRestart();
  restartBudget();
}
