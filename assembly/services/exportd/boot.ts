// SPDX-License-Identifier: Apache-2.0
// Owns: what exportd knows of its boot: the nonce, the profile, its own generation.
// Invariant: the generation number told to the host is never that of another boot or restart: the boot's nonce with its low 16 bits
// replaced by the count of starts. Limits: values of 16 bytes.
import { MUT_EXPORTD_HIDES_RESTART, mutant } from "../../gen/mutants";
import { sys_boot_arg, sys_counter } from "../../gen/syscalls";
import { copyLiteral, equalsLiteral } from "../../lib/bounded/text";

const COUNTER_OWN_GENERATION: u32 = 7;
const VALUE_BYTES: u32 = 16;
const key: usize = memory.data(16);
const value: usize = memory.data(16);
export const nonceText: usize = memory.data(16);
export let nonceBytes: u32 = 0;
let nonce: u64 = 0;
let starts: u64 = 0;

/** Reads the boot arguments; once, at start. */
export function readBoot(): void {
  const bytes = argument("nonce");
  nonceBytes = bytes < 0 ? 0 : <u32>bytes;
  memory.copy(nonceText, value, nonceBytes);
  for (let i: u32 = 0; i < nonceBytes; i++) nonce = (nonce << 4) | hexDigit(load<u8>(nonceText + i));
  starts = <u64>sys_counter(COUNTER_OWN_GENERATION);
}

function hexDigit(byte: u8): u64 {
  return byte >= 97 ? <u64>(byte - 87) & 15 : <u64>(byte - 48) & 15;
}

/** Copies a boot argument into `value`: its length, or negative when there is none. */
function argument(name: string): i32 {
  return <i32>sys_boot_arg(<u32>key, copyLiteral(key, name), <u32>value, VALUE_BYTES);
}

export function bootArgIs(name: string, wanted: string): bool {
  const bytes = argument(name);
  return bytes >= 0 && equalsLiteral(value, <u32>bytes, wanted);
}

/** A decimal boot argument within [least, most], or `otherwise`. */
export function bootNumber(name: string, least: u64, most: u64, otherwise: u64): u64 {
  const bytes = argument(name);
  if (bytes <= 0 || bytes > 9) return otherwise;
  let number: u64 = 0;
  for (let i: i32 = 0; i < bytes; i++) {
    const digit = load<u8>(value + i) - 48;
    if (digit > 9) return otherwise;
    number = number * 10 + digit;
  }
  return number < least || number > most ? otherwise : number;
}

/** The boot's nonce as a number: the first 8 bytes of every trace id. */
export function bootNonce(): u64 {
  return nonce;
}
/** Which exporter this is, of all that this host may meet. */
export function generation(): u64 {
  return (nonce & ~0xffff) | (mutant(MUT_EXPORTD_HIDES_RESTART) ? 1 : starts & 0xffff);
}
