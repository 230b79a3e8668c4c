// SPDX-License-Identifier: Apache-2.0
// Wire numbers of execd (protocol EX; tables in docs/format/wire-execd.md).
// No request names a requester: the kernel's sender id is the only one.

/** name_len u8, name. Body: index u32, generation u32, detail u32 (the reason of abi/loader.toml when EX_REFUSED);
 *  with EX_OK the reply moves a SEND capability to the child's own endpoint. */
export const EX_OP_EXEC: u8 = 1;
/** Retired: ends come from the kernel alone. Always EX_UNSUPPORTED. */
export const EX_OP_REPORT_EXIT: u8 = 2;
/** index u32, generation u32, deadline_ns u64; by the requester of the EXEC alone. Body: cause u32, code u64. */
export const EX_OP_WAIT: u8 = 3;

export const EX_OK: u8 = 0;
export const EX_MALFORMED: u8 = 1;
export const EX_UNSUPPORTED: u8 = 2;
export const EX_FAILED: u8 = 3;
export const EX_DENIED: u8 = 4;
export const EX_NOT_FOUND: u8 = 5;
/** It runs already, or a wait is pending. */
export const EX_BUSY: u8 = 6;
export const EX_TIMEOUT: u8 = 7;
/** The loader refused the module; the body's detail is its reason. */
export const EX_REFUSED: u8 = 8;
export const EX_OVER_LIMIT: u8 = 9;
/** policyd or bundlemgrd did not answer well or in time: nothing was run. */
export const EX_UNAVAILABLE: u8 = 10;

export const EX_NAME_BYTES_MAX: u32 = 32;
