// SPDX-License-Identifier: Apache-2.0
// The legacy (version 1) transport, for debugging and bisecting only: 32-bit features, no FEATURES_OK, one contiguous ring named by its
// page frame number.

import { mmio_load32, mmio_store32, phys_of } from "../hw";
import { PAGE } from "../layout";
import {
  DEVICE_FEATURES, DEVICE_FEATURES_SEL, DRIVER_FEATURES, DRIVER_FEATURES_SEL, GUEST_PAGE_SIZE, QUEUE_ALIGN, QUEUE_NUM, QUEUE_PFN,
} from "./registers";

export function legacy_offer(base: u64): u64 {
  mmio_store32(base + GUEST_PAGE_SIZE, PAGE);
  mmio_store32(base + DEVICE_FEATURES_SEL, 0);
  return mmio_load32(base + DEVICE_FEATURES);
}

export function legacy_accept(base: u64, features: u64): bool {
  mmio_store32(base + DRIVER_FEATURES_SEL, 0);
  mmio_store32(base + DRIVER_FEATURES, <u32>features);
  return true;
}

export function legacy_queue(base: u64, ring: u32, size: u32): bool {
  if (mmio_load32(base + QUEUE_PFN) != 0) return false;
  mmio_store32(base + QUEUE_NUM, size);
  mmio_store32(base + QUEUE_ALIGN, PAGE);
  mmio_store32(base + QUEUE_PFN, <u32>(phys_of(ring) / PAGE));
  return mmio_load32(base + QUEUE_PFN) != 0;
}
