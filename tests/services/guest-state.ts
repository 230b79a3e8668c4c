// SPDX-License-Identifier: Apache-2.0
// A module for the host tests of nexus-state: its calls behind exports. Keys and values are written to `address` first.
import { Route } from "../../assembly/lib/nexus-ipc/index";
import {
  StateList, stateBatch, stateBatchBegin, stateBatchDel, stateBatchPut, stateDel, stateGet, statePut, stateSequence, stateStatus,
  stateSync, stateWriterAcknowledged, stateWriterFree, stateWriterSend, stateWriterStrays, stateWriterSync, stateWriterTake,
  stateWriterWaiting,
} from "../../assembly/lib/nexus-state/index";

export const vigil_abi: i32 = 1;
const BUDGET_NS: u64 = 1_000_000_000;
const ANSWERS_MAX: u32 = 32;
const route: Route = changetype<Route>(memory.data(8, 4));
const list: StateList = changetype<StateList>(memory.data(StateList.BYTES, 4));
const key: usize = memory.data(512);
const value: usize = memory.data(65600);
const answers: usize = memory.data(ANSWERS_MAX * 16, 8);
let answered: u32 = 0;
let again: u32 = 0;

export function keyAt(): usize { return key; }
export function valueAt(): usize { return value; }
export function put(keyLen: u32, valueLen: u32): i32 { return statePut(route, key, keyLen, value, valueLen, BUDGET_NS); }
export function get(keyLen: u32, capacity: u32): i32 { return stateGet(route, key, keyLen, value, capacity, BUDGET_NS); }
export function del(keyLen: u32): i32 { return stateDel(route, key, keyLen, BUDGET_NS); }
export function sync(keyLen: u32): i32 { return stateSync(route, key, keyLen, BUDGET_NS); }
export function status(): u32 { return stateStatus(); }
export function sequence(): u64 { return stateSequence(); }
export function resolutions(): u32 { return route.resolutions; }

export function listBegin(keyLen: u32): void { list.begin(key, keyLen); }
/** Length of the next key, at keyAt() + 256; -1 at the end. */
export function listNext(): i32 {
  if (!list.next(route, BUDGET_NS)) return -1;
  memory.copy(key + 256, list.key, list.keyBytes);
  return <i32>list.keyBytes;
}
export function listOutcome(): i32 { return list.outcome; }

export function batchBegin(): void { stateBatchBegin(); }
export function batchPut(keyLen: u32, valueLen: u32): bool { return stateBatchPut(key, keyLen, value, valueLen); }
export function batchDel(keyLen: u32): bool { return stateBatchDel(key, keyLen); }
export function batchCall(lazy: bool): i32 { return stateBatch(route, lazy, BUDGET_NS); }
export function writerSend(lazy: bool): i32 { return stateWriterSend(route, lazy); }
export function writerSync(): i32 { return stateWriterSync(route, 0, 0); }
export function writerFree(): bool { return stateWriterFree(); }
export function writerWaiting(): u32 { return stateWriterWaiting(); }
export function writerStrays(): u64 { return stateWriterStrays(); }
export function writerAcknowledged(): u64 { return stateWriterAcknowledged(); }

function note(token: u32, status: u32, sequence: u64): void {
  const entry = answers + answered * 16;
  store<u32>(entry, token);
  store<u32>(entry, status, 4);
  store<u64>(entry, sequence, 8);
  answered++;
  if (again == 0) return;
  again--;
  stateWriterSend(route, false);
}
/** Takes answers; the first `sends` of them send the batch once more from within. Their number; each is {token, status, sequence}. */
export function writerTake(sends: u32): u32 {
  answered = 0;
  again = sends;
  stateWriterTake(route, note);
  return answered;
}
export function answersAt(): usize { return answers; }
export function main(): void {}
