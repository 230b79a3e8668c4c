// SPDX-License-Identifier: Apache-2.0
// virtio-mmio registers (virtio 1.2, section 4.2.2; legacy, 4.2.4). Eight slots on the virt machine, interrupt = slot + 1.
// QEMU: -device virtio-rng-device,bus=virtio-mmio-bus.N -global virtio-mmio.force-legacy=false

export const SLOT_FIRST: u64 = 0x1000_1000;
export const SLOT_STRIDE: u64 = 0x1000;
export const SLOTS: u32 = 8;

export const MAGIC: u64 = 0x00;
export const MAGIC_VALUE: u32 = 0x74726976;
export const VERSION: u64 = 0x04;
export const DEVICE_ID: u64 = 0x08;
export const DEVICE_FEATURES: u64 = 0x10;
export const DEVICE_FEATURES_SEL: u64 = 0x14;
export const DRIVER_FEATURES: u64 = 0x20;
export const DRIVER_FEATURES_SEL: u64 = 0x24;
export const GUEST_PAGE_SIZE: u64 = 0x28; // legacy
export const QUEUE_SEL: u64 = 0x30;
export const QUEUE_NUM_MAX: u64 = 0x34;
export const QUEUE_NUM: u64 = 0x38;
export const QUEUE_ALIGN: u64 = 0x3c; // legacy
export const QUEUE_PFN: u64 = 0x40; // legacy
export const QUEUE_READY: u64 = 0x44;
export const QUEUE_NOTIFY: u64 = 0x50;
export const INTERRUPT_STATUS: u64 = 0x60;
export const INTERRUPT_ACK: u64 = 0x64;
export const STATUS: u64 = 0x70;
export const QUEUE_DESC_LOW: u64 = 0x80;
export const QUEUE_DRIVER_LOW: u64 = 0x90;
export const QUEUE_DEVICE_LOW: u64 = 0xa0;
export const CONFIG: u64 = 0x100;

export const STATUS_ACKNOWLEDGE: u32 = 1;
export const STATUS_DRIVER: u32 = 2;
export const STATUS_DRIVER_OK: u32 = 4;
export const STATUS_FEATURES_OK: u32 = 8;
export const STATUS_FAILED: u32 = 128;

export const TRANSPORT_LEGACY: u32 = 1;
export const TRANSPORT_MODERN: u32 = 2;
export const VIRTIO_F_VERSION_1: u64 = 1 << 32;
