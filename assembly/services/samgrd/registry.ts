// SPDX-License-Identifier: Apache-2.0
// The registry: name -> SEND|CLONE capability. Owned by samgrd; filled by init-lite alone.
// Invariant: a name has at most one row; registering again closes the old capability and takes the new one, so a
// restart neither leaks a slot nor leaves two answers. Rows are never removed: the names are the manifest's.
// Limit: limits.samgrd names_max rows, names of SM_NAME_BYTES_MAX bytes.
import { SAMGRD_NAMES_MAX } from "../../gen/limits";
import { sys_cap_close, sys_cap_query } from "../../gen/syscalls";
import { SM_NAME_BYTES_MAX } from "../../lib/wire/samgrd";

// Row: {id u64, handle u32, registrations u32, nameLen u32, pad u32, name[32]}.
const ROW_BYTES: u32 = 56;
const ROW_HANDLE: u32 = 8;
const ROW_REGISTRATIONS: u32 = 12;
const ROW_NAME_LEN: u32 = 16;
const ROW_NAME: u32 = 24;
const rows: usize = memory.data(48 * 56, 8);
const meta: usize = memory.data(32, 8);
let count: u32 = 0;

/** Row of the name, or 0. */
export function registryFind(name: usize, length: u32): usize {
  for (let i: u32 = 0; i < count; i++) {
    const row = rows + i * ROW_BYTES;
    if (load<u32>(row, ROW_NAME_LEN) == length && memory.compare(row + ROW_NAME, name, length) == 0) return row;
  }
  return 0;
}

/** Row of the service id, or 0. */
export function registryById(id: u64): usize {
  for (let i: u32 = 0; i < count; i++) if (load<u64>(rows + i * ROW_BYTES) == id) return rows + i * ROW_BYTES;
  return 0;
}

/** Takes `handle` for the name whose service id is `id`. False when the table is full: it stays the caller's. */
export function registryPut(id: u64, name: usize, length: u32, handle: u32): bool {
  assert(SAMGRD_NAMES_MAX == 48 && length <= SM_NAME_BYTES_MAX);
  let row = registryFind(name, length);
  if (row == 0) {
    if (count == SAMGRD_NAMES_MAX) return false;
    row = rows + count * ROW_BYTES;
    count++;
    store<u64>(row, id);
    store<u32>(row, length, ROW_NAME_LEN);
    memory.copy(row + ROW_NAME, name, length);
  } else if (rowHandle(row) != 0) {
    sys_cap_close(rowHandle(row));
  }
  store<u32>(row, handle, ROW_HANDLE);
  store<u32>(row, rowRegistrations(row) + 1, ROW_REGISTRATIONS);
  return true;
}

/** FNV-1a 64 of the row's name: what policyd is asked about. */
export function rowId(row: usize): u64 {
  return load<u64>(row);
}
export function rowHandle(row: usize): u32 {
  return load<u32>(row, ROW_HANDLE);
}
export function rowRegistrations(row: usize): u32 {
  return load<u32>(row, ROW_REGISTRATIONS);
}
/** True when the process behind the row ended and was not registered again: its held and present generation differ. */
export function rowIsDead(row: usize): bool {
  if (sys_cap_query(rowHandle(row), <u32>meta) < 0) return true;
  return load<u64>(meta, 16) != load<u64>(meta, 24);
}
