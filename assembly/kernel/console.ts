// SPDX-License-Identifier: Apache-2.0
// The serial console: one whole line a call, written at once, with guest time in front. The kernel refuses a line whose name before the
// colon is not the caller's own, counts every line and hashes it, and repeats count and digest in its last line, so that a harness can
// tell a torn or forged transcript.

import { KERNEL_LINE_BYTES_MAX } from "../gen/limits";
import { mmio_load8, mmio_store8, read_time } from "./hw";
import { Sha256, sha256_add, sha256_begin, sha256_end, SHA256_STATE_BYTES } from "../lib/hash/sha256";

const UART: u64 = 0x1000_0000;
const LINE_STATUS: u64 = UART + 5;
const HOLDING_EMPTY: u32 = 0x20;
const UART_WAIT_MAX: u32 = 1_000_000;

const LINE_BYTES: u32 = 512;
const line: u32 = <u32>memory.data(512, 8);
let used: u32 = 0;
const hash: u32 = <u32>memory.data(SHA256_STATE_BYTES, 8);
const digest: u32 = <u32>memory.data(32, 8);
export let lines: u64 = 0;

export function console_init(): void { sha256_begin(changetype<Sha256>(hash)); }

function put(byte: u32): void {
  for (let n: u32 = 0; n < UART_WAIT_MAX; n++) if (mmio_load8(LINE_STATUS) & HOLDING_EMPTY) break;
  mmio_store8(UART, byte);
}

/** Starts a line of the kernel's own. The text_* functions append; text_end writes it out. */
export function text_begin(): void { used = 0; }
export function text_byte(byte: u32): void {
  if (used >= LINE_BYTES) return;
  store<u8>(line + used, byte);
  used += 1;
}
export function text_bytes(ptr: u32, bytes: u32): void {
  for (let i: u32 = 0; i < bytes; i++) text_byte(load<u8>(ptr + i));
}
/** Bytes up to the first zero, at most `max`. */
export function text_name(ptr: u32, max: u32): void {
  for (let i: u32 = 0; i < max && load<u8>(ptr + i) != 0; i++) text_byte(load<u8>(ptr + i));
}
/** A string literal; ASCII only. */
export function text(s: string): void {
  for (let i = 0; i < s.length; i++) text_byte(<u32>s.charCodeAt(i));
}
export function text_number(value: u64): void {
  let scale: u64 = 10_000_000_000_000_000_000;
  let started = false;
  for (let n = 0; n < 20; n++) {
    const d = <u32>(value / scale % 10);
    if (d != 0 || started || scale == 1) {
      text_byte(48 + d);
      started = true;
    }
    scale /= 10;
  }
}
export function text_hex(value: u64): void {
  text("0x");
  for (let shift = 60; shift >= 0; shift -= 4) {
    const d = <u32>(value >> shift) & 15;
    text_byte(d < 10 ? 48 + d : 87 + d);
  }
}
export function text_end(): void { write(line, used, true); }

/** The stamp of every line: seconds in five digits, nanoseconds in nine. */
function stamp(): void {
  let ns = read_time() * 100;
  put(0x5b);
  let scale: u64 = 10_000_000_000_000;
  for (let n = 0; n < 14; n++) {
    put(48 + <u32>(ns / scale % 10));
    scale /= 10;
    if (n == 4) put(0x2e);
  }
  put(0x5d);
  put(0x20);
}

/** Writes one line; `counted` lines are part of the digest. */
export function write(ptr: u32, bytes: u32, counted: bool): void {
  stamp();
  for (let i: u32 = 0; i < bytes; i++) put(load<u8>(ptr + i));
  put(10);
  if (!counted) return;
  lines += 1;
  const s = changetype<Sha256>(hash);
  sha256_add(s, ptr, bytes);
  store<u8>(digest, 10);
  sha256_add(s, digest, 1);
}

/** True when the line is printable ASCII within the limit. */
export function line_valid(ptr: u32, bytes: u32): bool {
  if (bytes == 0 || bytes > KERNEL_LINE_BYTES_MAX) return false;
  for (let i: u32 = 0; i < bytes; i++) {
    const c = load<u8>(ptr + i);
    if (c < 0x20 || c > 0x7e) return false;
  }
  return true;
}

/** Ends the transcript: `prefix` has been composed as a line so far; appends count and digest. */
export function text_digest(): void {
  const count = lines;
  sha256_end(changetype<Sha256>(hash), digest);
  text(" lines=");
  text_number(count);
  text(" sha256=");
  for (let i: u32 = 0; i < 32; i++) {
    const b = <u32>load<u8>(digest + i);
    text_byte((b >> 4) < 10 ? 48 + (b >> 4) : 87 + (b >> 4));
    text_byte((b & 15) < 10 ? 48 + (b & 15) : 87 + (b & 15));
  }
}
export function text_end_uncounted(): void { write(line, used, false); }
