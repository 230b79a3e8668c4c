// SPDX-License-Identifier: Apache-2.0
// The engine behind exports, its disk behind three imports: what tests/statefs/engine.ts runs under Node.
import { crc32c } from "../../assembly/lib/bounded/crc32c";
import { crc32cWide } from "../../assembly/lib/statefs/crc";
import * as engine from "../../assembly/lib/statefs/index";

@external("disk", "read") declare function diskRead(sector: u32, count: u32, to: usize): i32;
@external("disk", "write") declare function diskWrite(sector: u32, count: u32, from: usize): i32;
@external("disk", "flush") declare function diskFlush(): i32;

const scratch: usize = memory.data(262144, 16);
const disk = changetype<engine.Disk>(memory.data(16, 4));

/** 256 KiB: the key at 0, a second key at 1024, values and answers from 4096 on. */
export function address(): usize { return scratch; }
export function open(sectors: u32, readOnly: bool): i32 {
  disk.set(
    (sector: u32, count: u32, to: usize) => diskRead(sector, count, to),
    (sector: u32, count: u32, from: usize) => diskWrite(sector, count, from),
    () => diskFlush(),
    sectors,
  );
  return engine.storeOpen(disk, readOnly);
}
export function close(): void { engine.storeClose(); }
export function put(keyLength: u32, valueLength: u32): i32 { return engine.storePut(scratch, keyLength, scratch + 4096, valueLength); }
export function del(keyLength: u32): i32 { return engine.storeDel(scratch, keyLength); }
export function begin(): i32 { return engine.storeBegin(); }
export function end(): i32 { return engine.storeEnd(); }
export function abort_(): void { engine.storeAbort(); }
export function commit(): i32 { return engine.storeCommit(); }
export function staged(): u32 { return engine.storeStagedBytes(); }
export function sequence(): u64 { return engine.storeSequence(); }
export function find(keyLength: u32): i32 { return engine.storeFind(scratch, keyLength); }
export function read(keyLength: u32, offset: u32, cap: u32): i32 { return engine.storeRead(scratch, keyLength, offset, scratch + 4096, cap); }
export function list(prefixLength: u32, afterLength: u32, cap: u32, countMax: u32): i32 {
  return engine.storeList(scratch, prefixLength, scratch + 1024, afterLength, scratch + 4096, cap, countMax);
}
export function listed(): u32 { return engine.listCount; }
export function more(): bool { return engine.listMore; }
/** Address of the report, brought up to date. */
export function report(): usize { return changetype<usize>(engine.storeReport()); }

export function crcNarrow(at: u32, length: u32, seed: u32): u32 { return crc32c(scratch + at, length, seed); }
export function crcWide(at: u32, length: u32, seed: u32): u32 { return crc32cWide(scratch + at, length, seed); }
