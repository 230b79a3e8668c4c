// SPDX-License-Identifier: Apache-2.0
// Firing: what is due leaves the table, earliest first. A timer is one message to its owner's capability, sent without
// waiting; a sleeper is the deferred answer to its call.
// Invariant: a due timer leaves the table whether or not its message could be delivered, and what could not be is
// counted as missed: a client that does not drain its endpoint holds nothing up.
// Limit: FIRES_MAX a wake; the rest follows at once in the next.
import { E_BAD_HANDLE, E_DEAD } from "../../gen/errors";
import { MUT_TIMED_NEVER_EXPIRES, mutant } from "../../gen/mutants";
import { sys_send, sys_time_ns } from "../../gen/syscalls";
import { TM, Writer, answerLater, beginAnswerLater, serverTickAt, writeRequestHead } from "../../lib/nexus-ipc/index";
import { telemetryDue_ns, telemetryTick } from "../../lib/telemetry/flush";
import { TM_FIRED_BYTES, TM_OK, TM_OP_FIRED, TM_OP_SLEEP_UNTIL } from "../../lib/wire/timed";
import { Timer, heapFirst, heapRemove } from "./heap";
import { ownerAt } from "./owners";

const FIRES_MAX: u32 = 256;
const frame: usize = memory.data(28, 8);
const writer: Writer = changetype<Writer>(memory.data(16, 4));
let fired: u64 = 0;
let missed: u64 = 0;
let wakes: u64 = 0;

export function firesDone(): u64 {
  return fired;
}
export function firesMissed(): u64 {
  return missed;
}
/** Wakes in which at least one timer was due: fired + missed over this is what coalescing saves. */
export function fireWakes(): u64 {
  return wakes;
}

/** The dispatcher's tick: fires what is due and sets the next tick. */
export function fireDue(): void {
  const now_ns = <u64>sys_time_ns();
  let left = FIRES_MAX;
  for (;;) {
    const timer = heapFirst();
    if (changetype<usize>(timer) == 0 || timer.deadline_ns > now_ns || left == 0) break;
    if (left == FIRES_MAX) wakes++;
    left--;
    heapRemove(timer);
    if (!mutant(MUT_TIMED_NEVER_EXPIRES)) ownerAt(timer.owner).live--;
    if (timer.sleeper != 0 ? wake(timer) : fire(timer, now_ns)) fired++;
    else missed++;
  }
  telemetryTick(now_ns);
  armTick();
}

/** The next tick is the earliest deadline, or the flush of what was measured; none while there is neither. */
export function armTick(): void {
  const timer = heapFirst();
  const flush_ns = telemetryDue_ns();
  if (changetype<usize>(timer) == 0) return serverTickAt(flush_ns);
  serverTickAt(flush_ns != 0 && flush_ns < timer.deadline_ns ? flush_ns : timer.deadline_ns);
}

function fire(timer: Timer, now_ns: u64): bool {
  const owner = ownerAt(timer.owner);
  if (owner.handle == 0) return false;
  const out = writeRequestHead(writer.reset(frame, TM_FIRED_BYTES), TM, TM_OP_FIRED, timer.nonce);
  out.putU32(timer.fireId).putU64(timer.deadline_ns).putU64(now_ns);
  const outcome = sys_send(owner.handle, <u32>frame, <u64>out.length, 0);
  // A capability whose peer ended is of no more use; the owner moves another with its next REGISTER.
  if (outcome == E_DEAD || outcome == E_BAD_HANDLE) owner.setHandle(0);
  return outcome >= 0;
}

function wake(timer: Timer): bool {
  const out = beginAnswerLater(TM, TM_OP_SLEEP_UNTIL, TM_OK, timer.nonce);
  return answerLater(timer.sleeper, out.putU64(<u64>sys_time_ns()));
}
