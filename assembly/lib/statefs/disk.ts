// SPDX-License-Identifier: Apache-2.0
// The disk under the engine: three functions and a size. The engine is pure; whoever opens it brings the disk.
// Invariant: an access outside [0, sectors) never reaches the functions; each call is counted.
// Limits: sectors of 512 bytes; a read or write is at most group_bytes_max long (the functions split it as their device needs).
import { SECTOR_BYTES } from "./format";
import { report } from "./report";
import { S_IO, S_OK } from "./status";

/** 16 bytes of memory: place it with `changetype<Disk>(memory.data(16, 4))` and fill it with `set`. Each function returns 0 or a negative;
 *  a write may stay in the device's cache until flush returned 0. */
@unmanaged
export class Disk {
  private readCall: usize;
  private writeCall: usize;
  private flushCall: usize;
  /** 512-byte sectors */
  sectors: u32;

  set(
    read: (sector: u32, count: u32, to: usize) => i32,
    write: (sector: u32, count: u32, from: usize) => i32,
    flush: () => i32,
    sectors: u32,
  ): Disk {
    this.readCall = changetype<usize>(read);
    this.writeCall = changetype<usize>(write);
    this.flushCall = changetype<usize>(flush);
    this.sectors = sectors;
    return this;
  }
  /** S_OK or S_IO. */
  read(sector: u32, count: u32, to: usize): i32 {
    assert(count != 0 && count <= this.sectors && sector <= this.sectors - count);
    report.reads++;
    report.readBytes += <u64>count * SECTOR_BYTES;
    const call = changetype<(sector: u32, count: u32, to: usize) => i32>(this.readCall);
    return call(sector, count, to) == 0 ? S_OK : S_IO;
  }
  write(sector: u32, count: u32, from: usize): i32 {
    assert(count != 0 && count <= this.sectors && sector <= this.sectors - count);
    report.writes++;
    report.writtenBytes += <u64>count * SECTOR_BYTES;
    const call = changetype<(sector: u32, count: u32, from: usize) => i32>(this.writeCall);
    return call(sector, count, from) == 0 ? S_OK : S_IO;
  }
  flush(): i32 {
    report.flushes++;
    const call = changetype<() => i32>(this.flushCall);
    return call() == 0 ? S_OK : S_IO;
  }
}
