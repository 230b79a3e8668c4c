// SPDX-License-Identifier: Apache-2.0
// The policy table: who may do what, read once from the bundle file recipes/policy/base.toml. Deny by default: what no
// row grants is denied, and a file that breaks any rule here leaves the table empty and policyd not ready.
// A row is a [[subject]] with name, caps (what it holds), routes (whom it may send to) and execs (what it may have
// run).
// Invariant: a subject's id is FNV-1a 64 of its name, the kernel's own rule; there are no aliases and no wildcards.
// Limits: limits.policyd. The text of the recipe stays in memory, because rows point into it.
import { fnv1a64 } from "../../lib/bounded/fnv";
import { literalByte } from "../../lib/bounded/text";
import {
  TOML_ARRAY_STRING, TOML_ARRAY_U64, TOML_END, TOML_ERROR, TOML_STRING, TOML_TABLE, TOML_TABLE_ARRAY, TOML_U64,
  tomlError, tomlItemCount, tomlItemLen, tomlItemPtr, tomlLine, tomlNameIs, tomlNext, tomlOpen, tomlTextLen,
  tomlTextPtr, tomlU64,
} from "../../lib/toml/reader";
import { tomlReason } from "../../lib/toml/reason";
import {
  POLICYD_CAPS_MAX, POLICYD_CAP_BYTES_MAX, POLICYD_EXECS_MAX, POLICYD_NAME_BYTES_MAX, POLICYD_RECIPE_BYTES_MAX,
  POLICYD_ROUTES_MAX, POLICYD_SUBJECTS_MAX,
} from "../../gen/limits";
import { sys_bundle_find, sys_bundle_read } from "../../gen/syscalls";

const BUNDLE_FILE: u32 = 1;
const VERSION: u64 = 1;
const PATH: string = "recipes/policy/base.toml";

// Row: {id u64, capCount u32, routeCount u32, execCount u32, given u32, caps {ptr u32, len u32}[24], routes u64[32],
// execs u64[32]}.
const ROW_CAP_COUNT: u32 = 8;
const ROW_ROUTE_COUNT: u32 = 12;
const ROW_EXEC_COUNT: u32 = 16;
const ROW_GIVEN: u32 = 20;
const ROW_CAPS: u32 = 24;
const ROW_ROUTES: u32 = 24 + 24 * 8;
const ROW_EXECS: u32 = 24 + 24 * 8 + 32 * 8;
const ROW_BYTES: u32 = 24 + 24 * 8 + 32 * 8 + 32 * 8;
const GIVEN_NAME: u32 = 1;

const rows: usize = memory.data(48 * 728, 8);
const recipe: usize = memory.data(16384, 8);
const pathBytes: usize = memory.data(64);
let rowCount: u32 = 0;
let versionSeen: bool = false;
let failLine: u32 = 0;
let failReason: string = "";

/** Line of the recipe at which tableLoad failed; 0 when the file itself could not be had. */
export function tableFailLine(): u32 {
  return failLine;
}
/** One word for what tableLoad refused. */
export function tableFailReason(): string {
  return failReason;
}

/** Reads and validates the recipe. False: the table is empty, and tableFail* say why. */
export function tableLoad(): bool {
  assert(ROW_BYTES == 728 && POLICYD_SUBJECTS_MAX == 48 && POLICYD_CAPS_MAX == 24 && POLICYD_ROUTES_MAX == 32);
  assert(POLICYD_EXECS_MAX == 32 && POLICYD_RECIPE_BYTES_MAX == 16384);
  rowCount = 0;
  versionSeen = false;
  const length = readRecipe();
  if (length < 0) return false;
  tomlOpen(<u32>recipe, <u32>length);
  for (;;) {
    const kind = tomlNext();
    if (kind == TOML_END) break;
    if (kind == TOML_ERROR) return fail(tomlReason(tomlError()));
    if (!takeItem(kind)) return false;
  }
  if (!versionSeen) return fail("version_missing");
  if (rowCount == 0) return fail("no_subject");
  return lastRowComplete();
}

/** The row of a subject id, or 0. */
export function tableRow(id: u64): usize {
  for (let i: u32 = 0; i < rowCount; i++) {
    const row = rows + i * ROW_BYTES;
    if (load<u64>(row) == id) return row;
  }
  return 0;
}

/** Whether `row` (0: none) holds the capability whose name is the `length` bytes at `name`. */
export function rowHasCap(row: usize, name: usize, length: u32): bool {
  if (row == 0) return false;
  const count = load<u32>(row, ROW_CAP_COUNT);
  for (let i: u32 = 0; i < count; i++) {
    const cap = row + ROW_CAPS + (i << 3);
    if (load<u32>(cap, 4) == length && memory.compare(load<u32>(cap), name, length) == 0) return true;
  }
  return false;
}

/** The same for a literal. */
export function rowHasCapNamed(row: usize, name: string): bool {
  if (row == 0) return false;
  const count = load<u32>(row, ROW_CAP_COUNT);
  const length = <u32>name.length;
  for (let i: u32 = 0; i < count; i++) {
    const cap = row + ROW_CAPS + (i << 3);
    if (load<u32>(cap, 4) != length) continue;
    let at: u32 = 0;
    while (at < length && load<u8>(load<u32>(cap) + at) == literalByte(name, at)) at++;
    if (at == length) return true;
  }
  return false;
}

/** Whether `row` (0: none) may send to the service with this id. */
export function rowHasRoute(row: usize, target: u64): bool {
  return row != 0 && contains(row + ROW_ROUTES, load<u32>(row, ROW_ROUTE_COUNT), target);
}

