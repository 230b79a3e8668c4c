// SPDX-License-Identifier: Apache-2.0
// Bench rows about threads: what a preemption costs, and how long a faulted service of 512 KiB is gone.
//
// preempt: this service and a probe both count instructions and note the gaps in their own running. Where a gap of the one ends inside
// a gap of the other, the hart went from one straight to the other: cost = first count after - last count before. The figure is the
// largest of all such hand-overs in both directions; one turn of the counting loop is in it. A gap that holds a third thread is not
// counted, and fewer than HANDOVERS_MIN hand-overs are a failure.
//
// fault_to_restart: from before the request that makes the probe fault to the first line of `main` of its next instance, as that instance
// counted it. In between: the request, the fault and its console line, teardown, init-lite's restart, 512 KiB of fresh zeroed memory, the
// module's own start. Somebody is always ready to run in that span, so no idle time is in it.
import { E_DEAD } from "../../gen/errors";
import { TRAP_UNREACHABLE } from "../../gen/traps";
import { sys_instret } from "../../gen/syscalls";
import { REPLY_OK, reply } from "../../lib/nexus-ipc/index";
import { FX_BEGAN, FX_GAPS, FX_SPIN, FX_TRAP, GAPS_MAX, GAP_BYTES, Gap, spin } from "../../lib/wire/probe";
import { figure } from "./bench";
import { check, checkEqual, proof } from "./lib";
import { PROBE_A, probeAgain, probeCall, probeRequest, probeSend } from "./probe";

/** Instructions for which both count: about a dozen slices. */
const SPIN: u64 = 12_000_000;
const HANDOVERS_MIN: u32 = 8;
/** More than a hand-over may take: a longer one had somebody else in it. */
const HANDOVER_MAX: u64 = 100_000;
const mine: usize = memory.data(256, 8);
const theirs: usize = memory.data(256, 8);
let handovers: u32 = 0;
let longest: u64 = 0;

@inline function gapAt(list: usize, index: u32): Gap { return changetype<Gap>(list + index * GAP_BYTES); }

/** Hand-overs from the owner of `left` to the owner of `entered`. */
function pair(left: usize, leftCount: u32, entered: usize, enteredCount: u32): void {
  for (let i: u32 = 0; i < leftCount; i++) {
    const from = gapAt(left, i);
    for (let k: u32 = 0; k < enteredCount; k++) {
      const to = gapAt(entered, k);
      if (to.before >= from.before || to.after <= from.before || to.after >= from.after) continue;
      const cost = to.after - from.before;
      if (cost > HANDOVER_MAX) continue;
      handovers++;
      longest = max(longest, cost);
    }
  }
}

function preempt(): void {
  proof("bench preempt");
  const until = <u64>sys_instret() + SPIN;
  probeRequest(PROBE_A, FX_SPIN).putU64(until);
  checkEqual(probeSend(), 0, "spin");
  const own = spin(until, mine);
  probeRequest(PROBE_A, FX_GAPS);
  if (!checkEqual(probeCall(), REPLY_OK, "gaps")) return;
  const other = reply.body.takeU32();
  const at = reply.body.takeBytes(min(other, GAPS_MAX) * GAP_BYTES);
  if (!check(reply.body.finished && own <= GAPS_MAX && other <= GAPS_MAX, "gaps were lost")) return;
  memory.copy(theirs, at, other * GAP_BYTES);
  pair(mine, own, theirs, other);
  pair(theirs, other, mine, own);
  if (check(handovers >= HANDOVERS_MIN, "too few preemptions")) figure("preempt", longest);
}

function faultToRestart(): void {
  proof("bench restart");
  probeRequest(PROBE_A, FX_BEGAN);
  if (!checkEqual(probeCall(), REPLY_OK, "probe")) return;
  reply.body.takeU64();
  const generation = reply.body.takeU32();
  probeRequest(PROBE_A, FX_TRAP).putU8(<u8>TRAP_UNREACHABLE);
  const start = <u64>sys_instret();
  checkEqual(probeCall(), E_DEAD, "the faulting call");
  check(probeAgain(PROBE_A) != 0, "the probe does not answer again");
  probeRequest(PROBE_A, FX_BEGAN);
  if (!checkEqual(probeCall(), REPLY_OK, "restarted probe")) return;
  const began = reply.body.takeU64();
  checkEqual(reply.body.takeU32(), generation + 1, "its generation");
  if (check(began > start, "it began before the fault")) figure("fault_to_restart", began - start);
}

export function bench_threads(): void {
  preempt();
  faultToRestart();
}
