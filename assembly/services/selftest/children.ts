// SPDX-License-Identifier: Apache-2.0
// selftest's client of execd: run an image of the bundle, wait for its end. One child at a time is looked at.
// Limits: EXEC_BUDGET_NS for the start, limits.execd wait_max_ns for the end.
import { EXECD_WAIT_MAX_NS } from "../../gen/limits";
import { sys_cap_close, sys_time_ns } from "../../gen/syscalls";
import { EX, REPLY_OK, Route, beginRequest, callRequest, reply } from "../../lib/nexus-ipc/index";
import { EX_DENIED, EX_OK, EX_OP_EXEC, EX_OP_REPORT_EXIT, EX_OP_WAIT, EX_REFUSED } from "../../lib/wire/execd";

const EXEC_BUDGET_NS: u64 = 5_000_000_000;
const WAIT_NS: u64 = 5_000_000_000;
const execd: Route = changetype<Route>(memory.data(8, 4));

/** Of the last execRun: which child, its endpoint (SEND, ours until execDrop), and the loader's reason when refused. */
export let execIndex: u32 = 0;
export let execGeneration: u32 = 0;
export let execDetail: u32 = 0;
export let execEndpoint: u32 = 0;
/** Answers to every execRun of this boot; what execd counts must agree. */
export let execsOk: u32 = 0;
export let execsDenied: u32 = 0;
export let execsRefused: u32 = 0;
/** Of the last execWait: why the child ended (0: exit) and its exit code or program counter. */
export let waitCause: u32 = 0;
export let waitCode: u64 = 0;

/** EXEC: execd's status, or a negative error. */
export function execRun(name: string): i32 {
  execDrop();
  const handle = execd.resolve("execd");
  if (handle < 0) return handle;
  beginRequest(EX, EX_OP_EXEC).putU8(<u8>name.length).putText(name);
  const outcome = callRequest(<u32>handle, EXEC_BUDGET_NS);
  if (outcome != REPLY_OK) return outcome;
  execIndex = reply.body.takeU32();
  execGeneration = reply.body.takeU32();
  execDetail = reply.body.takeU32();
  execEndpoint = reply.moved;
  if (!reply.body.finished) return -1;
  if (reply.status == EX_OK) execsOk++;
  else if (reply.status == EX_DENIED) execsDenied++;
  else if (reply.status == EX_REFUSED) execsRefused++;
  return <i32>reply.status;
}

/** Gives the child's endpoint up. */
export function execDrop(): void {
  if (execEndpoint != 0) sys_cap_close(execEndpoint);
  execEndpoint = 0;
}

/** WAIT for the child of the last execRun: execd's status, or a negative error. */
export function execWait(): i32 {
  return waitFor(execIndex, execGeneration);
}

/** WAIT for a child by index and generation. */
export function waitFor(index: u32, generation: u32): i32 {
  assert(WAIT_NS <= EXECD_WAIT_MAX_NS);
  const handle = execd.resolve("execd");
  if (handle < 0) return handle;
  beginRequest(EX, EX_OP_WAIT).putU32(index).putU32(generation).putU64(<u64>sys_time_ns() + WAIT_NS);
  const outcome = callRequest(<u32>handle, WAIT_NS + EXEC_BUDGET_NS);
  if (outcome != REPLY_OK) return outcome;
  if (reply.status != EX_OK) return <i32>reply.status;
  waitCause = reply.body.takeU32();
  waitCode = reply.body.takeU64();
  return reply.body.finished ? <i32>EX_OK : -1;
}

/** REPORT_EXIT as an upstream client would claim it: execd's status, or a negative error. */
export function claimExit(index: u32, code: u32): i32 {
  const handle = execd.resolve("execd");
  if (handle < 0) return handle;
  beginRequest(EX, EX_OP_REPORT_EXIT).putU32(index).putU32(code);
  const outcome = callRequest(<u32>handle, EXEC_BUDGET_NS);
  return outcome != REPLY_OK ? outcome : <i32>reply.status;
}
