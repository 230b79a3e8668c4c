// SPDX-License-Identifier: Apache-2.0
// The modern (version 2) transport: 64-bit features with FEATURES_OK read back, each ring part at its own address.

import { mmio_load32, mmio_store32, phys_of } from "../hw";
import { avail_of, used_of } from "./queue";
import {
  DEVICE_FEATURES, DEVICE_FEATURES_SEL, DRIVER_FEATURES, DRIVER_FEATURES_SEL, QUEUE_DESC_LOW, QUEUE_DEVICE_LOW, QUEUE_DRIVER_LOW,
  QUEUE_NUM, QUEUE_READY, STATUS, STATUS_FEATURES_OK, VIRTIO_F_VERSION_1,
} from "./registers";

export function modern_offer(base: u64): u64 {
  mmio_store32(base + DEVICE_FEATURES_SEL, 1);
  const high = <u64>mmio_load32(base + DEVICE_FEATURES);
  mmio_store32(base + DEVICE_FEATURES_SEL, 0);
  return (high << 32) | <u64>mmio_load32(base + DEVICE_FEATURES);
}

/** Accepts features; false when the device takes them back, or is not a version 1 device at all. */
export function modern_accept(base: u64, features: u64): bool {
  if (!(features & VIRTIO_F_VERSION_1)) return false;
  mmio_store32(base + DRIVER_FEATURES_SEL, 0);
  mmio_store32(base + DRIVER_FEATURES, <u32>features);
  mmio_store32(base + DRIVER_FEATURES_SEL, 1);
  mmio_store32(base + DRIVER_FEATURES, <u32>(features >> 32));
  mmio_store32(base + STATUS, mmio_load32(base + STATUS) | STATUS_FEATURES_OK);
  return (mmio_load32(base + STATUS) & STATUS_FEATURES_OK) != 0;
}

/** Points the selected queue at its ring; false when the device does not take it. */
export function modern_queue(base: u64, ring: u32, size: u32): bool {
  if (mmio_load32(base + QUEUE_READY) != 0) return false;
  mmio_store32(base + QUEUE_NUM, size);
  address(base + QUEUE_DESC_LOW, phys_of(ring));
  address(base + QUEUE_DRIVER_LOW, phys_of(avail_of(ring, size)));
  address(base + QUEUE_DEVICE_LOW, phys_of(used_of(ring, size)));
  mmio_store32(base + QUEUE_READY, 1);
  return mmio_load32(base + QUEUE_READY) == 1;
}

function address(register: u64, phys: u64): void {
  mmio_store32(register, <u32>phys);
  mmio_store32(register + 4, <u32>(phys >> 32));
}
