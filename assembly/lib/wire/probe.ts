// SPDX-License-Identifier: Apache-2.0
// Protocol of the probe fixtures (probe-a, probe-b, probe-c: three live instances of one module). Header and nonce as everywhere.
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
/** Grows memory past its limit; answers with what memory.grow gave (-1) i64. */
export const FX_GROW: u8 = 12;
/** count u32: after the answer, echoes that many messages in the bare receive loop (bench). */
export const FX_RAW_ECHO: u8 = 13;
/** Calls selftest back, an edge that its manifest does not declare; answers with the kernel's result i64. Moves a handle. */
export const FX_CALL_BACK: u8 = 14;
/** Sends the moved capability's endpoint messages of the body until it is full; answers how many went. */
export const FX_FLOOD: u8 = 15;

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
