// SPDX-License-Identifier: Apache-2.0
// The decisions themselves: pure functions of the table, the kernel-stamped sender and the question.
// Invariant: whoever asks about someone else than itself needs policy.delegate, whatever the answer about the other
// would be; nothing in a payload says who asks. Everything not granted is denied.
import {
  MUT_POLICYD_ALLOWS_ALL, MUT_POLICYD_DENIES_ALL, MUT_POLICYD_TRUSTS_REQUESTER, mutant,
} from "../../gen/mutants";
import { rowHasCap, rowHasCapNamed, rowHasExec, rowHasRoute, tableRow } from "./table";

/** Why a decision came out as it did: the `reason` of its audit record. */
export const REASON_GRANTED: u32 = 0;
export const REASON_NOT_GRANTED: u32 = 1;
/** The sender spoke for another subject without policy.delegate. */
export const REASON_NOT_DELEGATE: u32 = 2;
/** The subject, requester or sender has no row. */
export const REASON_UNKNOWN_SUBJECT: u32 = 3;

export function reasonText(reason: u32): string {
  if (reason == REASON_GRANTED) return "granted";
  if (reason == REASON_NOT_GRANTED) return "not_granted";
  if (reason == REASON_NOT_DELEGATE) return "not_delegate";
  return "unknown_subject";
}

/** May `sender`, or the subject for which it asks, use the capability? */
export function decideCap(sender: u64, subject: u64, delegated: bool, name: usize, length: u32): u32 {
  if (!maySpeakFor(sender, subject, delegated)) return REASON_NOT_DELEGATE;
  // Both mutants break the plain question alone: the delegated one carries the rest of the image.
  if (!delegated && mutant(MUT_POLICYD_ALLOWS_ALL)) return REASON_GRANTED;
  if (!delegated && mutant(MUT_POLICYD_DENIES_ALL)) return REASON_NOT_GRANTED;
  const row = tableRow(subject);
  if (row == 0) return REASON_UNKNOWN_SUBJECT;
  return rowHasCap(row, name, length) ? REASON_GRANTED : REASON_NOT_GRANTED;
}

/** May `requester` send to `target`? */
export function decideRoute(sender: u64, requester: u64, target: u64): u32 {
  if (!maySpeakFor(sender, requester, sender != requester)) return REASON_NOT_DELEGATE;
  const row = tableRow(requester);
  if (row == 0) return REASON_UNKNOWN_SUBJECT;
  return rowHasRoute(row, target) ? REASON_GRANTED : REASON_NOT_GRANTED;
}

/** May `requester` have the image run? It needs proc.spawn and the image in its execs. */
export function decideExec(sender: u64, requester: u64, image: u64): u32 {
  if (!maySpeakFor(sender, requester, sender != requester)) return REASON_NOT_DELEGATE;
  const row = tableRow(requester);
  if (row == 0) return REASON_UNKNOWN_SUBJECT;
  return rowHasCapNamed(row, "proc.spawn") && rowHasExec(row, image) ? REASON_GRANTED : REASON_NOT_GRANTED;
}

// A delegated question needs policy.delegate even about oneself; a plain one is about oneself alone.
function maySpeakFor(sender: u64, subject: u64, delegated: bool): bool {
  if (mutant(MUT_POLICYD_TRUSTS_REQUESTER)) return true;
  if (!delegated) return sender == subject;
  return rowHasCapNamed(tableRow(sender), "policy.delegate");
}
