// SPDX-License-Identifier: Apache-2.0
// Routes: a name that samgrd resolves to a SEND capability, kept until the peer behind it ends, then resolved again.
// Invariant: a route that answered `dead` is closed before the next LOOKUP, so no slot leaks; a denied or missing answer leaves
// the route unresolved (fail closed), it never falls back to anything else.
// Limits: names of 1 to 31 bytes; one LOOKUP waits at most LOOKUP_BUDGET_NS; a call is repeated once after `dead`.
import { E_BAD_HANDLE, E_DEAD } from "../../gen/errors";
import { IPC_LOOKUP_WAIT_NS } from "../../gen/limits";
import { SLOT_SAMGRD } from "../../gen/slots";
import { sys_cap_close } from "../../gen/syscalls";
import { SM_OP_LOOKUP, SM_OP_LOOKUP_QUERY } from "../wire/samgrd";
import { beginRequest, callRequest, reply } from "./client";
import { REPLY_OK, SM } from "./frame";

export const LOOKUP_BUDGET_NS: u64 = IPC_LOOKUP_WAIT_NS;
export const ROUTE_NAME_BYTES_MAX: u32 = 31;
/** samgrd answered, but not with a capability: its status is in `lookupStatus`. */
export const RESOLVE_REFUSED: i32 = -120;

let lookups: u64 = 0;
let lookupStatusLast: u8 = 0;

/** LOOKUPs sent since start. */
export function lookupCount(): u64 {
  return lookups;
}
/** Status of samgrd's last answer. */
export function lookupStatus(): u8 {
  return lookupStatusLast;
}

/** LOOKUP: nonce, name_len u8, name; the reply's moved capability is the result. Returns a handle (>= 0, owned by the caller)
 *  or a negative kernel error, REPLY_* or RESOLVE_REFUSED. */
export function lookup(name: string, samgrd: u32 = SLOT_SAMGRD): i32 {
  return ask(SM_OP_LOOKUP, name, samgrd);
}

/** LOOKUP_QUERY: the same with the query right of logd or metricsd, which policyd must allow the caller (log.query). */
export function lookupQuery(name: string, samgrd: u32 = SLOT_SAMGRD): i32 {
  return ask(SM_OP_LOOKUP_QUERY, name, samgrd);
}

function ask(op: u8, name: string, samgrd: u32): i32 {
  lookups++;
  if (<u32>name.length > ROUTE_NAME_BYTES_MAX) return RESOLVE_REFUSED;
  beginRequest(SM, op).putU8(<u8>name.length).putText(name);
  const outcome = callRequest(samgrd, LOOKUP_BUDGET_NS);
  if (outcome != REPLY_OK) return outcome;
  lookupStatusLast = <u8>reply.status;
  const handle = reply.moved;
  if (reply.status != 0 || handle == 0) {
    if (handle) sys_cap_close(handle);
    return RESOLVE_REFUSED;
  }
  return <i32>handle;
}

/** A resolved name; 8 bytes of memory, zeroed: place it with `changetype<Route>(memory.data(8, 4))`. */
@unmanaged
export class Route {
  handle: u32;
  /** How often the name was resolved: 2 and more mean that the peer was restarted. */
  resolutions: u32;

  /** A handle to the peer, resolved now if none is held; negative on failure. */
  resolve(name: string): i32 {
    if (this.handle != 0) return <i32>this.handle;
    const handle = lookup(name);
    if (handle < 0) return handle;
    this.handle = <u32>handle;
    this.resolutions++;
    return handle;
  }
  /** Gives the held handle up, so that the next use resolves again. */
  drop(): void {
    if (this.handle) sys_cap_close(this.handle);
    this.handle = 0;
  }
  /** True for an error after which the held handle is useless; it was given up. */
  dropIfDead(error: i32): bool {
    if (error != <i32>E_DEAD && error != <i32>E_BAD_HANDLE) return false;
    this.drop();
    return true;
  }
}
