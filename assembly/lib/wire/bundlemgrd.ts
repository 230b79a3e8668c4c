// SPDX-License-Identifier: Apache-2.0
// Wire numbers of bundlemgrd (protocol BN; tables in docs/format/wire-bundlemgrd.md).

/** first u16. Body: total u16, count u16, count records {index u16, flags u32, wasm_len u32, name_len u8, name}. */
export const BN_OP_LIST: u8 = 1;
/** name_len u8, name of a target. Body: policyd's ROUTE decision for the sender, u8. */
export const BN_OP_ROUTE_STATUS: u8 = 2;
/** A pull of nexus-ipc's chunked transfer; object: FNV-1a 64 of the image's name. Yields the bytes of its .wasm. */
export const BN_OP_FETCH_IMAGE: u8 = 3;
/** name_len u8, name. Body: index u32, flags u32, wasm_len u32, elf_len u32, memory_pages_max u32, slots u32 (mask),
 *  SHA-256 of the .wasm and of the ELF. */
export const BN_OP_INFO: u8 = 5;

export const BN_OK: u8 = 0;
export const BN_MALFORMED: u8 = 1;
export const BN_UNSUPPORTED: u8 = 2;
export const BN_NOT_FOUND: u8 = 3;
export const BN_DENIED: u8 = 4;
/** policyd did not answer well or in time, or the bundle could not be read. */
export const BN_UNAVAILABLE: u8 = 5;

export const BN_NAME_BYTES_MAX: u32 = 32;
/** Bytes of the body of INFO. */
export const BN_INFO_BYTES: u32 = 88;
