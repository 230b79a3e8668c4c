// SPDX-License-Identifier: Apache-2.0
// A module around the operations of profile crash, for the host test that holds them against scripts/crash/model.ts.
import {
  deliveryOf, kindOf, makeValue, opItems, opKeyAt, opLengthAt, opRead, putKey, runSeeded,
} from "../../assembly/services/selftest/power-ops";

const scratch: usize = memory.data(65536, 8);

export function address(): usize { return scratch; }
export function seeded(seed: u32, round: u32): void { runSeeded(seed, round); }
export function kind(op: u32): u32 { return kindOf(op); }
export function delivery(op: u32): u32 { return deliveryOf(op); }
export function read(op: u32): u32 {
  opRead(op);
  return opItems();
}
export function lengthAt(i: u32): i32 { return opLengthAt(i); }
/** Writes the item's key; its length. */
export function key(i: u32): u32 { return putKey(scratch, opKeyAt(i)); }
export function value(op: u32, i: u32, bytes: u32): void { makeValue(scratch, op, i, bytes); }
