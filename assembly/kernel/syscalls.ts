// SPDX-License-Identifier: Apache-2.0
// The calls that are neither IPC, processes nor devices: console, capabilities, bundle, boot arguments, counters, the end.

import {
  E_BAD_ARGUMENT, E_BAD_HANDLE, E_DENIED, E_FULL, E_NOT_FOUND, E_NO_RIGHT, E_NO_SLOT, E_TOO_LARGE,
} from "../gen/errors";
import {
  COUNTER_DROPPED_REPLIES, COUNTER_ENDPOINTS, COUNTER_FREE_FRAMES, COUNTER_FREE_FRAMES_LEAST, COUNTER_OWN_GENERATION, COUNTER_OWN_HANDLES,
  COUNTER_PREEMPTIONS, COUNTER_QUEUED_MESSAGES, COUNTER_RUNNING,
} from "../gen/counters";
import { KERNEL_ENDPOINT_DEPTH_MAX, KERNEL_LINE_BYTES_MAX } from "../gen/limits";
import { MUT_KERNEL_CONSOLE_ANY_NAME, mutant } from "../gen/mutants";
import { TRAP_BAD_POINTER } from "../gen/traps";
import {
  bundle_at, bytes_equal, FILE_BYTES, file_at, files, FLAG_BUNDLE, FLAG_SHUTDOWN, name_is, Service, service_at, SERVICE_BYTES, services,
} from "./bundle";
import { cap_find, cap_insert, cap_remove, KIND_ENDPOINT, RIGHT_CLONE, RIGHT_GRANT, RIGHT_RECV, RIGHT_SEND } from "./cap";
import { line_valid, write } from "./console";
import { arg_bytes, arg_find } from "./devicetree";
import { Endpoint, endpoint_end, endpoint_make, endpoints_used } from "./endpoint";
import { frames_free, frames_free_least } from "./frames";
import { copy_in, copy_out } from "./hw";
import { dropped_replies } from "./ipc";
import { SCRATCH } from "./layout";
import { queued_messages } from "./message";
import { power_down } from "./boot";
import { process_fault } from "./process";
import { current, preemptions, STATE_CREATED, STATE_ENDED, STATE_FREE, Thread, thread_at, yield_now } from "./thread";
import { KERNEL_THREADS_MAX } from "../gen/limits";

/** "SELF": the one foreign name that a mutant lets through. */
const SELF: u32 = 0x464c4553;
const NAME_BYTES_MAX: u32 = 64;

@inline function running(): Thread { return changetype<Thread>(current); }
@inline function outside(t: Thread, ptr: u64, bytes: u64): bool { return <u64><u32>ptr + <u64><u32>bytes > t.memory_bytes; }

export function sys_null(): i64 { return 0; }
export function sys_yield(): i64 { return yield_now(); }
/** An entry of the table that this image does not have. */
export function sys_bad(): i64 { return E_BAD_ARGUMENT; }

export function sys_console_line(ptr: u64, bytes: u64): i64 {
  const t = running();
  const n = <u32>bytes;
  if (n > KERNEL_LINE_BYTES_MAX) return E_BAD_ARGUMENT;
  if (outside(t, ptr, n)) return process_fault(t, TRAP_BAD_POINTER, ptr);
  copy_in(SCRATCH, t.memory + <u32>ptr, n);
  if (!line_valid(SCRATCH, n)) return E_BAD_ARGUMENT;
  const s = service_at(t.index);
  let name = changetype<u32>(s);
  if (load<u8>(name + offsetof<Service>("console0")) != 0) name += offsetof<Service>("console0");
  let own: u32 = 0;
  while (load<u8>(name + own) != 0) own += 1;
  const named = n > own && load<u8>(SCRATCH + own) == 0x3a && bytes_equal(name, SCRATCH, own);
  if (!named && !(mutant(MUT_KERNEL_CONSOLE_ANY_NAME) && load<u32>(SCRATCH) == SELF)) return E_DENIED;
  write(SCRATCH, n, true);
  return 0;
}

export function sys_cap_close(handle: u64): i64 {
  const t = running();
  const cap = cap_find(t, <u32>handle);
  if (changetype<u32>(cap) == 0 || cap.kind == 0) return E_BAD_HANDLE;
  if (cap.kind == KIND_ENDPOINT && cap.rights & RIGHT_RECV) {
    // Nobody can receive there any more: the endpoint ends with the one handle that may.
    endpoint_end(changetype<Endpoint>(cap.object), cap.object == t.own_endpoint);
  }
  cap_remove(t, cap);
  return 0;
}

export function sys_cap_clone(handle: u64, rights: u64): i64 {
  const t = running();
  const cap = cap_find(t, <u32>handle);
  if (changetype<u32>(cap) == 0 || cap.kind != KIND_ENDPOINT) return E_BAD_HANDLE;
  if (!(cap.rights & RIGHT_CLONE)) return E_NO_RIGHT;
  if (<u32>rights & (~<u32>cap.rights | RIGHT_RECV)) return E_NO_RIGHT;
  return cap_insert(t, KIND_ENDPOINT, <u32>rights, cap.object, cap.generation);
}

export function sys_cap_query(handle: u64): i64 {
  const t = running();
  const cap = cap_find(t, <u32>handle);
  if (changetype<u32>(cap) == 0 || cap.kind == 0) return E_BAD_HANDLE;
  t.a1 = cap.kind;
  t.a2 = cap.rights;
  t.a3 = cap.generation;
  t.a4 = cap.kind == KIND_ENDPOINT ? changetype<Endpoint>(cap.object).generation : cap.generation;
  return 0;
}

