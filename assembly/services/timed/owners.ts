// SPDX-License-Identifier: Apache-2.0
// The owners of timers: kernel-stamped sender, the capability into which its timers fire, and how many of them live.
// Invariant: an owner with a live timer keeps its row; an idle one gives it up, least recently used first, so that a
// new sender always finds room unless every row has live timers. A capability is closed when it is replaced or its row
// is reused.
// Limits: limits.timed owners_max rows (each holds one of the service's 64 handles), owner_timers_max timers a row.
import { TIMED_OWNERS_MAX, TIMED_OWNER_TIMERS_MAX } from "../../gen/limits";
import { sys_cap_close } from "../../gen/syscalls";

/** One owner; 32 bytes. */
@unmanaged
export class Owner {
  sender: u64;
  used: u64;
  handle: u32;
  live: u32;
  taken: u32;
  spare: u32;

  get full(): bool {
    return this.live >= TIMED_OWNER_TIMERS_MAX;
  }
  /** Fires go here from now on; the old capability is closed. */
  setHandle(handle: u32): void {
    if (this.handle != 0) sys_cap_close(this.handle);
    this.handle = handle;
  }
}

export const OWNER_NONE: u32 = 0xffffffff;
const OWNER_BYTES: usize = 32;
const owners: usize = memory.data(32 * 32, 8);
let usedNext: u64 = 1;

export function ownerAt(row: u32): Owner {
  return changetype<Owner>(owners + <usize>row * OWNER_BYTES);
}

/** The row of `sender`, made if need be; OWNER_NONE when every row has live timers. */
export function ownerRow(sender: u64): u32 {
  assert(TIMED_OWNERS_MAX == 32 && offsetof<Owner>() == OWNER_BYTES);
  let idle = OWNER_NONE;
  for (let row: u32 = 0; row < TIMED_OWNERS_MAX; row++) {
    const owner = ownerAt(row);
    if (owner.taken && owner.sender == sender) {
      owner.used = usedNext;
      usedNext++;
      return row;
    }
    if (owner.live == 0 && (idle == OWNER_NONE || owner.used < ownerAt(idle).used)) idle = row;
  }
  if (idle == OWNER_NONE) return OWNER_NONE;
  const owner = ownerAt(idle);
  owner.setHandle(0);
  owner.taken = 1;
  owner.sender = sender;
  owner.used = usedNext;
  usedNext++;
  return idle;
}

/** Rows with at least one live timer. */
export function ownersLive(): u32 {
  let live: u32 = 0;
  for (let row: u32 = 0; row < TIMED_OWNERS_MAX; row++) if (ownerAt(row).live != 0) live++;
  return live;
}