/** Whether `row` (0: none) may have the image with this id run. */
export function rowHasExec(row: usize, image: u64): bool {
  return row != 0 && contains(row + ROW_EXECS, load<u32>(row, ROW_EXEC_COUNT), image);
}

function contains(list: usize, count: u32, id: u64): bool {
  for (let i: u32 = 0; i < count; i++) if (load<u64>(list + (<usize>i << 3)) == id) return true;
  return false;
}

function fail(reason: string): bool {
  failLine = tomlLine();
  failReason = reason;
  rowCount = 0;
  return false;
}

// The file's length, or -1. One byte more than the limit is asked for, so that a longer file is seen.
function readRecipe(): i32 {
  failLine = 0;
  for (let i = 0; i < PATH.length; i++) store<u8>(pathBytes + i, literalByte(PATH, i));
  const index = sys_bundle_find(BUNDLE_FILE, <u32>pathBytes, <u32>PATH.length);
  if (index < 0) {
    failReason = "file_missing";
    return -1;
  }
  let length: u32 = 0;
  for (;;) {
    const room = POLICYD_RECIPE_BYTES_MAX - length;
    const got = sys_bundle_read(BUNDLE_FILE, <u32>index, length, <u32>recipe + length, room);
    if (got < 0) {
      failReason = "file_unreadable";
      return -1;
    }
    if (got == 0) break;
    length += <u32>got;
    if (length == POLICYD_RECIPE_BYTES_MAX) {
      failReason = "file_too_long";
      return -1;
    }
  }
  return <i32>length;
}

function takeItem(kind: u32): bool {
  if (kind == TOML_TABLE_ARRAY) {
    if (!tomlNameIs("subject")) return fail("unknown_table");
    if (!lastRowComplete()) return false;
    if (rowCount == POLICYD_SUBJECTS_MAX) return fail("too_many_subjects");
    memory.fill(rows + rowCount * ROW_BYTES, 0, ROW_BYTES);
    rowCount++;
    return true;
  }
  if (kind == TOML_TABLE) return fail("unknown_table");
  if (rowCount == 0) {
    if (kind != TOML_U64 || !tomlNameIs("version")) return fail("unknown_key");
    if (tomlU64() != VERSION) return fail("unknown_version");
    versionSeen = true;
    return true;
  }
  const row = rows + (rowCount - 1) * ROW_BYTES;
  if (kind == TOML_STRING && tomlNameIs("name")) return takeName(row);
  if (kind == TOML_ARRAY_STRING || (kind == TOML_ARRAY_U64 && tomlItemCount() == 0)) {
    if (tomlNameIs("caps")) return takeCaps(row);
    if (tomlNameIs("routes")) return takeIds(row + ROW_ROUTES, row + ROW_ROUTE_COUNT, POLICYD_ROUTES_MAX);
    if (tomlNameIs("execs")) return takeIds(row + ROW_EXECS, row + ROW_EXEC_COUNT, POLICYD_EXECS_MAX);
  }
  return fail("unknown_key");
}

function lastRowComplete(): bool {
  if (rowCount == 0) return true;
  if (load<u32>(rows + (rowCount - 1) * ROW_BYTES, ROW_GIVEN) & GIVEN_NAME) return true;
  return fail("name_missing");
}

function isServiceName(ptr: u32, length: u32): bool {
  if (length == 0 || length > POLICYD_NAME_BYTES_MAX) return false;
  for (let i: u32 = 0; i < length; i++) {
    const c = load<u8>(ptr + i);
    if (<u8>(c - 97) < 26 || <u8>(c - 48) < 10 || c == 45) continue;
    return false;
  }
  return true;
}

function isCapName(ptr: u32, length: u32): bool {
  if (length == 0 || length > POLICYD_CAP_BYTES_MAX) return false;
  for (let i: u32 = 0; i < length; i++) {
    const c = load<u8>(ptr + i);
    if (<u8>(c - 97) < 26 || <u8>(c - 48) < 10 || c == 46 || c == 95) continue;
    return false;
  }
  return true;
}

function takeName(row: usize): bool {
  if (!isServiceName(tomlTextPtr(), tomlTextLen())) return fail("bad_name");
  const id = fnv1a64(tomlTextPtr(), tomlTextLen());
  if (tableRow(id) != 0) return fail("subject_twice");
  store<u64>(row, id);
  store<u32>(row, load<u32>(row, ROW_GIVEN) | GIVEN_NAME, ROW_GIVEN);
  return true;
}

function takeCaps(row: usize): bool {
  const count = tomlItemCount();
  if (count > POLICYD_CAPS_MAX) return fail("too_many_caps");
  for (let i: u32 = 0; i < count; i++) {
    const ptr = tomlItemPtr(i);
    const length = tomlItemLen(i);
    if (!isCapName(ptr, length)) return fail("bad_cap");
    if (rowHasCap(row, ptr, length)) return fail("cap_twice");
    store<u32>(row + ROW_CAPS + (i << 3), ptr);
    store<u32>(row + ROW_CAPS + (i << 3), length, 4);
    store<u32>(row, i + 1, ROW_CAP_COUNT);
  }
  return true;
}

function takeIds(list: usize, countAt: usize, most: u32): bool {
  const count = tomlItemCount();
  if (count > most) return fail("too_many_names");
  for (let i: u32 = 0; i < count; i++) {
    const ptr = tomlItemPtr(i);
    const length = tomlItemLen(i);
    if (!isServiceName(ptr, length)) return fail("bad_name");
    const id = fnv1a64(ptr, length);
    if (contains(list, i, id)) return fail("name_twice");
    store<u64>(list + (<usize>i << 3), id);
  }
  store<u32>(countAt, count);
  return true;
}
