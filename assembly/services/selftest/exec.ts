// SPDX-License-Identifier: Apache-2.0
// Proofs of phase exec: an image fetched from the bundle has its digest, a module runs and its end is told, policy
// denies, each run is measured, a claimed end is refused, and each way a module can be bad is refused by name; and
// (phase traps) a crash leaves its record.
import { LOGD_RECORDS_MAX } from "../../gen/limits";
import {
  REASON_ELF_DIGEST, REASON_ELF_MALFORMED, REASON_ELF_RANGE, REASON_ELF_WRITABLE, REASON_WASM_ABI, REASON_WASM_DIGEST,
  REASON_WASM_EXPORT, REASON_WASM_IMPORT, REASON_WASM_MALFORMED, REASON_WASM_MEMORY, REASON_WASM_THREADS,
} from "../../gen/loader";
import {
  M_SELFTEST_BAD_MODULE_REFUSED_OK, M_SELFTEST_BUNDLE_FETCH_OK, M_SELFTEST_CRASH_REPORT_OK, M_SELFTEST_EXEC_DENIED_OK,
  M_SELFTEST_EXEC_OK, M_SELFTEST_EXEC_REPORT_REFUSED_OK, M_SELFTEST_EXEC_TELEMETRY_OK,
} from "../../gen/markers";
import { SVC_BUNDLEMGRD_ID, SVC_EXECD_ID } from "../../gen/services";
import { SLOT_LOG_QUERY } from "../../gen/slots";
import { TRAP_ABORT } from "../../gen/traps";
import { sha256 } from "../../lib/hash/sha256";
import { fnv1a64Literal } from "../../lib/bounded/fnv";
import { equalsLiteral, indexOfLiteral } from "../../lib/bounded/text";
import { BN, REPLY_OK, Route, beginRequest, callRequest, pullTransfer, reply } from "../../lib/nexus-ipc/index";
import { LogCursor, nextRecord, queryOutcome } from "../../lib/nexus-log/index";
import { MT_TRACE_XOR } from "../../lib/wire/metricsd";
import { BN_INFO_BYTES, BN_OK, BN_OP_FETCH_IMAGE, BN_OP_INFO } from "../../lib/wire/bundlemgrd";
import { EX_DENIED, EX_NOT_FOUND, EX_OK, EX_REFUSED, EX_UNSUPPORTED } from "../../lib/wire/execd";
import {
  claimExit, execDetail, execDrop, execGeneration, execIndex, execRun, execWait, execsDenied, execsOk, execsRefused,
  waitCause, waitCode, waitFor,
} from "./children";
import { check, checkEqual, proof, proven, waitNs } from "./lib";
import { beginExchange, findFitting, flush, want, wanted } from "./records";

const BUDGET_NS: u64 = 5_000_000_000;
const IMAGE_BYTES_MAX: u32 = 65536;
/** More than a producer's FLUSH_DELAY_NS, twice: its handles, then its values. */
const PRODUCERS_FLUSH_NS: u64 = 50_000_000;
const image: usize = memory.data(65536, 8);
const digests: usize = memory.data(96, 8);
const bundlemgrd: Route = changetype<Route>(memory.data(8, 4));
const cursor: LogCursor = changetype<LogCursor>(memory.data(40, 8));

let fetchedBytes: u64 = 0;
/** Spans that execd began before this phase: one each time that policy allowed. */
let spansBefore: u32 = 0;

