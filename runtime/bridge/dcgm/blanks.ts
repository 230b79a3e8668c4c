// SPDX-License-Identifier: Apache-2.0
// Owns: how a missing value looks in DCGM, and the status it becomes.
// Invariant: a blank never travels with status 0. Blanks are finite numbers (dcgm_structs.h): 2^47 + k for doubles,
// 0x7ffffffffffffff0 + k for 64-bit integers, and 0x7ffffff0 + k, the 32-bit blank, which turns up in 64-bit fields too.
// Limits: k is 0 blank, 1 not found, 2 not supported, 3 not permitted; anything above the first blank is taken for a blank.
import { DCGM_NO_DATA, DCGM_NO_PERMISSION, DCGM_NOT_SUPPORTED } from './returns.js';

const INT32_BLANK = 0x7ffffff0n;
const INT64_BLANK = 0x7ffffffffffffff0n;
const DOUBLE_BLANK = 2 ** 47;

const STATUS_OF_KIND = [DCGM_NO_DATA, DCGM_NO_DATA, DCGM_NOT_SUPPORTED, DCGM_NO_PERMISSION] as const;
const statusOfKind = (kind: number): number => STATUS_OF_KIND[kind] ?? DCGM_NO_DATA;

/** Status of an int64's blank, or 0 when it is a value. */
export function int64Blank(value: bigint): number {
  if (value >= INT64_BLANK) return statusOfKind(Number(value - INT64_BLANK));
  return value >= INT32_BLANK && value <= INT32_BLANK + 3n ? statusOfKind(Number(value - INT32_BLANK)) : 0;
}

/** Status of a double's blank, or 0 when it is a value. NaN and infinities are no data. */
export function doubleBlank(value: number): number {
  if (!Number.isFinite(value)) return DCGM_NO_DATA;
  return value >= DOUBLE_BLANK ? statusOfKind(Math.floor(value - DOUBLE_BLANK)) : 0;
}

/** What a cell without a value carries beside its status. */
export const blankOf = (type: 'int64' | 'double'): bigint | number => (type === 'double' ? DOUBLE_BLANK + 1 : INT64_BLANK + 1n);
