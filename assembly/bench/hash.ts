// SPDX-License-Identifier: Apache-2.0
// The WASM side of the bench rows crc32c_* and sha256_*: the shipping hashes over one buffer, built like a service's module and hosted by
// runtime/guest/bench/hash.c beside C twins. Not part of any image that ships.
// Limit: BENCH_BYTES, one message of each hash.
import { sha256 } from "../lib/hash/sha256";
import { crc32c } from "../lib/bounded/crc32c";

const BENCH_BYTES: i32 = 32768;
const input: usize = memory.data(BENCH_BYTES, 16);
const digest: usize = memory.data(32, 8);

/** Address of the input. */
export function bench_input(): u32 { return <u32>input; }
/** Address of the last SHA-256. */
export function bench_digest(): u32 { return <u32>digest; }
export function bench_crc32c(bytes: u32): u32 { return crc32c(input, bytes); }
export function bench_sha256(bytes: u32): void { sha256(<u32>input, bytes, <u32>digest); }
