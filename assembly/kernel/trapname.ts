// SPDX-License-Identifier: Apache-2.0
// Names of trap causes as the console prints them, from abi/traps.toml.

import { text, text_bytes } from "./console";
import { TRAP_NAMES, TRAP_NAMES_COUNT } from "../gen/traps";

/** Appends the name of a cause to the line being composed. */
export function trap_name(cause: u32): void {
  let row = <u32>TRAP_NAMES;
  for (let n: u32 = 1; n <= TRAP_NAMES_COUNT; n++) {
    const bytes = <u32>load<u8>(row);
    if (n == cause) {
      text_bytes(row + 1, bytes);
      return;
    }
    row += 1 + bytes;
  }
  text("unknown");
}
