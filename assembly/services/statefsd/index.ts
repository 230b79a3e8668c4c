// SPDX-License-Identifier: Apache-2.0
// statefsd: `/state`, a crash-safe key-value store on virtio-blk (docs/format/wire-statefsd.md, docs/format/statefs.md).
// Invariant: OK to a write means that it survives a power cut from now on; what cannot be kept is refused by name. The device is this
// service's alone, and the store is never anything but the device.
import { STATEFSD_MOUNT_WAIT_NS } from "../../gen/limits";
import { sys_time_ns } from "../../gen/syscalls";
import { SF_OK } from "../../lib/wire/statefsd";
import { stateDisk } from "./backing";
import { blkFlush, blkMountUntil, blkOpen, blkRead, blkReadOnly, blkSectors, blkWrite } from "./device";
import { stateMain } from "./server";

export const vigil_abi: i32 = 1;

function openDevice(): u32 {
  const opened = blkOpen();
  if (opened == SF_OK) stateDisk.set(blkRead, blkWrite, blkFlush, blkSectors());
  return opened;
}

// From here on each transfer has the whole of device_wait_ns.
function onStarted(): void {
  blkMountUntil(0);
}

export function main(): void {
  // init-lite waits for the first mount.
  blkMountUntil(<u64>sys_time_ns() + STATEFSD_MOUNT_WAIT_NS);
  stateMain(openDevice, blkReadOnly, onStarted);
}