export function sys_endpoint_create(depth: u64): i64 {
  const t = running();
  if (depth == 0 || depth > KERNEL_ENDPOINT_DEPTH_MAX) return E_BAD_ARGUMENT;
  const e = endpoint_make(t.index, <u32>depth);
  if (changetype<u32>(e) == 0) return E_FULL;
  const all = RIGHT_SEND | RIGHT_RECV | RIGHT_CLONE | RIGHT_GRANT;
  const handle = cap_insert(t, KIND_ENDPOINT, all, changetype<u32>(e), e.generation);
  if (handle == E_NO_SLOT) endpoint_end(e, false);
  return handle;
}

export function sys_bundle_find(kind: u64, name: u64, bytes: u64): i64 {
  const t = running();
  if (!(t.flags & FLAG_BUNDLE)) return E_DENIED;
  if (kind > 1 || bytes == 0 || bytes > NAME_BYTES_MAX) return E_BAD_ARGUMENT;
  if (outside(t, name, bytes)) return process_fault(t, TRAP_BAD_POINTER, name);
  copy_in(SCRATCH, t.memory + <u32>name, <u32>bytes);
  const count = kind == 0 ? services : files;
  const max: u32 = kind == 0 ? 32 : 64;
  for (let i: u32 = 0; i < count; i++) {
    const field = kind == 0 ? changetype<u32>(service_at(i)) : changetype<u32>(file_at(i));
    if (name_is(field, max, SCRATCH, <u32>bytes)) return i;
  }
  return E_NOT_FOUND;
}

export function sys_bundle_stat(kind: u64, index: u64, ptr: u64, cap: u64): i64 {
  const t = running();
  if (!(t.flags & FLAG_BUNDLE)) return E_DENIED;
  if (kind > 1) return E_BAD_ARGUMENT;
  if (index >= <u64>(kind == 0 ? services : files)) return E_NOT_FOUND;
  const size = kind == 0 ? SERVICE_BYTES : FILE_BYTES;
  if (cap < <u64>size) return E_BAD_ARGUMENT;
  if (outside(t, ptr, size)) return process_fault(t, TRAP_BAD_POINTER, ptr);
  const record = kind == 0 ? changetype<u32>(service_at(<u32>index)) : changetype<u32>(file_at(<u32>index));
  copy_out(t.memory + <u32>ptr, record, size);
  return size;
}

export function sys_bundle_read(kind: u64, index: u64, offset: u64, ptr: u64, bytes: u64): i64 {
  const t = running();
  if (!(t.flags & FLAG_BUNDLE)) return E_DENIED;
  if (kind > 1) return E_BAD_ARGUMENT;
  if (index >= <u64>(kind == 0 ? services : files)) return E_NOT_FOUND;
  if (outside(t, ptr, bytes)) return process_fault(t, TRAP_BAD_POINTER, ptr);
  const at = kind == 0 ? service_at(<u32>index).wasm : file_at(<u32>index).at;
  const size = kind == 0 ? service_at(<u32>index).wasm_bytes : file_at(<u32>index).bytes;
  if (<u32>offset >= size) return 0;
  const n = min(<u32>bytes, size - <u32>offset);
  copy_out(t.memory + <u32>ptr, bundle_at + at + <u32>offset, n);
  return n;
}

export function sys_boot_arg(key: u64, key_bytes: u64, ptr: u64, cap: u64): i64 {
  const t = running();
  if (key_bytes == 0 || key_bytes > NAME_BYTES_MAX) return E_NOT_FOUND;
  if (outside(t, key, key_bytes)) return process_fault(t, TRAP_BAD_POINTER, key);
  if (outside(t, ptr, cap)) return process_fault(t, TRAP_BAD_POINTER, ptr);
  copy_in(SCRATCH, t.memory + <u32>key, <u32>key_bytes);
  const value = arg_find(SCRATCH, <u32>key_bytes);
  if (value == 0) return E_NOT_FOUND;
  if (arg_bytes > <u32>cap) return E_TOO_LARGE;
  copy_out(t.memory + <u32>ptr, value, arg_bytes);
  return arg_bytes;
}

export function sys_shutdown(code: u64): i64 {
  if (!(running().flags & FLAG_SHUTDOWN)) return E_DENIED;
  power_down(<u32>code);
  return 0;
}

export function sys_counter(which: u64): i64 {
  const t = running();
  if (which == COUNTER_OWN_HANDLES) return t.handles;
  if (which == COUNTER_FREE_FRAMES) return frames_free;
  if (which == COUNTER_ENDPOINTS) return endpoints_used;
  if (which == COUNTER_QUEUED_MESSAGES) return queued_messages;
  if (which == COUNTER_DROPPED_REPLIES) return dropped_replies;
  if (which == COUNTER_PREEMPTIONS) return preemptions;
  if (which == COUNTER_OWN_GENERATION) return t.generation;
  if (which == COUNTER_FREE_FRAMES_LEAST) return frames_free_least;
  if (which == COUNTER_RUNNING) {
    let n: i64 = 0;
    for (let i: u32 = 0; i < KERNEL_THREADS_MAX; i++) {
      const state = thread_at(i).state;
      if (state > STATE_CREATED && state != STATE_ENDED) n += 1;
    }
    return n;
  }
  return E_BAD_ARGUMENT;
}
