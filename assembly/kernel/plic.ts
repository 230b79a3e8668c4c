// SPDX-License-Identifier: Apache-2.0
// The platform interrupt controller, S-mode context of hart 0. Sources 1..8 are the virtio slots. PLIC specification 1.0.

import { mmio_load32, mmio_store32 } from "./hw";

const BASE: u64 = 0x0c00_0000;
const ENABLE: u64 = BASE + 0x2080;
const THRESHOLD: u64 = BASE + 0x20_1000;
const CLAIM: u64 = BASE + 0x20_1004;

export function plic_init(sources: u32): void {
  let mask: u32 = 0;
  for (let i: u32 = 1; i <= sources; i++) {
    mmio_store32(BASE + 4 * i, 1);
    mask |= 1 << i;
  }
  mmio_store32(ENABLE, mask);
  mmio_store32(THRESHOLD, 0);
}
@inline export function plic_claim(): u32 { return mmio_load32(CLAIM); }
@inline export function plic_complete(source: u32): void { mmio_store32(CLAIM, source); }
