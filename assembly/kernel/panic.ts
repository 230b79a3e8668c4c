// SPDX-License-Identifier: Apache-2.0
// The end of a kernel that cannot go on: one PANIC line, which fails every gate, and exit status 1.

import { text, text_begin, text_end_uncounted, text_hex } from "./console";
import { halt } from "./hw";

export function panic_text(why: string, a: u64, b: u64, c: u64): void {
  text_begin();
  text("PANIC kernel: ");
  text(why);
  text(" ");
  text_hex(a);
  text(" ");
  text_hex(b);
  text(" ");
  text_hex(c);
  text_end_uncounted();
  halt(1);
}
