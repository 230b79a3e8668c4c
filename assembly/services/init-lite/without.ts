// SPDX-License-Identifier: Apache-2.0
// Boot argument `without`: names of services, joined by dots, that this boot leaves out although the manifest starts them (the bench
// runs on a machine without virtio devices). What is left out is named on the console; its slots in others stay, and answer nothing.
// Invariant: an argument can only leave out; an absent one leaves out nothing, one that is too long to read leaves out nothing either
// and so ends red at the first service that is not ready. Limit: WITHOUT_BYTES_MAX.
import { sys_boot_arg } from "../../gen/syscalls";
import { copyLiteral } from "../../lib/bounded/text";

const WITHOUT_BYTES_MAX: u32 = 96;
const DOT: u8 = 46;
const key: usize = memory.data(16);
const names: usize = memory.data(96);
let length: u32 = 0;

/** Reads the argument once. */
export function withoutRead(): void {
  const keyBytes = copyLiteral(key, "without");
  const bytes = sys_boot_arg(<u32>key, keyBytes, <u32>names, WITHOUT_BYTES_MAX);
  length = bytes > 0 ? <u32>bytes : 0;
}

/** Whether the service of this name is left out. */
export function leftOut(name: usize, bytes: u32): bool {
  let start: u32 = 0;
  for (let at: u32 = 0; at <= length; at++) {
    if (at < length && load<u8>(names + at) != DOT) continue;
    if (at - start == bytes && bytes != 0 && memory.compare(names + start, name, bytes) == 0) return true;
    start = at + 1;
  }
  return false;
}
