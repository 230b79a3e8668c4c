// SPDX-License-Identifier: Apache-2.0
// The server over whatever disk it is given: requests in, one tick for telemetry, expiry, LAZY batches and reopening.
// Invariant: every request is answered once, with a status that names what happened; a refused store answers too. Ready means that a key
// was put, flushed and read back from the disk; a store that is refused says why in place of it, and is up.
// Limits: ops of assembly/lib/wire/statefsd.ts; limits.statefsd mount_wait_ns for the first mount.
import { SVC_STATEFSD_ID } from "../../gen/services";
import { M_STATEFSD_READY, mark } from "../../gen/markers";
import {
  MUT_STATEFSD_READY_EVIDENCE_BROKEN, MUT_STATEFSD_REOPEN_DROPS_STAGED, MUT_STATEFSD_SAYS_READY, mutant,
} from "../../gen/mutants";
import { sys_console_line, sys_time_ns } from "../../gen/syscalls";
import { copyLiteral } from "../../lib/bounded/text";
import { Writer } from "../../lib/bounded/writer";
import {
  Request, SF, serve, serverOnIdle, serverOnNotify, serverOnTick, serverRoute, serverTickAt,
} from "../../lib/nexus-ipc/index";
import { logInfo } from "../../lib/nexus-log/index";
import { S_KEYS_LIMIT, S_NO_SPACE, storePut, storeRead } from "../../lib/statefs/index";
import { telemetryDue_ns, telemetryStart, telemetryTick } from "../../lib/telemetry/flush";
import {
  SF_ACCESS_DENIED, SF_IO, SF_MALFORMED, SF_OK, SF_OP_BATCH, SF_OP_DEL, SF_OP_GET, SF_OP_LIST, SF_OP_PUT, SF_OP_REOPEN, SF_OP_STATS,
  SF_OP_SYNC, SF_OP_TXN_ABORT, SF_OP_TXN_BEGIN, SF_OP_TXN_COMMIT, SF_OP_TXN_DEL, SF_OP_TXN_PUT, SF_UNSUPPORTED,
} from "../../lib/wire/statefsd";
import { allowedCapability } from "./access";
import { backingName, backingUse, mount, remount, reopenDue_ns, reopenIfDue, writeStatus } from "./backing";
import { decisionsDue_ns, decisionsReportIfDue } from "./decisions";
import { commitGroup, groupIdle, groupStep, lazyDueAt_ns, lazyIfDue } from "./group";
import { onGet, onList, onStats } from "./reads";
import { refuse } from "./telemetry";
import { onTxnAbort, onTxnBegin, onTxnCommit, onTxnDel, onTxnPut, txnsDue_ns, txnsExpire } from "./txn";
import { onBatch, onDel, onPut, onSync, statusOf } from "./writes";

const line: Writer = changetype<Writer>(memory.data(16, 4));
const lineBuffer: usize = memory.data(64);
const boots: usize = memory.data(8, 8);
const bootsRead: usize = memory.data(8, 8);
const key: usize = memory.data(32);
let started: () => void = nothing;

function nothing(): void {}

function onReopen(request: Request): void {
  if (!request.body.finished) return refuse(request, SF_MALFORMED);
  if (!allowedCapability(request.sender, "statefs.admin")) return refuse(request, SF_ACCESS_DENIED);
  if (!mutant(MUT_STATEFSD_REOPEN_DROPS_STAGED)) commitGroup();
  remount();
  if (writeStatus() != SF_OK) return refuse(request, writeStatus());
  request.answer(SF_OK);
}

function onRequest(request: Request): void {
  const op = <u8>request.op;
  if (op == SF_OP_PUT) onPut(request);
  else if (op == SF_OP_BATCH) onBatch(request);
  else if (op == SF_OP_GET) onGet(request);
  else if (op == SF_OP_DEL) onDel(request);
  else if (op == SF_OP_LIST) onList(request);
  else if (op == SF_OP_SYNC) onSync(request);
  else if (op == SF_OP_TXN_BEGIN) onTxnBegin(request);
  else if (op == SF_OP_TXN_PUT) onTxnPut(request);
  else if (op == SF_OP_TXN_DEL) onTxnDel(request);
  else if (op == SF_OP_TXN_COMMIT) onTxnCommit(request);
  else if (op == SF_OP_TXN_ABORT) onTxnAbort(request);
  else if (op == SF_OP_REOPEN) onReopen(request);
  else onStats(request);
  groupStep();
  armTick();
}

