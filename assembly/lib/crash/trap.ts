// SPDX-License-Identifier: Apache-2.0
// Names of trap causes in a service, from abi/traps.toml.
import { TRAP_NAMES, TRAP_NAMES_COUNT } from "../../gen/traps";

/** Length of the name that trapName found last. */
export let trapNameBytes: u32 = 0;

/** Address of the cause's name (TRAP_NAMES: a length byte before each); its length is trapNameBytes. An unknown number is a bug. */
export function trapName(cause: u32): usize {
  assert(cause >= 1 && cause <= TRAP_NAMES_COUNT);
  let at = TRAP_NAMES;
  for (let i: u32 = 1; i < cause; i++) at += 1 + <usize>load<u8>(at);
  trapNameBytes = <u32>load<u8>(at);
  return at + 1;
}
