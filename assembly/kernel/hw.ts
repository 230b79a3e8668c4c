// SPDX-License-Identifier: Apache-2.0
// The only doors to hardware. Each is an intrinsic of runtime/guest/kernel.c that checks its own range and panics outside it. Memory
// that a device also touches is reached through dma_* alone: a plain load of it could be hoisted out of a loop by the compilers.

@external("hw", "mmio_load8") export declare function mmio_load8(phys: u64): u32;
@external("hw", "mmio_store8") export declare function mmio_store8(phys: u64, value: u32): void;
@external("hw", "mmio_load32") export declare function mmio_load32(phys: u64): u32;
@external("hw", "mmio_store32") export declare function mmio_store32(phys: u64, value: u32): void;
@external("hw", "dma_load16") export declare function dma_load16(offset: u32): u32;
@external("hw", "dma_load32") export declare function dma_load32(offset: u32): u32;
@external("hw", "dma_store16") export declare function dma_store16(offset: u32, value: u32): void;
@external("hw", "dma_store32") export declare function dma_store32(offset: u32, value: u32): void;
@external("hw", "fence_io") export declare function fence_io(): void;
/** Physical address of an offset in kernel linear memory. */
@external("hw", "phys_of") export declare function phys_of(offset: u32): u64;
/** First physical address after the kernel image: frames start here. */
@external("hw", "frames_start") export declare function frames_start(): u64;
@external("hw", "device_tree") export declare function device_tree(): u64;
@external("hw", "copy_in") export declare function copy_in(offset: u32, va: u64, bytes: u32): void;
@external("hw", "copy_out") export declare function copy_out(va: u64, offset: u32, bytes: u32): void;
@external("hw", "copy_user") export declare function copy_user(to_va: u64, from_va: u64, bytes: u32): void;
/** Copies from what the firmware left in memory (device tree, initrd). */
@external("hw", "copy_boot") export declare function copy_boot(offset: u32, phys: u64, bytes: u32): void;
@external("hw", "copy_frame") export declare function copy_frame(phys: u64, offset: u32, bytes: u32): void;
@external("hw", "zero_page") export declare function zero_page(phys: u64): void;
@external("hw", "set_page_table") export declare function set_page_table(offset: u32): void;
@external("hw", "fence_vm") export declare function fence_vm(): void;
@external("hw", "fence_i") export declare function fence_i(): void;
/** Arms the S-mode timer at an absolute tick (10 MHz); u64.MAX_VALUE disarms. */
@external("hw", "set_timer") export declare function set_timer(ticks: u64): void;
@external("hw", "read_time") export declare function read_time(): u64;
@external("hw", "read_instret") export declare function read_instret(): u64;
/** sip: bit 5 timer, bit 9 external. */
@external("hw", "pending") export declare function pending(): u64;
@external("hw", "enable_interrupts") export declare function enable_interrupts(): void;
@external("hw", "wfi") export declare function wfi(): void;
@external("hw", "halt") export declare function halt(code: u32): void;
