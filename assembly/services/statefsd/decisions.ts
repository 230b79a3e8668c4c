// SPDX-License-Identifier: Apache-2.0
// Decisions of policyd that requests of one group share: one question for each sender and capability, however many of its frames are
// staged together (docs/format/wire-statefsd.md, Rights).
// Invariant: a decision, allow or deny, is remembered only while its group is open and the queue has not been empty since: it is forgotten
// when the group is committed, when no request waits, and when nothing is staged. Reads and transactions never use it.
// policyd audits each decision; what the shared ones covered is logged here, once in decisions_report_ns for each sender and capability,
// and never dropped: numbers that have no place yet are logged at once.
// Limits: limits.statefsd decisions_max; a question that finds no place is asked anew each time.
import { STATEFSD_DECISIONS_MAX, STATEFSD_DECISIONS_REPORT_NS } from "../../gen/limits";
import { sys_time_ns } from "../../gen/syscalls";
import { SenderId, serverIdleSoon } from "../../lib/nexus-ipc/index";
import { logInfo } from "../../lib/nexus-log/index";

export const DECISION_NONE: u32 = 0;
export const DECISION_ALLOW: u32 = 1;
export const DECISION_DENY: u32 = 2;

/** One sender and area: what was decided in this pass, and what was decided and covered since the last report; 32 bytes. */
@unmanaged
class Decision {
  /** 0: free */
  sender: u64;
  area: u32;
  /** DECISION_* of this pass */
  verdict: u32;
  /** questions to policyd, and frames that they covered, since the last report */
  asked: u32;
  frames: u32;
  /** name of the capability */
  cap: string;
  spare: u32;
}
const BYTES: usize = 32;
const table: usize = memory.data(STATEFSD_DECISIONS_MAX * 32, 8);
/** Entries in use lie first. */
let used: u32 = 0;
/** Whether any entry has a verdict. */
let live: bool = false;
let reportAt_ns: u64 = 0;

@inline function at(index: u32): Decision { return changetype<Decision>(table + index * BYTES); }

function find(sender: u64, area: u32): Decision | null {
  for (let i: u32 = 0; i < used; i++) {
    const entry = at(i);
    if (entry.sender == sender && entry.area == area) return entry;
  }
  return null;
}

/** What policyd said in this pass about the sender's writes in the area, or DECISION_NONE; counts the frame as covered. */
export function decided(sender: SenderId, area: u32): u32 {
  if (!live) return DECISION_NONE;
  const entry = find(sender.value, area);
  if (entry == null || entry.verdict == DECISION_NONE) return DECISION_NONE;
  entry.frames++;
  return entry.verdict;
}

/** Remembers what policyd just said, for the rest of this pass. */
export function decide(sender: SenderId, area: u32, cap: string, allow: bool): void {
  let entry = find(sender.value, area);
  if (entry == null) {
    if (used == STATEFSD_DECISIONS_MAX && !report()) return;
    entry = at(used++);
    entry.sender = sender.value;
    entry.area = area;
    entry.cap = cap;
    entry.asked = 0;
    entry.frames = 0;
  }
  entry.verdict = allow ? DECISION_ALLOW : DECISION_DENY;
  entry.asked++;
  entry.frames++;
  live = true;
  serverIdleSoon();
}

/** The pass or its group is over. */
export function decisionsForget(): void {
  if (!live) return;
  live = false;
  for (let i: u32 = 0; i < used; i++) {
    const entry = at(i);
    entry.verdict = DECISION_NONE;
    // One frame to a decision: policyd's audit says all.
    if (entry.frames != entry.asked && reportAt_ns == 0) reportAt_ns = <u64>sys_time_ns() + STATEFSD_DECISIONS_REPORT_NS;
  }
}

/** When the coverage is logged next (guest ns), 0 for never. */
export function decisionsDue_ns(): u64 { return reportAt_ns; }
export function decisionsReportIfDue(now_ns: u64): void {
  if (reportAt_ns != 0 && now_ns >= reportAt_ns) report();
}

/** Logs what was covered and frees the entries without a verdict; false when all have one. */
function report(): bool {
  reportAt_ns = 0;
  let kept: u32 = 0;
  for (let i: u32 = 0; i < used; i++) {
    const entry = at(i);
    if (entry.frames != entry.asked) {
      const line = logInfo("statefsd").text("policy decisions shared").field("cap", entry.cap).fieldHex("subject", entry.sender);
      line.fieldDec("decisions", entry.asked).fieldDec("frames", entry.frames).end();
    }
    entry.asked = 0;
    entry.frames = 0;
    if (entry.verdict == DECISION_NONE) continue;
    if (kept != i) memory.copy(changetype<usize>(at(kept)), changetype<usize>(entry), BYTES);
    kept++;
  }
  used = kept;
  return used < STATEFSD_DECISIONS_MAX;
}