function onIdle(): void {
  groupIdle();
  armTick();
}

function onTick(): void {
  const now_ns = <u64>sys_time_ns();
  lazyIfDue(now_ns);
  txnsExpire(now_ns);
  reopenIfDue(now_ns);
  decisionsReportIfDue(now_ns);
  telemetryTick(now_ns);
  armTick();
}

@inline function earlier(a_ns: u64, b_ns: u64): u64 {
  if (a_ns == 0) return b_ns;
  return b_ns == 0 || a_ns < b_ns ? a_ns : b_ns;
}
function armTick(): void {
  serverTickAt(earlier(earlier(telemetryDue_ns(), lazyDueAt_ns()), earlier(earlier(txnsDue_ns(), reopenDue_ns()), decisionsDue_ns())));
}

// The device's interrupt; completions are taken where they are waited for.
function onNotify(bits: u64): void {}

/** A store that is refused is up: its answers say why. A ready one shows that what it flushed can be read back. */
function onPing(): bool {
  if (mutant(MUT_STATEFSD_READY_EVIDENCE_BROKEN)) return false;
  const holds = writeStatus() != SF_OK || countBoot();
  started();
  return holds;
}

// How often a statefsd started on this disk: read, put, flushed, read back. A device that fails meanwhile makes the store `io`, and a disk
// without room keeps no count: neither is a reason not to be up.
function countBoot(): bool {
  const bytes = copyLiteral(key, "/state/boot/statefsd");
  store<u64>(boots, 0);
  const before = storeRead(key, bytes, 0, boots, 8);
  if (failed(before)) return refused();
  store<u64>(boots, before == 8 ? load<u64>(boots) + 1 : 1);
  const staged = storePut(key, bytes, boots, 8);
  if (staged == S_NO_SPACE || staged == S_KEYS_LIMIT) return true;
  if (failed(staged) || commitGroup() != SF_OK) return refused();
  store<u64>(bootsRead, 0);
  if (failed(storeRead(key, bytes, 0, bootsRead, 8))) return refused();
  return load<u64>(bootsRead) == load<u64>(boots);
}

/** A failure is an answer only where it made the store one that is refused: ready without evidence is never said. */
function refused(): bool {
  return writeStatus() != SF_OK;
}
function failed(outcome: i32): bool {
  return outcome < 0 && statusOf(outcome) == SF_IO;
}

function onReady(): void {
  logInfo("statefsd").text("up").field("state", backingName()).fieldDec("boots", load<u64>(boots)).end();
  if (writeStatus() == SF_OK || mutant(MUT_STATEFSD_SAYS_READY)) return mark(M_STATEFSD_READY);
  line.reset(lineBuffer, 64).putText("statefsd: refused ").putText(backingName());
  sys_console_line(<u32>lineBuffer, line.length);
}

/** Serves for ever. `open` sets stateDisk (backing.ts) and returns SF_OK, or the status that names why there is no disk; `readOnly` tells
 *  of the disk just opened; `onStarted` runs when init-lite has its answer. */
export function stateMain(open: () => u32, readOnly: () => bool, onStarted: () => void): void {
  started = onStarted;
  telemetryStart(SVC_STATEFSD_ID);
  backingUse(open, readOnly);
  mount();
  for (let op: u8 = SF_OP_PUT; op <= SF_OP_TXN_DEL; op++) serverRoute(op, onRequest);
  serverOnNotify(onNotify);
  serverOnTick(onTick, 0);
  serverOnIdle(onIdle);
  armTick();
  serve(SF, SF_MALFORMED, SF_UNSUPPORTED, onPing, onReady);
}