// bundlemgrd's own image: several pieces long.
function provesFetch(): void {
  proof("bundle fetch");
  const handle = bundlemgrd.resolve("bundlemgrd");
  if (!check(handle >= 0, "route")) return;
  beginRequest(BN, BN_OP_INFO).putU8(10).putText("bundlemgrd");
  checkEqual(callRequest(<u32>handle, BUDGET_NS), REPLY_OK, "info");
  checkEqual(reply.status, BN_OK, "info status");
  if (!checkEqual(reply.body.left, BN_INFO_BYTES, "info length")) return;
  reply.body.takeBytes(8);
  const bytes = reply.body.takeU32();
  reply.body.takeBytes(12);
  memory.copy(digests, reply.body.takeBytes(32), 32);
  const id = fnv1a64Literal("bundlemgrd");
  const got = pullTransfer(<u32>handle, BN, BN_OP_FETCH_IMAGE, id, image, IMAGE_BYTES_MAX, BUDGET_NS);
  if (!checkEqual(got, bytes, "image length")) return;
  fetchedBytes = bytes;
  sha256(<u32>image, bytes, <u32>digests + 32);
  check(memory.compare(digests, digests + 32, 32) == 0, "the image's digest is not its manifest's");
  proven(M_SELFTEST_BUNDLE_FETCH_OK);
}

function provesRun(): void {
  proof("exec");
  checkEqual(execRun("child-hello"), EX_OK, "exec child-hello");
  checkEqual(execWait(), EX_OK, "wait");
  checkEqual(waitCause, 0, "cause");
  checkEqual(waitCode, 0, "exit code");
  const index = execIndex;
  const generation = execGeneration;
  checkEqual(execRun("child-exit42"), EX_OK, "exec child-exit42");
  checkEqual(execWait(), EX_OK, "wait for the second");
  checkEqual(waitCause, 0, "cause of the second");
  checkEqual(waitCode, 42, "exit code of the second");
  checkEqual(execRun("child-exit42"), EX_OK, "exec again");
  checkEqual(execWait(), EX_OK, "wait again");
  checkEqual(execGeneration, 2, "generation of the second run");
  checkEqual(waitFor(index, generation), EX_OK, "an end is kept");
  checkEqual(waitFor(index, generation + 7), EX_NOT_FOUND, "a generation that never was");
  execDrop();
  proven(M_SELFTEST_EXEC_OK);
}

function provesDenied(): void {
  proof("exec denied");
  checkEqual(execRun("child-forbidden"), EX_DENIED, "an image not granted");
  checkEqual(execRun("init-lite"), EX_DENIED, "a service");
  checkEqual(execRun("no-such-image"), EX_DENIED, "existence is not told");
  proven(M_SELFTEST_EXEC_DENIED_OK);
}

// The last value of a counter of execd; the handle is metricsd's to give.
function wantSpawns(name: string, value: u32): void {
  want().putText("kind=counter\nname=").putText(name).fieldHex("producer", SVC_EXECD_ID);
  wanted.putText("\nseries=????????").fieldDecimal("value", value);
  findFitting(name);
}

// The span of the n-th exec of this phase (from 1): its ids count on from those before.
function wantSpan(n: u32, image: string, code: u32, detail: string): void {
  const number = <u64>(spansBefore + n);
  want().putText("attr.image=").putText(image).putText("\nduration_ns=*").fieldDecimal("end.code", code);
  wanted.putText("\nend_ns=*\nkind=span\nname=execd.exec").fieldHex("parent", 0).fieldHex("producer", SVC_EXECD_ID);
  wanted.fieldHex("span", (SVC_EXECD_ID << 32) | number).putText("\nstart_ns=*\nstatus=ok");
  wanted.fieldHex("trace", ((SVC_EXECD_ID ^ MT_TRACE_XOR) << 32) | number);
  findFitting(detail);
}

// One image was fetched since the boot: this phase's.
function wantImageBytes(): void {
  want().putText("bounds=1024,16384,65536,262144,1048576\nbuckets=");
  wanted.putText(fetchedBytes <= 1024 ? "1,0,0,0,0,0" : fetchedBytes <= 16384 ? "0,1,0,0,0,0" : "0,0,1,0,0,0");
  wanted.putText("\ncount=1\nkind=histogram\nname=bundlemgrd.fetch.image_bytes");
  wanted.fieldHex("producer", SVC_BUNDLEMGRD_ID);
  wanted.putText("\nseries=????????").fieldDecimal("sum", fetchedBytes).fieldLiteral("unit", "bytes");
  findFitting("bundlemgrd.fetch.image_bytes");
}

