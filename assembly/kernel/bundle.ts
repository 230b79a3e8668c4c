// SPDX-License-Identifier: Apache-2.0
// The bundle: a header, a manifest of 256-byte service records and 128-byte file records, then blobs (docs/format/bundle.md). Read
// only; every offset is checked against the bundle before use, and the manifest's SHA-256 binds the rest.

import {
  REASON_BUNDLE_MAGIC, REASON_BUNDLE_SIZE, REASON_BUNDLE_VERSION, REASON_MANIFEST_DIGEST, REASON_MANIFEST_FIELD,
} from "../gen/loader";
import {
  KERNEL_BUNDLE_BYTES_MAX, KERNEL_ENDPOINT_DEPTH_MAX, KERNEL_RESTART_BUDGET_MAX, KERNEL_SERVICES_MAX,
  KERNEL_SERVICE_MEMORY_PAGES_MAX, KERNEL_SERVICE_STACK_BYTES_MAX,
} from "../gen/limits";
import { PAGE, TEXT_FIRST, TEXT_STRIDE, WINDOW_INSTANCE, WINDOW_STACK_TOP, WINDOW_TABLE } from "./layout";
import { sha256 } from "../lib/hash/sha256";

const MAGIC: u64 = 0x314e424c49474956; // "VIGILBN1"
const VERSION: u32 = 1;
const HEADER_BYTES: u32 = 96;
const HEADER_RESERVED: u32 = 32;
const HEADER_SHA: u32 = 64;
const RECORD_RESERVED: u32 = 200;
const FLAGS_KNOWN: u32 = 255;
export const SERVICE_BYTES: u32 = 256;
export const FILE_BYTES: u32 = 128;
const FILES_MAX: u32 = 64;

export const FLAG_EXEC: u32 = 1;
export const FLAG_FIXTURE: u32 = 2;
export const FLAG_SPAWN: u32 = 4;
export const FLAG_SPAWN_EXEC: u32 = 8;
export const FLAG_BUNDLE: u32 = 16;
export const FLAG_SHUTDOWN: u32 = 32;
/** Its registers and the arguments of its calls are in no crash record. */
export const FLAG_CRASH_WITHHELD: u32 = 128;

@unmanaged
export class Service {
  name0: u64; name1: u64; name2: u64; name3: u64;
  id: u64;
  wasm: u32; wasm_bytes: u32; elf: u32; elf_bytes: u32;
  memory_pages: u32; memory_pages_max: u32; stack_bytes: u32; depth: u32; restart_budget: u32; flags: u32;
  calls: u64;
  slots: u32;
  devices: u32;
  wasm_sha0: u64; wasm_sha1: u64; wasm_sha2: u64; wasm_sha3: u64;
  elf_sha0: u64; elf_sha1: u64; elf_sha2: u64; elf_sha3: u64;
  console0: u64; console1: u64;
  text_base: u64;
  instance_bytes: u32; table_entries: u32;
  imports: u64;
}

@unmanaged
export class File {
  name0: u64; name1: u64; name2: u64; name3: u64; name4: u64; name5: u64; name6: u64; name7: u64;
  at: u32; bytes: u32;
  reserved: u64;
  sha0: u64; sha1: u64; sha2: u64; sha3: u64;
}

/** Where the bundle lies in memory, and how many services and files it has. Set by bundle_check. */
export let bundle_at: u32 = 0;
export let bundle_bytes: u32 = 0;
export let services: u32 = 0;
export let files: u32 = 0;
const digest: u32 = <u32>memory.data(32, 8);

@inline export function service_at(index: u32): Service {
  return changetype<Service>(bundle_at + HEADER_BYTES + index * SERVICE_BYTES);
}
@inline export function file_at(index: u32): File {
  return changetype<File>(bundle_at + HEADER_BYTES + services * SERVICE_BYTES + index * FILE_BYTES);
}
@inline export function manifest_digest(): u32 { return bundle_at + HEADER_SHA; }

@inline export function bytes_equal(a: u32, b: u32, bytes: u32): bool { return memory.compare(a, b, bytes) == 0; }

/** True when SHA-256 of the range is the 32 bytes at `expected`. */
export function digest_matches(ptr: u32, bytes: u32, expected: u32): bool {
  sha256(ptr, bytes, digest);
  return bytes_equal(digest, expected, 32);
}

