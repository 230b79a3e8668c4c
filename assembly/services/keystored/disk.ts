// SPDX-License-Identifier: Apache-2.0
// keystored's use of statefsd: the keys below /state/keystore/ and what each outcome means to a client.
//
//   /state/keystore/root                       the root secret
//   /state/keystore/device                     the device key, sealed
//   /state/keystore/probe                      what the evidence for `ready` writes and deletes
//   /state/keystore/keys/OWNER/NAME            a value, sealed; OWNER: the owner's id as 16 hexadecimal digits
//
// Invariant: nothing is kept anywhere else. A statefsd that refuses, is silent or absent is KS_STORAGE with its status, counted; only its
// own `not_found` means that something is not there.
// Limits: limits.keystored state_wait_ns a call; a path of PATH_BYTES_MAX.
import { KEYSTORED_NAME_BYTES_MAX, KEYSTORED_OWNER_KEYS_MAX, KEYSTORED_STATE_WAIT_NS } from "../../gen/limits";
import { Writer } from "../../lib/bounded/writer";
import { Route } from "../../lib/nexus-ipc/index";
import { STATE_REFUSED, STATE_TOO_LARGE, StateList, stateDel, stateGet, statePut, stateStatus } from "../../lib/nexus-state/index";
import {
  KS_INTEGRITY, KS_KEYS_LIMIT, KS_NOT_FOUND, KS_NO_ANSWER, KS_OK, KS_STATS_INTEGRITY, KS_STATS_STORAGE, KS_STORAGE,
} from "../../lib/wire/keystored";
import { SF_NOT_FOUND } from "../../lib/wire/statefsd";
import { count } from "./counters";

const PATH_BYTES_MAX: u32 = 128;
const FOLDER = "/state/keystore/";
const state: Route = changetype<Route>(memory.data(8, 4));
const path: usize = memory.data(128);
const writer: Writer = changetype<Writer>(memory.data(16, 4));
const list: StateList = changetype<StateList>(memory.data(24, 4));
let refusal: u32 = KS_NO_ANSWER;
/** Length of what diskGet read last. */
export let diskBytes: u32 = 0;

/** Status of statefsd behind the last KS_STORAGE, or KS_NO_ANSWER. */
export function diskRefusal(): u32 {
  return refusal;
}

/** The next call's path: one of the fixed names. */
export function pathOf(name: string): void {
  writer.reset(path, PATH_BYTES_MAX).putText(FOLDER).putText(name);
}
/** The next call's path: an owner's key. */
export function pathOfKey(owner: u64, name: usize, nameBytes: u32): void {
  assert(nameBytes <= KEYSTORED_NAME_BYTES_MAX);
  writer.reset(path, PATH_BYTES_MAX).putText(FOLDER).putText("keys/").putHex(owner).putText("/").putBytes(name, nameBytes);
}

function settle(outcome: i32): u8 {
  if (outcome >= 0) return KS_OK;
  if (outcome == STATE_REFUSED && stateStatus() == SF_NOT_FOUND) return KS_NOT_FOUND;
  if (outcome == STATE_TOO_LARGE) {
    count(KS_STATS_INTEGRITY);
    return KS_INTEGRITY;
  }
  refusal = outcome == STATE_REFUSED ? stateStatus() : KS_NO_ANSWER;
  count(KS_STATS_STORAGE);
  return KS_STORAGE;
}

/** Reads the path's value into [to, to + capacity): KS_OK (its length in diskBytes), KS_NOT_FOUND, KS_STORAGE, or KS_INTEGRITY when it is
 *  longer than anything that keystored writes there. */
export function diskGet(to: usize, capacity: u32): u8 {
  const outcome = stateGet(state, path, writer.length, to, capacity, KEYSTORED_STATE_WAIT_NS);
  diskBytes = outcome >= 0 ? <u32>outcome : 0;
  return settle(outcome);
}
/** Writes it; durable when it returns KS_OK. */
export function diskPut(from: usize, bytes: u32): u8 {
  return settle(statePut(state, path, writer.length, from, bytes, KEYSTORED_STATE_WAIT_NS));
}
export function diskDel(): u8 {
  return settle(stateDel(state, path, writer.length, KEYSTORED_STATE_WAIT_NS));
}

/** Whether the owner may have one more key: KS_OK, KS_KEYS_LIMIT or KS_STORAGE. */
export function diskRoom(owner: u64): u8 {
  pathOfKey(owner, 0, 0);
  const keys = counted(KEYSTORED_OWNER_KEYS_MAX);
  if (keys < 0) return settle(list.outcome);
  return <u32>keys < KEYSTORED_OWNER_KEYS_MAX ? KS_OK : KS_KEYS_LIMIT;
}
/** KS_OK when there is nothing at all below /state/keystore/; KS_INTEGRITY when there is, else KS_STORAGE. */
export function diskBlank(): u8 {
  pathOf("");
  const keys = counted(1);
  if (keys < 0) return settle(list.outcome);
  if (keys == 0) return KS_OK;
  count(KS_STATS_INTEGRITY);
  return KS_INTEGRITY;
}

// Keys that begin with the path, counted up to `most`; -1 when the list ended early.
function counted(most: u32): i32 {
  list.begin(path, writer.length);
  let keys: u32 = 0;
  while (keys < most && list.next(state, KEYSTORED_STATE_WAIT_NS)) keys++;
  return list.outcome != 0 ? -1 : <i32>keys;
}
