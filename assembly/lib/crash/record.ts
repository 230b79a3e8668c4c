// SPDX-License-Identifier: Apache-2.0
// A crash record: what a faulted service leaves on /state (docs/format/crash-record.md has the layout; the host's codec is
// runtime/crash/record.ts). Views over the caller's memory: nothing here owns any.
// Invariant: a record is CRASH_RECORD_BYTES long, below one message; its registers, addresses and calls are numbers that the kernel took,
// its names come from the manifest; no byte of the service's memory is in it.
// Limits: limits.crash; names of 32 bytes, limits.kernel trace_events calls.
import { CRASH_RECORD_BYTES as RECORD_BYTES, CRASH_SERVING_NAMES_MAX, CRASH_SLOTS, KERNEL_CRASH_RAW_BYTES } from "../../gen/limits";
import { copyLiteral } from "../bounded/text";

/** "VGCR" as it stands in memory. */
export const CRASH_MAGIC: u32 = 0x52434756;
export const CRASH_VERSION: u16 = 1;
export const CRASH_RECORD_BYTES: u32 = RECORD_BYTES;
export const CRASH_NAME_BYTES: u32 = 32;
export const CRASH_DIGEST_BYTES: u32 = 32;
/** Longest key: `/state/crash/` and `next` or two digits. */
export const CRASH_KEY_BYTES_MAX: u32 = 17;
/** Bytes of the value of `/state/crash/next`: the sequence number that the next record will have. */
export const CRASH_NEXT_BYTES: u32 = 8;

/** Where the parts behind the head begin. */
const AT_NAME: usize = 32;
const AT_MODULE: usize = 64;
const AT_ELF: usize = 96;
const AT_BUNDLE: usize = 128;
const AT_RAW: usize = 160;
const AT_SERVING: usize = 600;

/** The kernel's part, as process_crash copies it; registers x1..x31 and the calls follow. */
@unmanaged
export class CrashRaw {
  /** abi/traps.toml. */
  cause: u32;
  generation: u32;
  /** Index in the manifest; its window is this + 1. */
  index: u32;
  memory_pages: u32;
  stack_bytes: u32;
  /** Bit n: xn was saved; a register that was not is 0. */
  registers: u32;
  /** Calls kept, oldest first. */
  events: u16;
  /** 1: the newest of them is the call that it ended in, and has no result. */
  in_call: u16;
  /** 1: registers and arguments of calls were withheld (manifest: crash_registers = false) and are 0. */
  withheld: u32;
  pc: u64;
  address: u64;
  /** Guest time. */
  time_ns: u64;
  /** Services whose call it had taken and not answered, one bit a manifest index. */
  serving: u64;

  /** Register xn, n from 1 to 31. */
  register(n: u32): u64 {
    return load<u64>(changetype<usize>(this) + 64 + ((n - 1) << 3));
  }
  /** Number of call `n`. */
  eventCall(n: u32): u32 {
    return <u32>load<u8>(changetype<usize>(this) + 312 + (n << 3) + 3);
  }
  /** Low 24 bits of its first argument: a handle, or an address. */
  eventArgument(n: u32): u32 {
    return load<u32>(changetype<usize>(this) + 312 + (n << 3)) & 0xffffff;
  }
  /** Low 32 bits of its result; negative: an error of abi/errors.toml. */
  eventResult(n: u32): i32 {
    return load<i32>(changetype<usize>(this) + 312 + (n << 3) + 4);
  }
}
/** Numbers in a call's place that no call has: the service's start. */
export const CRASH_EVENT_START: u32 = 0xfe;

/** A whole record; 8-byte aligned. */
@unmanaged
export class CrashRecord {
  magic: u32;
  version: u16;
  bytes: u16;
  /** From 0, one more for each record ever written to this /state; the slot is this modulo limits.crash slots. */
  sequence: u64;
  /** FNV-1a 64 of the name. */
  id: u64;
  /** Restarts of this service in this boot before this fault. */
  restarts: u32;
  /** Manifest index of who had started it. */
  parent: u16;
  servingNames: u16;

  static at(address: usize): CrashRecord {
    return changetype<CrashRecord>(address);
  }
  get name(): usize {
    return changetype<usize>(this) + AT_NAME;
  }
  /** SHA-256 of its .wasm, as the manifest has it. */
  get module(): usize {
    return changetype<usize>(this) + AT_MODULE;
  }
  /** SHA-256 of the ELF that was made from it: the text that ran. */
  get elf(): usize {
    return changetype<usize>(this) + AT_ELF;
  }
  /** Identity of the bundle that the boot ran. */
  get bundle(): usize {
    return changetype<usize>(this) + AT_BUNDLE;
  }
  get raw(): CrashRaw {
    return changetype<CrashRaw>(changetype<usize>(this) + AT_RAW);
  }
  /** Name of a service that waited for its answer; n below servingNames. */
  serving(n: u32): usize {
    return changetype<usize>(this) + AT_SERVING + n * CRASH_NAME_BYTES;
  }
  /** Zeroes it and writes the head that every record has. */
  begin(): CrashRecord {
    assert(AT_RAW + KERNEL_CRASH_RAW_BYTES == AT_SERVING && AT_SERVING + CRASH_SERVING_NAMES_MAX * CRASH_NAME_BYTES == CRASH_RECORD_BYTES);
    memory.fill(changetype<usize>(this), 0, CRASH_RECORD_BYTES);
    this.magic = CRASH_MAGIC;
    this.version = CRASH_VERSION;
    this.bytes = <u16>CRASH_RECORD_BYTES;
    return this;
  }
  /** Whether `length` bytes here are a record of this version. */
  valid(length: u32): bool {
    return length == CRASH_RECORD_BYTES && this.magic == CRASH_MAGIC && this.version == CRASH_VERSION && this.bytes == CRASH_RECORD_BYTES;
  }
}

/** Bytes of a name in a field of CRASH_NAME_BYTES. */
export function crashNameBytes(name: usize): u32 {
  let n: u32 = 0;
  while (n < CRASH_NAME_BYTES && load<u8>(name + n) != 0) n++;
  return n;
}

/** The slot of record `sequence`. */
export function crashSlotOf(sequence: u64): u32 {
  return <u32>(sequence % CRASH_SLOTS);
}

/** Writes the key of a slot; its length. `to` has CRASH_KEY_BYTES_MAX bytes. */
export function crashSlotKey(to: usize, slot: u32): u32 {
  assert(slot < 100 && CRASH_SLOTS <= 100);
  const length = copyLiteral(to, "/state/crash/");
  store<u8>(to + length, <u8>(48 + slot / 10));
  store<u8>(to + length + 1, <u8>(48 + slot % 10));
  return length + 2;
}

/** Writes the key of the next sequence number; its length. */
export function crashNextKey(to: usize): u32 {
  return copyLiteral(to, "/state/crash/next");
}
