// SPDX-License-Identifier: Apache-2.0
// Boot and the orderly end. The kernel's first line names the transport; so does its last, with the run's nonce and the count and
// digest of every line between, so that neither an old transcript nor a torn one can pass for this run.

import { KERNEL_BUNDLE_BYTES_MAX, KERNEL_GUEST_MEMORY_BYTES } from "../gen/limits";
import { bundle_check, manifest_digest, services } from "./bundle";
import { console_init, text, text_begin, text_byte, text_bytes, text_digest, text_end, text_end_uncounted, text_number } from "./console";
import { devices_init, transport } from "./device";
import { arg_bytes, arg_find, initrd_end, initrd_start, memory_end, tree_bytes, tree_read } from "./devicetree";
import { frames_init } from "./frames";
import { copy_boot, device_tree, enable_interrupts, frames_start, halt } from "./hw";
import { BUNDLE, check_layout, DEVICE_TREE, RAM_START } from "./layout";
import { MUT_KERNEL_BOOT_NAMES_WRONG_TRANSPORT, mutant, mutant_choose } from "../gen/mutants";
import { message_pools_init } from "./message";
import { paging_start } from "./pagetable";
import { panic_text } from "./panic";
import { load_reason, process_load } from "./process";
import { schedule, set_idle_polls, thread_at, make_ready } from "./thread";
import { TRANSPORT_MODERN } from "./virtio/registers";

/** Largest exit status that reaches the host. */
const EXIT_MAX: u32 = 255;
const NAME: u32 = <u32>memory.data(16, 4);

/** Finds a boot argument by a literal key; its offset, or 0. Size in arg_bytes. */
function argument(key: string): u32 {
  for (let i = 0; i < key.length; i++) store<u8>(NAME + i, <u8>key.charCodeAt(i));
  return arg_find(<u32>NAME, <u32>key.length);
}

function says(at: u32, word: string): bool {
  if (at == 0 || arg_bytes != <u32>word.length) return false;
  for (let i = 0; i < word.length; i++) if (<i32>load<u8>(at + i) != word.charCodeAt(i)) return false;
  return true;
}

function transport_text(): void {
  const modern = (transport == TRANSPORT_MODERN) != mutant(MUT_KERNEL_BOOT_NAMES_WRONG_TRANSPORT);
  text(modern ? "transport=modern" : "transport=legacy");
}

/** Reads what the firmware left, builds the address space, loads and starts manifest entry 0. */
export function boot(): void {
  check_layout();
  console_init();
  const tree = device_tree();
  copy_boot(DEVICE_TREE, tree, 64);
  const bytes = tree_bytes(DEVICE_TREE);
  if (bytes == 0) panic_text("device tree", tree, bytes, 0);
  copy_boot(DEVICE_TREE, tree, bytes);
  if (!tree_read(bytes)) panic_text("device tree malformed", tree, bytes, 0);
  if (memory_end <= frames_start() || memory_end > RAM_START + KERNEL_GUEST_MEMORY_BYTES) panic_text("memory size", memory_end, 0, 0);
  const size = initrd_end - initrd_start;
  choose_mutant();
  if (initrd_start == 0 || size > KERNEL_BUNDLE_BYTES_MAX) panic_text("no bundle, or one too large", initrd_start, size, 0);
  copy_boot(BUNDLE, initrd_start, <u32>size);
  paging_start(memory_end);
  frames_init(memory_end);
  message_pools_init();
  devices_init();
  text_begin();
  text("kernel: boot ");
  transport_text();
  text(" abi=1");
  text_end();
  const refused = bundle_check(BUNDLE, <u32>size);
  if (refused != 0) panic_text("bundle refused", refused, size, 0);
  check_pin();
  set_idle_polls(!says(argument("idle"), "sleep"));
  enable_interrupts();
  const result = process_load(0, 0);
  if (result != 0) panic_text("init-lite refused", -result, load_reason, services);
  make_ready(thread_at(0));
  schedule();
}

/** bundle=HEX: refuses any other manifest. */
function check_pin(): void {
  const at = argument("bundle");
  if (at == 0) return;
  if (arg_bytes == 64 && hex_matches(at, manifest_digest())) return;
  panic_text("bundle is not the one that the boot arguments name", arg_bytes, 0, 0);
}

function hex_matches(hex: u32, bytes: u32): bool {
  for (let i: u32 = 0; i < 32; i++) {
    const b = <u32>load<u8>(bytes + i);
    if (load<u8>(hex + 2 * i) != digit(b >> 4) || load<u8>(hex + 2 * i + 1) != digit(b & 15)) return false;
  }
  return true;
}
@inline function digit(value: u32): u32 { return value < 10 ? 48 + value : 87 + value; }

function choose_mutant(): void {
  const at = argument("mutant");
  if (at == 0) return;
  let number: u32 = 0;
  for (let i: u32 = 0; i < arg_bytes && i < 6; i++) number = number * 10 + load<u8>(at + i) - 48;
  mutant_choose(number);
}

/** The last line, then power off with exit status `code`. */
export function power_down(code: u32): void {
  text_begin();
  text("kernel: halt ");
  transport_text();
  text(" nonce=");
  const at = argument("nonce");
  if (at != 0) text_bytes(at, arg_bytes);
  else text_byte(0x2d);
  text_digest();
  text_end_uncounted();
  halt(min(code, EXIT_MAX)); // a larger code must not wrap to success
}
