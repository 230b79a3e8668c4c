// SPDX-License-Identifier: Apache-2.0
// From a name to a running process: policyd allows, bundlemgrd knows it, the kernel's loader verifies it, execd starts
// it.
// Invariant: no step is skipped and none is repeated; a failure after process_create ends the child again, so nothing
// is left half made. A child gets exactly the slots that its manifest entry names, with SEND alone, and only those that
// execd has.
import { E_BAD_MODULE, E_BUSY } from "../../gen/errors";
import { MUT_EXECD_SKIPS_POLICY, mutant } from "../../gen/mutants";
import { SLOT_INIT, SLOT_LOGD, SLOT_METRICSD, SLOT_POLICYD, SLOT_SAMGRD } from "../../gen/slots";
import {
  sys_cap_close, sys_process_create, sys_process_endpoint, sys_process_grant, sys_process_kill, sys_process_start,
} from "../../gen/syscalls";
import {
  BN, DELEGATE_DENIED, PO_EXEC, REPLY_OK, Route, SenderId, beginRequest, callRequest, delegatePair, delegateReason,
  reply,
} from "../../lib/nexus-ipc/index";
import { fnv1a64 } from "../../lib/bounded/fnv";
import { equalsLiteral } from "../../lib/bounded/text";
import { BN_INFO_BYTES, BN_NOT_FOUND, BN_OK, BN_OP_INFO } from "../../lib/wire/bundlemgrd";
import { EX_BUSY, EX_DENIED, EX_FAILED, EX_NOT_FOUND, EX_OK, EX_REFUSED, EX_UNAVAILABLE } from "../../lib/wire/execd";

const FLAG_EXEC: u32 = 1;
const RIGHT_SEND: u32 = 1;
const INFO_BUDGET_NS: u64 = 500_000_000;
const bundlemgrd: Route = changetype<Route>(memory.data(8, 4));
const meta: usize = memory.data(32, 8);

/** What the last spawnRun made, or the loader's reason (spawnDetail) when it was refused. */
export let spawnIndex: u32 = 0;
export let spawnGeneration: u32 = 0;
export let spawnDetail: u32 = 0;
/** SEND capability to the started child's own endpoint; the caller of spawnRun owns it. */
export let spawnEndpoint: u32 = 0;
let slots: u32 = 0;

/** May that sender have the image run? EX_OK, EX_DENIED, or EX_UNAVAILABLE when policyd did not decide. */
export function spawnAllowed(sender: SenderId, name: usize, length: u32): u8 {
  // The mutant runs the one image that phase exec asks for without a grant; other phases' denials stay.
  if (mutant(MUT_EXECD_SKIPS_POLICY) && equalsLiteral(name, length, "child-forbidden")) return EX_OK;
  if (delegatePair(PO_EXEC, sender, fnv1a64(name, length))) return EX_OK;
  return delegateReason() == DELEGATE_DENIED ? EX_DENIED : EX_UNAVAILABLE;
}

/** Loads and starts the entry: EX_OK (spawnIndex, spawnGeneration), or why not. */
export function spawnRun(name: usize, length: u32): u8 {
  spawnIndex = 0;
  spawnGeneration = 0;
  spawnDetail = 0;
  spawnEndpoint = 0;
  const known = ask(name, length);
  if (known != EX_OK) return known;
  const created = sys_process_create(spawnIndex, <u32>meta);
  if (created == E_BAD_MODULE) {
    spawnDetail = <u32>load<u64>(meta);
    return EX_REFUSED;
  }
  if (created == E_BUSY) return EX_BUSY;
  if (created < 0) return EX_FAILED;
  spawnGeneration = <u32>load<u64>(meta);
  const endpoint = sys_process_endpoint(spawnIndex, RIGHT_SEND);
  if (endpoint >= 0 && grantSlots() && sys_process_start(spawnIndex) >= 0) {
    spawnEndpoint = <u32>endpoint;
    return EX_OK;
  }
  if (endpoint >= 0) sys_cap_close(<u32>endpoint);
  sys_process_kill(spawnIndex);
  return EX_FAILED;
}

// bundlemgrd's INFO: index, flags and slots. A dead route is resolved again once.
function ask(name: usize, length: u32): u8 {
  for (let attempt = 0; attempt < 2; attempt++) {
    const handle = bundlemgrd.resolve("bundlemgrd");
    if (handle < 0) return EX_UNAVAILABLE;
    beginRequest(BN, BN_OP_INFO).putU8(<u8>length).putBytes(name, length);
    const outcome = callRequest(<u32>handle, INFO_BUDGET_NS);
    if (outcome == REPLY_OK) return takeInfo();
    if (!bundlemgrd.dropIfDead(outcome)) return EX_UNAVAILABLE;
  }
  return EX_UNAVAILABLE;
}

function takeInfo(): u8 {
  if (reply.status == BN_NOT_FOUND) return EX_NOT_FOUND;
  if (reply.status != BN_OK || reply.body.left != BN_INFO_BYTES) return EX_UNAVAILABLE;
  spawnIndex = reply.body.takeU32();
  const flags = reply.body.takeU32();
  reply.body.takeBytes(12);
  slots = reply.body.takeU32();
  return (flags & FLAG_EXEC) != 0 ? EX_OK : EX_NOT_FOUND;
}

function grantSlots(): bool {
  return grant(SLOT_INIT) && grant(SLOT_SAMGRD) && grant(SLOT_POLICYD) && grant(SLOT_LOGD) && grant(SLOT_METRICSD);
}

function grant(slot: u32): bool {
  if ((slots & (1 << slot)) == 0) return true;
  return sys_process_grant(spawnIndex, slot, slot, RIGHT_SEND) >= 0;
}
