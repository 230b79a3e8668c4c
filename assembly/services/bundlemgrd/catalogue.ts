// SPDX-License-Identifier: Apache-2.0
// What the bundle holds, as the kernel's loader vouches for it: one row a service of the manifest, read once.
// Invariant: rows come from manifest records (docs/format/bundle.md) and are never changed; images are read from the
// bundle when they are fetched, never kept.
// Limit: limits.bundlemgrd services_max rows.
import { BUNDLEMGRD_SERVICES_MAX } from "../../gen/limits";
import { E_NOT_FOUND } from "../../gen/errors";
import { sys_bundle_stat } from "../../gen/syscalls";

const KIND_SERVICE: u32 = 0;
const RECORD_BYTES: u32 = 256;
const NAME_BYTES: u32 = 32;
const records: usize = memory.data(48 * 256, 8);
let count: u32 = 0;

/** A manifest record of a service; offsets as in docs/format/bundle.md. */
@unmanaged
export class ServiceRecord {
  get name(): usize {
    return changetype<usize>(this);
  }
  get nameLength(): u32 {
    let length: u32 = 0;
    while (length < NAME_BYTES && load<u8>(this.name + length) != 0) length++;
    return length;
  }
  get id(): u64 {
    return load<u64>(changetype<usize>(this), 32);
  }
  get wasmLength(): u32 {
    return load<u32>(changetype<usize>(this), 44);
  }
  get elfLength(): u32 {
    return load<u32>(changetype<usize>(this), 52);
  }
  get memoryPagesMax(): u32 {
    return load<u32>(changetype<usize>(this), 60);
  }
  get flags(): u32 {
    return load<u32>(changetype<usize>(this), 76);
  }
  get slots(): u32 {
    return load<u32>(changetype<usize>(this), 88);
  }
  /** SHA-256 of the .wasm, then of the ELF: 64 bytes. */
  get digests(): usize {
    return changetype<usize>(this) + 96;
  }
}

/** Reads the manifest; false when a record could not be read or there are more than fit. */
export function catalogueLoad(): bool {
  assert(BUNDLEMGRD_SERVICES_MAX == 48);
  count = 0;
  while (count < BUNDLEMGRD_SERVICES_MAX) {
    const got = sys_bundle_stat(KIND_SERVICE, count, <u32>records + count * RECORD_BYTES, RECORD_BYTES);
    if (got == E_NOT_FOUND) return count != 0;
    if (got != RECORD_BYTES) return false;
    count++;
  }
  // The table is full: whole only if the manifest ends here too.
  return sys_bundle_stat(KIND_SERVICE, count, 0, 0) == E_NOT_FOUND;
}

export function catalogueCount(): u32 {
  return count;
}

/** Record `index`, in manifest order. */
export function catalogueAt(index: u32): ServiceRecord {
  assert(index < count);
  return changetype<ServiceRecord>(records + index * RECORD_BYTES);
}

/** Index of the service with this id, or -1. */
export function catalogueById(id: u64): i32 {
  for (let i: u32 = 0; i < count; i++) if (catalogueAt(i).id == id) return <i32>i;
  return -1;
}
