// SPDX-License-Identifier: Apache-2.0
// The children that execd started: who asked, what runs, how it ended, who waits.
// Invariant: a row's end comes from the kernel's process_event alone; what a client says about a child changes nothing.
// An ended row is kept until its place is needed, oldest end first; a running one is never given up.
// Limit: limits.execd children_max rows.
import { EXECD_CHILDREN_MAX } from "../../gen/limits";

export const CHILD_FREE: u32 = 0;
export const CHILD_RUNNING: u32 = 1;
export const CHILD_ENDED: u32 = 2;
const NAME_BYTES: u32 = 32;

/** One child; 112 bytes. */
@unmanaged
export class Child {
  requester: u64;
  /** Exit code when cause is 0, else the program counter. */
  code: u64;
  address: u64;
  waitUntil_ns: u64;
  waitNonce: u64;
  /** Orders ends, so that the oldest is reused first. */
  endOrder: u64;
  index: u32;
  generation: u32;
  state: u32;
  cause: u32;
  /** Reply handle of the pending WAIT, or 0. */
  waiter: u32;
  span: u32;
  nameLength: u32;
  spare: u32;

  get name(): usize {
    return changetype<usize>(this) + 80;
  }
  get ended(): bool {
    return this.state == CHILD_ENDED;
  }
}

const CHILD_BYTES: u32 = 112;
const rows: usize = memory.data(16 * 112, 8);
let endNext: u64 = 1;

export function childAt(row: u32): Child {
  return changetype<Child>(rows + <usize>row * CHILD_BYTES);
}

/** A row for a new child of that name, or null when all are running or waited for. */
export function childTake(name: usize, length: u32): Child {
  assert(EXECD_CHILDREN_MAX == 16 && offsetof<Child>() == 80 && length <= NAME_BYTES);
  let found = changetype<Child>(0);
  for (let row: u32 = 0; row < EXECD_CHILDREN_MAX; row++) {
    const child = childAt(row);
    if (child.state == CHILD_FREE) {
      found = child;
      break;
    }
    if (!child.ended || child.waiter != 0) continue;
    if (changetype<usize>(found) == 0 || child.endOrder < found.endOrder) found = child;
  }
  if (changetype<usize>(found) == 0) return found;
  memory.fill(changetype<usize>(found), 0, CHILD_BYTES);
  memory.copy(found.name, name, length);
  found.nameLength = length;
  return found;
}

/** The child of that manifest index and generation, or null. */
export function childFind(index: u32, generation: u32): Child {
  for (let row: u32 = 0; row < EXECD_CHILDREN_MAX; row++) {
    const child = childAt(row);
    if (child.state != CHILD_FREE && child.index == index && child.generation == generation) return child;
  }
  return changetype<Child>(0);
}

/** Marks the end that the kernel reported. */
export function childEnd(child: Child, cause: u32, code: u64, address: u64): void {
  child.state = CHILD_ENDED;
  child.cause = cause;
  child.code = code;
  child.address = address;
  child.endOrder = endNext;
  endNext++;
}

/** The earliest moment at which a pending WAIT gives up, ns; 0: none is pending. */
export function childNextTimeout_ns(): u64 {
  let next: u64 = 0;
  for (let row: u32 = 0; row < EXECD_CHILDREN_MAX; row++) {
    const child = childAt(row);
    if (child.waiter != 0 && (next == 0 || child.waitUntil_ns < next)) next = child.waitUntil_ns;
  }
  return next;
}
