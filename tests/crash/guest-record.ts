// SPDX-License-Identifier: Apache-2.0
// A module for the host tests of crash records: one record of known values, written through the guest's own codec, and its keys.
import {
  CRASH_KEY_BYTES_MAX, CRASH_RECORD_BYTES, CrashRecord, crashNameBytes, crashNextKey, crashSlotKey, crashSlotOf,
} from "../../assembly/lib/crash/record";
import { copyLiteral } from "../../assembly/lib/bounded/text";
import { trapName, trapNameBytes } from "../../assembly/lib/crash/trap";

const record: CrashRecord = changetype<CrashRecord>(memory.data(CRASH_RECORD_BYTES, 8));
const key: usize = memory.data(CRASH_KEY_BYTES_MAX + 8);

export function address(): usize { return changetype<usize>(record); }
export function bytes(): u32 { return CRASH_RECORD_BYTES; }
export function keyAddress(): usize { return key; }
export function slotKey(slot: u32): u32 { return crashSlotKey(key, slot); }
export function slotOf(sequence: u64): u32 { return crashSlotOf(sequence); }
export function nextKey(): u32 { return crashNextKey(key); }
export function valid(length: u32): bool { return record.valid(length); }
export function nameBytes(): u32 { return crashNameBytes(record.name); }
export function trapNameAt(cause: u32): usize { return trapName(cause); }
export function trapNameLength(): u32 { return trapNameBytes; }

function digest(at: usize, first: u8): void {
  for (let i: u32 = 0; i < 32; i++) store<u8>(at + i, first + <u8>i);
}

/** Every field a value of its own. */
export function fill(): void {
  record.begin();
  record.sequence = 0x1122334455667788;
  record.id = 0x99aabbccddeeff00;
  record.restarts = 3;
  record.parent = 9;
  record.servingNames = 2;
  copyLiteral(record.name, "probe-b");
  digest(record.module, 1);
  digest(record.elf, 65);
  digest(record.bundle, 129);
  const raw = record.raw;
  raw.cause = 2;
  raw.generation = 4;
  raw.index = 17;
  raw.memory_pages = 8;
  raw.stack_bytes = 16384;
  raw.registers = 0xfffffff6;
  raw.events = 2;
  raw.in_call = 1;
  raw.pc = 0x1000_b000_1242;
  raw.address = 0x4a_0008_0000;
  raw.time_ns = 18_402_224_000;
  raw.serving = 1 << 22 | 1 << 5 | 1 << 6;
  for (let x: u32 = 1; x < 32; x++) if (raw.registers >> x & 1) store<u64>(changetype<usize>(raw) + 64 + 8 * (x - 1), x * 0x0101010101);
  store<u64>(changetype<usize>(raw) + 312, 0xfffffffc_08000105);
  store<u64>(changetype<usize>(raw) + 320, 0x00000000_0a000007);
  copyLiteral(record.serving(0), "selftest");
  copyLiteral(record.serving(1), "metricsd");
}

/** What the guest's own accessors say of it. */
export function register(x: u32): u64 { return record.raw.register(x); }
export function call(n: u32): u32 { return record.raw.eventCall(n); }
export function argument(n: u32): u32 { return record.raw.eventArgument(n); }
export function result(n: u32): i32 { return record.raw.eventResult(n); }
