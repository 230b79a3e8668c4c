// SPDX-License-Identifier: Apache-2.0
// Protocol of the probe fixtures (probe-a, probe-b, probe-c: three live instances of one module). Header and nonce as everywhere.
import { sys_instret } from "../../gen/syscalls";
import { Protocol } from "../nexus-ipc/frame";

export const FX: Protocol = Protocol.of(0x46, 0x58, 1, 4, false);
/** Answers with the sender's id as the kernel stamped it, the badge, then the body as it came. */
export const FX_ECHO: u8 = 1;
/** kind u8 (abi/traps.toml): ends the probe by that trap. */
export const FX_TRAP: u8 = 2;
/** CRC-32C over the pattern region, then how often COUNT was called. */
export const FX_INSPECT: u8 = 3;
export const FX_COUNT: u8 = 4;
/** Sent, no answer: computes a floating-point series from seed u32; FX_FP_RESULT answers with its bits, 0 while it runs. */
export const FX_FP_START: u8 = 5;
export const FX_FP_RESULT: u8 = 6;
/** Sent, no answer: loops for ever. */
export const FX_LOOP: u8 = 7;
/** Keeps a moved capability, answers with handles in use; sends the body on it when told to by `use u8`. */
export const FX_KEEP: u8 = 8;
/** Tries to write the line in the body; answers with the kernel's result i64. */
export const FX_SAY: u8 = 9;
/** Never answers. */
export const FX_SILENT: u8 = 10;
/** until u64: sent, no answer: counts until that instruction and notes every gap; FX_GAPS answers count u32, then the pairs. */
export const FX_SPIN: u8 = 11;
/** Grows memory past its limit; answers with what memory.grow gave (-1) i64. */
export const FX_GROW: u8 = 12;
/** count u32: after the answer, echoes that many messages in the bare receive loop (bench). */
export const FX_RAW_ECHO: u8 = 13;
/** Calls selftest back, an edge that its manifest does not declare; answers with the kernel's result i64. Moves a handle. */
export const FX_CALL_BACK: u8 = 14;
/** Sends the moved capability's endpoint messages of the body until it is full; answers how many went. */
export const FX_FLOOD: u8 = 15;

export const FX_GAPS: u8 = 16;
/** Answers with the instruction u64 at which this instance's main began and its generation u32 (bench). */
export const FX_BEGAN: u8 = 17;

/** A gap in one's own running: the last instruction count before it and the first one after it. */
@unmanaged
export class Gap {
  before: u64;
  after: u64;
}
export const GAP_BYTES: u32 = 16;
export const GAPS_MAX: u32 = 16;
/** More than the loop below takes for one turn, less than any trap. */
const GAP_MIN: u64 = 64;

/** Runs until instruction `until` and notes up to GAPS_MAX gaps at `into`, in order; how many there were. */
export function spin(until: u64, into: usize): u32 {
  let count: u32 = 0;
  let last = <u64>sys_instret();
  while (last < until) {
    const now = <u64>sys_instret();
    if (now - last > GAP_MIN) {
      if (count < GAPS_MAX) {
        const gap = changetype<Gap>(into + count * GAP_BYTES);
        gap.before = last;
        gap.after = now;
      }
      count++;
    }
    last = now;
  }
  return count;
}

/** The series both sides compute: the logistic map, whose bits depend on every step. */
export function floatSeries(seed: u32, steps: u32): u64 {
  let x = <f64>seed * 0.001 + 0.25;
  let sum: f64 = 0;
  for (let i: u32 = 0; i < steps; i++) {
    x = 3.9 * x * (1.0 - x);
    sum += x / <f64>(i + 1);
  }
  return reinterpret<u64>(sum + x);
}
export const FLOAT_STEPS: u32 = 400_000;
