// SPDX-License-Identifier: Apache-2.0
// Physical frames for services: a stack of free frame numbers over all memory after the kernel image. Always taken and given back in
// the same order for the same calls, so a run is reproducible. A frame is zeroed when it is taken.

import { frames_start, zero_page } from "./hw";
import { FRAME_STACK, FRAME_STACK_ENTRIES, PAGE } from "./layout";

export let frames_free: u32 = 0;
/** The fewest that were ever free since the boot. */
export let frames_free_least: u32 = 0;
let first: u64 = 0;
let count: u32 = 0;

/** Every frame from the end of the kernel to `end`, lowest first out. */
export function frames_init(end: u64): void {
  first = frames_start();
  const frames = (end - first) / PAGE;
  count = frames > <u64>FRAME_STACK_ENTRIES ? FRAME_STACK_ENTRIES : <u32>frames;
  for (let i: u32 = count; i > 0; i--) push(i - 1);
  frames_free_least = count;
}

@inline function push(number: u32): void {
  store<u16>(FRAME_STACK + frames_free * 2, <u16>number);
  frames_free += 1;
}

/** Physical address of a zeroed frame, or 0 when none is left. */
export function frame_take(): u64 {
  if (frames_free == 0) return 0;
  frames_free -= 1;
  if (frames_free < frames_free_least) frames_free_least = frames_free;
  const phys = first + <u64>load<u16>(FRAME_STACK + frames_free * 2) * PAGE;
  zero_page(phys);
  return phys;
}

export function frame_give(phys: u64): void {
  const number = (phys - first) / PAGE;
  assert(number < count && frames_free < count);
  push(<u32>number);
}