function provesTelemetry(): void {
  proof("exec telemetry");
  checkEqual(execsOk + execsRefused - spansBefore, 3, "execs since the phase began");
  waitNs(PRODUCERS_FLUSH_NS);
  flush();
  wantSpawns("execd.spawn.ok", execsOk);
  wantSpawns("execd.spawn.deny", execsDenied);
  wantSpan(1, "child-hello", 0, "the span of child-hello");
  wantSpan(2, "child-exit42", 42, "the span of child-exit42");
  wantSpan(3, "child-exit42", 42, "the span of the second child-exit42");
  wantImageBytes();
  proven(M_SELFTEST_EXEC_TELEMETRY_OK);
}

function provesReportRefused(): void {
  proof("exec report");
  checkEqual(claimExit(execIndex, 1), EX_UNSUPPORTED, "a claimed end");
  proven(M_SELFTEST_EXEC_REPORT_REFUSED_OK);
}

function refused(name: string, reason: u32): void {
  checkEqual(execRun(name), EX_REFUSED, name);
  checkEqual(execDetail, reason, name);
}

function provesBadModules(): void {
  proof("bad module");
  refused("bad-wasm-digest", REASON_WASM_DIGEST);
  refused("bad-elf-digest", REASON_ELF_DIGEST);
  refused("bad-wasm-malformed", REASON_WASM_MALFORMED);
  refused("bad-wasm-import", REASON_WASM_IMPORT);
  refused("bad-wasm-abi", REASON_WASM_ABI);
  refused("bad-wasm-memory", REASON_WASM_MEMORY);
  refused("bad-wasm-export", REASON_WASM_EXPORT);
  refused("bad-wasm-threads", REASON_WASM_THREADS);
  refused("bad-elf-malformed", REASON_ELF_MALFORMED);
  refused("bad-elf-range", REASON_ELF_RANGE);
  refused("bad-elf-writable", REASON_ELF_WRITABLE);
  proven(M_SELFTEST_BAD_MODULE_REFUSED_OK);
}

// Crash records in logd that execd wrote about child-crash.
function crashRecords(): u32 {
  let found: u32 = 0;
  cursor.begin(0);
  for (let i: u32 = 0; i <= 2 * LOGD_RECORDS_MAX; i++) {
    const record = nextRecord(SLOT_LOG_QUERY, cursor);
    if (record === null) break;
    if (record.sender != SVC_EXECD_ID || !equalsLiteral(record.scope, record.scopeBytes, "execd.crash")) continue;
    const begins = "child=child-crash\nevent=crash.v1\ngeneration=1\npc=";
    if (indexOfLiteral(record.fields, record.fieldsBytes, begins) != 0) continue;
    if (indexOfLiteral(record.fields, record.fieldsBytes, "\ntrap=abort") > 0) found++;
  }
  checkEqual(queryOutcome, 0, "query");
  return found;
}

/** The crash lines of markers/75-crash.toml: the last of phase traps. */
export function crash_proofs(): void {
  proof("crash report");
  checkEqual(crashRecords(), 0, "records before");
  checkEqual(execRun("child-crash"), EX_OK, "exec");
  checkEqual(execWait(), EX_OK, "wait");
  checkEqual(waitCause, TRAP_ABORT, "cause");
  execDrop();
  let found: u32 = 0;
  for (let polls = 0; polls < 20 && found == 0; polls++) {
    found = crashRecords();
    if (found == 0) waitNs(2_000_000);
  }
  checkEqual(found, 1, "crash records in logd");
  proven(M_SELFTEST_CRASH_REPORT_OK);
}

/** Phase exec of the ladder, in the order of markers/80-exec.toml. */
export function exec_proofs(): void {
  spansBefore = execsOk + execsRefused;
  beginExchange();
  provesFetch();
  provesRun();
  provesDenied();
  provesTelemetry();
  provesReportRefused();
  provesBadModules();
}
