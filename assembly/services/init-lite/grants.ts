// SPDX-License-Identifier: Apache-2.0
// What a service holds when it starts: the fixed slots of abi/slots.toml that its manifest entry names, and the right to QUERY logd
// where policyd allows log.query to it, and metricsd's where it allows metrics.snapshot. A child is granted to only between create and
// start.
import { SVC_LOGD_ID, SVC_METRICSD_ID, SVC_POLICYD_ID, SVC_PORTD_ID, SVC_SAMGRD_ID } from "../../gen/services";
import { KERNEL_SERVICES_MAX } from "../../gen/limits";
import {
  SLOT_DEVICE0, SLOT_INIT, SLOT_LOGD, SLOT_LOG_QUERY, SLOT_METRICSD, SLOT_POLICYD, SLOT_PORTD, SLOT_SAMGRD, SLOT_SELF,
} from "../../gen/slots";
import { sys_cap_close, sys_process_endpoint, sys_process_grant } from "../../gen/syscalls";
import { delegateCheck, SenderId } from "../../lib/nexus-ipc/index";
import { flagsOf, FLAG_LOG_QUERY, idOf, indexOf, slotsOf } from "./manifest";

const SEND: u32 = 1;
const CLONE: u32 = 4;
const QUERY: u32 = 16;
const handles: StaticArray<u32> = new StaticArray<u32>(KERNEL_SERVICES_MAX);
const idCell: usize = memory.data(8, 8);

/** init-lite's handle to a service's endpoint, 0 when it has none. */
export function handleOf(index: u32): u32 { return handles[index]; }

/** Takes a handle to the endpoint of a child that was just created, in place of a dead one. */
export function takeHandle(index: u32): void {
  if (handles[index] != 0) sys_cap_close(handles[index]);
  const handle = sys_process_endpoint(index, SEND | CLONE | QUERY);
  handles[index] = handle > 0 ? <u32>handle : 0;
}

function targetOf(slot: u32): u32 {
  if (slot == SLOT_SAMGRD) return handles[indexOf(SVC_SAMGRD_ID)];
  if (slot == SLOT_POLICYD) return handles[indexOf(SVC_POLICYD_ID)];
  if (slot == SLOT_LOGD) return handles[indexOf(SVC_LOGD_ID)];
  if (slot == SLOT_METRICSD) return handles[indexOf(SVC_METRICSD_ID)];
  if (slot == SLOT_PORTD) return handles[indexOf(SVC_PORTD_ID)];
  return 0;
}

/** Whether the manifest asks for the query right and policyd allows the service `capability`. */
function mayRead(index: u32, capability: string): bool {
  if (!(flagsOf(index) & FLAG_LOG_QUERY)) return false;
  store<u64>(idCell, idOf(index));
  return delegateCheck(SenderId.at(idCell), capability, handles[indexOf(SVC_POLICYD_ID)]);
}

/** Fills the fixed slots of a created child; false when one that the manifest names cannot be filled or policy refuses it. */
export function grantSlots(index: u32): bool {
  const query = mayRead(index, "log.query");
  if (!query && flagsOf(index) & FLAG_LOG_QUERY) return false;
  const wanted = slotsOf(index);
  for (let slot: u32 = SLOT_INIT; slot <= SLOT_PORTD; slot++) {
    if (!((wanted >> slot) & 1) || slot == SLOT_LOG_QUERY || slot == SLOT_DEVICE0) continue;
    const handle = slot == SLOT_INIT ? SLOT_SELF : targetOf(slot);
    let rights = slot == SLOT_INIT ? SEND : SEND | CLONE;
    if (slot == SLOT_METRICSD && mayRead(index, "metrics.snapshot")) rights |= QUERY;
    if (handle == 0 || sys_process_grant(index, slot, handle, rights) != 0) return false;
  }
  if (!query) return true;
  return sys_process_grant(index, SLOT_LOG_QUERY, targetOf(SLOT_LOGD), SEND | QUERY) == 0;
}