/** Checks header, manifest digest and every record; 0 or the reason of refusal. Blobs are checked when they are used. */
export function bundle_check(at: u32, bytes: u32): u32 {
  services = 0;
  files = 0;
  if (bytes < HEADER_BYTES || bytes > KERNEL_BUNDLE_BYTES_MAX) return REASON_BUNDLE_SIZE;
  if (load<u64>(at) != MAGIC) return REASON_BUNDLE_MAGIC;
  if (load<u32>(at, 8) != VERSION) return REASON_BUNDLE_VERSION;
  const total = load<u32>(at, 12);
  const service_count = load<u32>(at, 16);
  const file_count = load<u32>(at, 20);
  const manifest_bytes = load<u32>(at, 28);
  if (total > bytes || total < HEADER_BYTES) return REASON_BUNDLE_SIZE;
  if (service_count == 0 || service_count > KERNEL_SERVICES_MAX || file_count > FILES_MAX) return REASON_MANIFEST_FIELD;
  if (load<u32>(at, 24) != HEADER_BYTES) return REASON_MANIFEST_FIELD;
  if (manifest_bytes != service_count * SERVICE_BYTES + file_count * FILE_BYTES) return REASON_MANIFEST_FIELD;
  if (HEADER_BYTES + manifest_bytes > total) return REASON_BUNDLE_SIZE;
  if (!zero(at + HEADER_RESERVED, HEADER_SHA - HEADER_RESERVED)) return REASON_MANIFEST_FIELD;
  if (!digest_matches(at + HEADER_BYTES, manifest_bytes, at + HEADER_SHA)) return REASON_MANIFEST_DIGEST;
  bundle_at = at;
  bundle_bytes = total;
  services = service_count;
  files = file_count;
  for (let i: u32 = 0; i < service_count; i++) if (!service_valid(i)) return REASON_MANIFEST_FIELD;
  for (let i: u32 = 0; i < file_count; i++) {
    const f = file_at(i);
    if (!blob_valid(f.at, f.bytes) || load<u8>(changetype<u32>(f) + 63) != 0) return REASON_MANIFEST_FIELD;
  }
  return 0;
}

@inline function blob_valid(at: u32, bytes: u32): bool { return at >= HEADER_BYTES && at <= bundle_bytes && bytes <= bundle_bytes - at; }

function service_valid(index: u32): bool {
  const s = service_at(index);
  const at = changetype<u32>(s);
  if (s.name0 == 0 || !label_valid(at, 32) || !label_valid(at + offsetof<Service>("console0"), 16)) return false;
  if (fnv1a(at, 32) != s.id || s.flags > FLAGS_KNOWN || !zero(at + RECORD_RESERVED, SERVICE_BYTES - RECORD_RESERVED)) return false;
  for (let i: u32 = 0; i < index; i++) if (service_at(i).id == s.id) return false; // the id is who a message is from
  if (!blob_valid(s.wasm, s.wasm_bytes) || !blob_valid(s.elf, s.elf_bytes)) return false;
  if (s.memory_pages == 0 || s.memory_pages > s.memory_pages_max) return false;
  if (s.memory_pages_max > KERNEL_SERVICE_MEMORY_PAGES_MAX) return false;
  if (s.stack_bytes == 0 || s.stack_bytes % PAGE != 0 || s.stack_bytes > KERNEL_SERVICE_STACK_BYTES_MAX) return false;
  if (s.depth == 0 || s.depth > KERNEL_ENDPOINT_DEPTH_MAX) return false;
  if (s.restart_budget > KERNEL_RESTART_BUDGET_MAX) return false;
  if (s.instance_bytes == 0 || <u64>s.instance_bytes + WINDOW_INSTANCE + PAGE > WINDOW_TABLE) return false;
  if (<u64>s.table_entries * 32 + WINDOW_TABLE + PAGE > WINDOW_STACK_TOP - KERNEL_SERVICE_STACK_BYTES_MAX - PAGE) return false;
  if (s.text_base < TEXT_FIRST || s.text_base >= TEXT_FIRST + KERNEL_SERVICES_MAX * TEXT_STRIDE) return false;
  if (s.text_base % TEXT_STRIDE != 0) return false;
  return services >= 64 || s.calls >> services == 0;
}

function zero(at: u32, bytes: u32): bool {
  for (let i: u32 = 0; i < bytes; i++) if (load<u8>(at + i) != 0) return false;
  return true;
}

/** A field of printable characters without blank or colon, which end names on the console, then zeros, at least one. */
function label_valid(at: u32, max: u32): bool {
  let used: u32 = 0;
  while (used < max && load<u8>(at + used) != 0) {
    const c = load<u8>(at + used);
    if (c <= 0x20 || c > 0x7e || c == 0x3a) return false;
    used += 1;
  }
  return used < max && zero(at + used, max - used);
}

/** FNV-1a 64 of the bytes up to the first zero. */
export function fnv1a(ptr: u32, max: u32): u64 {
  let h: u64 = 0xcbf29ce484222325;
  for (let i: u32 = 0; i < max && load<u8>(ptr + i) != 0; i++) h = (h ^ <u64>load<u8>(ptr + i)) * 0x100000001b3;
  return h;
}

/** Compares a zero-padded field with a counted name. */
export function name_is(field: u32, max: u32, name: u32, bytes: u32): bool {
  if (bytes == 0 || bytes >= max) return false;
  if (!bytes_equal(field, name, bytes)) return false;
  return load<u8>(field + bytes) == 0;
}
