// SPDX-License-Identifier: Apache-2.0
// Services as processes: load, grant, start, end, restart. A service has one thread, whose index is its manifest index, and a window of
// its own. Text and read-only data are loaded and verified once a module and shared by its instances; a restart reuses them and gets
// fresh zeroed frames for everything writable. When a service ends, callers waiting for it hear `dead`, its devices are reset before
// its frames are freed, its endpoints' generation rises, and its creator is told.

import {
  E_AGAIN, E_BAD_ARGUMENT, E_BAD_HANDLE, E_BAD_MODULE, E_BUSY, E_DEAD, E_DENIED, E_NOT_FOUND, E_NO_MEMORY, E_NO_RIGHT,
} from "../gen/errors";
import { REASON_ELF_DIGEST, REASON_MANIFEST_FIELD, REASON_WASM_DIGEST, REASON_WASM_IMPORT } from "../gen/loader";
import { MUT_KERNEL_MEMORY_UNLIMITED, MUT_LOADER_SKIPS_DIGEST, mutant } from "../gen/mutants";
import { KERNEL_ENDPOINTS_MAX, KERNEL_SERVICES_MAX, KERNEL_THREADS_MAX } from "../gen/limits";
import { NR_EXIT, NR_MEMORY_GROW } from "../gen/syscalls";
import {
  TRAP_ABORT, TRAP_BAD_INDIRECT_CALL, TRAP_DIV_BY_ZERO, TRAP_INT_OVERFLOW, TRAP_KILLED, TRAP_OOB_READ, TRAP_OOB_WRITE, TRAP_UNREACHABLE,
} from "../gen/traps";
import {
  bundle_at, bytes_equal, digest_matches, FLAG_EXEC, FLAG_FIXTURE, FLAG_SPAWN, FLAG_SPAWN_EXEC, Service, service_at, services,
} from "./bundle";
import {
  cap_at, cap_clear_all, cap_find, cap_insert, cap_put, FIXED_SLOTS, KIND_DEVICE, KIND_ENDPOINT, RIGHT_CLONE, RIGHT_GRANT, RIGHT_QUERY,
  RIGHT_RECV, RIGHT_SEND,
} from "./cap";
import { text, text_begin, text_end, text_hex, text_name } from "./console";
import { device_for, devices_release } from "./device";
import { elf_check, entry, PF_X, segment_at, segment_bytes, segment_flags, segment_va, segments } from "./elf";
import { Endpoint, endpoint_end, endpoint_forget_waiter, endpoint_own } from "./endpoint";
import { frame_give, frame_take } from "./frames";
import { trace_begin } from "./crash";
import { copy_frame, fence_i } from "./hw";
import {
  ENDPOINTS, ENDPOINT_BYTES, PAGE, TEXT_FIRST, TEXT_STRIDE, window_of, WINDOW_INSTANCE, WINDOW_MEMORY, WINDOW_STACK_TOP, WINDOW_TABLE,
} from "./layout";
import { mutant_cause, mutant_unreported } from "./mutant";
import { panic_text } from "./panic";
import { page_map, page_unmap, pages_changed, PTE_R, PTE_U, PTE_W, PTE_X } from "./pagetable";
import {
  current, host_wait_ends, now_ticks, schedule, STATE_CALLING, STATE_CREATED, STATE_ENDED, STATE_FREE, STATE_READY, STATE_RECEIVING,
  STATE_SENDING, Thread, thread_at, unready, wake, make_ready,
} from "./thread";
import { imports_mask, wasm_check } from "./wasm";
import { trap_name } from "./trapname";

const SLOT_SELF: u32 = 1;
const SLOT_DEVICE0: u32 = 7;
const WASM_PAGE: u64 = 65536;
export const NOTIFY_DEVICE: u32 = 1;
export const NOTIFY_CHILD: u32 = 2;

/** Per module (by text address): entry point once loaded, 0 before, its import mask, and the manifest entry that was verified. */
const module_entry: u32 = <u32>memory.data(<i32>(KERNEL_SERVICES_MAX * 8), 8);
const module_mask: u32 = <u32>memory.data(<i32>(KERNEL_SERVICES_MAX * 8), 8);
const module_verified: u32 = <u32>memory.data(<i32>(KERNEL_SERVICES_MAX * 4), 4);

@inline function running(): Thread { return changetype<Thread>(current); }

// --- loading ---

/** Whether two entries name the same files, digests and module limits, so that one's verification holds for the other. */
function same_module(a: Service, b: Service): bool {
  const x = changetype<u32>(a);
  const y = changetype<u32>(b);
  const files = offsetof<Service>("wasm"); // up to memory_pages_max
  const digests = offsetof<Service>("wasm_sha0");
  return bytes_equal(x + files, y + files, 24) && bytes_equal(x + digests, y + digests, 64)
    && a.table_entries == b.table_entries && a.imports == b.imports;
}

/** Verifies a module and maps its text; 0, or the loader's reason, or E_NO_MEMORY as a negative number. */
function module_load(index: u32): i64 {
  const s = service_at(index);
  const m = <u32>((s.text_base - TEXT_FIRST) / TEXT_STRIDE);
  if (load<u64>(module_entry + m * 8) != 0) {
    return same_module(s, service_at(load<u32>(module_verified + m * 4))) ? 0 : REASON_MANIFEST_FIELD;
  }
  const base = changetype<u32>(s);
  const bundle = bundle_at;
  const wasm_good = mutant(MUT_LOADER_SKIPS_DIGEST) || digest_matches(bundle + s.wasm, s.wasm_bytes, base + offsetof<Service>("wasm_sha0"));
  if (!wasm_good) return REASON_WASM_DIGEST;
  if (!digest_matches(bundle + s.elf, s.elf_bytes, base + offsetof<Service>("elf_sha0"))) return REASON_ELF_DIGEST;
  const refused = wasm_check(bundle + s.wasm, s.wasm_bytes, s.memory_pages, s.memory_pages_max, s.table_entries);
  if (refused != 0) return refused;
  const mask = imports_mask;
  if (mask != s.imports) return REASON_WASM_IMPORT;
  const elf_refused = elf_check(bundle + s.elf, s.elf_bytes, s.text_base, TEXT_STRIDE);
  if (elf_refused != 0) return elf_refused;
  for (let i: u32 = 0; i < segments; i++) {
    const flags = (segment_flags(i) & PF_X ? PTE_R | PTE_X : PTE_R) | PTE_U;
    if (map_segment(segment_va(i), segment_at(i), segment_bytes(i), flags)) continue;
    for (let j: u32 = 0; j <= i; j++) unmap(segment_va(j), segment_bytes(j));
    pages_changed();
    return E_NO_MEMORY;
  }
  fence_i();
  pages_changed();
  store<u64>(module_entry + m * 8, entry);
  store<u64>(module_mask + m * 8, mask);
  store<u32>(module_verified + m * 4, index);
  return 0;
}

function map_segment(va: u64, at: u32, bytes: u32, flags: u64): bool {
  for (let done: u32 = 0; done < bytes; done += PAGE) {
    const phys = frame_take();
    if (phys == 0) return false;
    copy_frame(phys, at + done, min(PAGE, bytes - done));
    if (!page_map(va + done, phys, flags)) {
      frame_give(phys);
      return false;
    }
  }
  return true;
}

function map_fresh(va: u64, bytes: u64): bool {
  for (let done: u64 = 0; done < bytes; done += PAGE) {
    const phys = frame_take();
    if (phys == 0) return false;
    if (!page_map(va + done, phys, PTE_R | PTE_W | PTE_U)) {
      frame_give(phys);
      return false;
    }
  }
  return true;
}

function unmap(va: u64, bytes: u64): void {
  for (let done: u64 = 0; done < bytes; done += PAGE) {
    const phys = page_unmap(va + done);
    if (phys != 0) frame_give(phys);
  }
}

function window_free(index: u32, s: Service, memory_pages: u32): void {
  const w = window_of(index);
  unmap(w + WINDOW_INSTANCE, s.instance_bytes);
  unmap(w + WINDOW_TABLE, <u64>s.table_entries * 32);
  unmap(w + WINDOW_STACK_TOP - s.stack_bytes, s.stack_bytes);
  unmap(w + WINDOW_MEMORY, <u64>memory_pages * WASM_PAGE);
  pages_changed();
}

/** Whether a child waits to be reported: a parent that ended meanwhile is told when it is back. */
function ended_child_of(parent: u32): bool {
  for (let i: u32 = 1; i < services; i++) {
    const c = thread_at(i);
    if (c.end_pending != 0 && c.creator == parent) return true;
  }
  return false;
}

/** Loads manifest entry `index` into a thread in state CREATED. 0, or an error; the loader's reason lands in `load_reason`. */
export let load_reason: u64 = 0;

export function process_load(index: u32, creator: u32): i64 {
  const t = thread_at(index);
  const s = service_at(index);
  if (t.state != STATE_FREE && t.state != STATE_ENDED) return E_BUSY;
  if (t.end_pending != 0) return E_BUSY;
  const refused = module_load(index);
  if (refused < 0) return refused;
  if (refused != 0) {
    load_reason = refused;
    return E_BAD_MODULE;
  }
  const w = window_of(index);
  const mapped = map_fresh(w + WINDOW_INSTANCE, s.instance_bytes) && map_fresh(w + WINDOW_TABLE, <u64>s.table_entries * 32)
    && map_fresh(w + WINDOW_STACK_TOP - s.stack_bytes, s.stack_bytes) && map_fresh(w + WINDOW_MEMORY, <u64>s.memory_pages * WASM_PAGE);
  if (!mapped) {
    window_free(index, s, s.memory_pages);
    return E_NO_MEMORY;
  }
  pages_changed();
  const m = <u32>((s.text_base - TEXT_FIRST) / TEXT_STRIDE);
  t.pc = load<u64>(module_entry + m * 8);
  t.a0 = w + WINDOW_INSTANCE;
  t.sp = w + WINDOW_STACK_TOP;
  t.tp = w + WINDOW_MEMORY;
  t.ra = 0;
  t.full = 0;
  t.fp_valid = 0;
  t.mask = load<u64>(module_mask + m * 8) | (1 << NR_EXIT) | (1 << NR_MEMORY_GROW); // a module's own trap: trap_bad_syscall
  t.id = s.id;
  t.memory = w + WINDOW_MEMORY;
  t.memory_pages = s.memory_pages;
  t.memory_pages_max = s.memory_pages_max;
  t.memory_bytes = <u64>s.memory_pages * WASM_PAGE;
  t.calls = s.calls;
  t.index = index;
  t.flags = s.flags;
  t.generation += 1;
  t.creator = creator;
  t.notify = ended_child_of(index) ? NOTIFY_CHILD : 0;
  t.endpoint = 0;
  t.server = 0;
  t.host_pending = 0;
  trace_begin(t);
  cap_clear_all(t);
  const e = endpoint_own(index, s.depth);
  t.own_endpoint = changetype<u32>(e);
  cap_put(t, SLOT_SELF, KIND_ENDPOINT, RIGHT_SEND | RIGHT_RECV | RIGHT_CLONE | RIGHT_GRANT, t.own_endpoint, e.generation);
  for (let n: u32 = 0; n < 4; n++) {
    const id = (s.devices >> (n * 8)) & 0xff;
    if (id == 0) break;
    const device = device_for(id, index);
    if (device != 0) cap_put(t, SLOT_DEVICE0 + n, KIND_DEVICE, RIGHT_SEND, device, t.generation);
  }
  t.state = STATE_CREATED;
  return 0;
}

// --- the end ---

/** Ends a thread: every trace of it but its frame-free thread block. Does not schedule. */
function end(t: Thread, cause: u32, info: u64, address: u64): void {
  if (t.state == STATE_READY) unready(t);
  if (t.endpoint != 0) endpoint_forget_waiter(t);
  host_wait_ends(t);
  t.state = STATE_ENDED;
  t.server = 0;
  t.end_cause = cause;
  t.end_info = info;
  t.end_address = address;
  t.end_generation = t.generation;
  t.end_pending = mutant_unreported(cause) ? 0 : 1;
  t.end_ticks = now_ticks();
  t.end_serving = 0;
  devices_release(t.index);
  for (let i: u32 = 0; i < KERNEL_THREADS_MAX; i++) {
    const c = thread_at(i);
    if (c.state != STATE_CALLING || c.server != changetype<u32>(t)) continue;
    c.a1 = changetype<Endpoint>(t.own_endpoint).generation + 1;
    t.end_serving |= <u64>1 << i;
    wake(c, E_DEAD);
  }
  for (let i: u32 = 0; i < KERNEL_ENDPOINTS_MAX; i++) {
    const e = changetype<Endpoint>(ENDPOINTS + i * ENDPOINT_BYTES);
    if (e.used && e.owner == t.index) endpoint_end(e, changetype<u32>(e) == t.own_endpoint);
  }
  cap_clear_all(t);
  window_free(t.index, service_at(t.index), t.memory_pages);
  if (t.index == 0) panic_text("init-lite ended", cause, info, address);
  notify(thread_at(t.creator), NOTIFY_CHILD);
}

/** Sets notification bits and wakes the thread if it waits in recv. */
export function notify(t: Thread, bits: u32): void {
  if (t.state == STATE_FREE || t.state == STATE_ENDED) return;
  t.notify |= bits;
  if (t.state != STATE_RECEIVING) return;
  t.a1 = 0;
  t.a2 = 0;
  t.a3 = 0;
  t.a4 = t.notify;
  t.notify = 0;
  wake(t, 0);
}

/** Kills `t` for `cause`, says so on the console and picks who runs next; the result is for whoever that is. */
export function process_fault(t: Thread, cause: u32, address: u64): i64 {
  text_begin();
  text("kernel: trap ");
  text_name(changetype<u32>(service_at(t.index)), 32);
  text(" ");
  trap_name(mutant_cause(cause, address));
  text_end();
  if (!(t.flags & FLAG_FIXTURE)) {
    text_begin();
    text("kernel: trap detail pc=");
    text_hex(t.pc);
    text(" address=");
    text_hex(address);
    text_end();
  }
  end(t, cause, t.pc, address);
  return schedule();
}

export function sys_exit(code: u64): i64 {
  end(running(), 0, <u32>code, 0);
  return schedule();
}

export function sys_trap(kind: u64, info: u64): i64 {
  const cause = <u32>kind;
  const known = cause == TRAP_DIV_BY_ZERO || cause == TRAP_INT_OVERFLOW || cause == TRAP_UNREACHABLE || cause == TRAP_BAD_INDIRECT_CALL
    || cause == TRAP_ABORT || cause == TRAP_OOB_READ || cause == TRAP_OOB_WRITE;
  return process_fault(running(), known ? cause : TRAP_UNREACHABLE, info);
}

export function sys_memory_grow(delta: u64): i64 {
  const t = running();
  const old = t.memory_pages;
  if (delta == 0) return old;
  if (delta > t.memory_pages_max - old) return mutant(MUT_KERNEL_MEMORY_UNLIMITED) ? old : -1;
  const start = t.memory + <u64>old * WASM_PAGE;
  if (!map_fresh(start, delta * WASM_PAGE)) {
    unmap(start, delta * WASM_PAGE);
    pages_changed();
    return -1;
  }
  pages_changed();
  t.memory_pages += <u32>delta;
  t.memory_bytes = <u64>t.memory_pages * WASM_PAGE;
  return old;
}

// --- calls of a supervisor ---

/** Whether the caller may create entry `index`. */
@inline function may_spawn(t: Thread, index: u32): bool {
  if (t.flags & FLAG_SPAWN) return true;
  return (t.flags & FLAG_SPAWN_EXEC) != 0 && (service_at(index).flags & FLAG_EXEC) != 0;
}

/** The child `index` of the caller, or null. */
export function child(t: Thread, index: u64): Thread {
  if (index >= <u64>services) return changetype<Thread>(0);
  const c = thread_at(<u32>index);
  if (c.state == STATE_FREE || c.creator != t.index || c.index == t.index) return changetype<Thread>(0);
  return c;
}

export function sys_process_create(index: u64): i64 {
  const t = running();
  if (!(t.flags & (FLAG_SPAWN | FLAG_SPAWN_EXEC))) return E_DENIED;
  if (index >= <u64>services || index == 0) return E_NOT_FOUND;
  if (!may_spawn(t, <u32>index)) return E_DENIED;
  load_reason = 0;
  const result = process_load(<u32>index, t.index);
  t.a1 = result == 0 ? <u64>thread_at(<u32>index).generation : load_reason;
  return result == 0 ? <i64>index : result;
}

export function sys_process_grant(index: u64, slot: u64, handle: u64, rights: u64): i64 {
  const t = running();
  const c = child(t, index);
  if (changetype<u32>(c) == 0) return E_NOT_FOUND;
  if (c.state != STATE_CREATED) return E_BUSY;
  if (slot <= SLOT_SELF || slot >= FIXED_SLOTS) return E_BAD_ARGUMENT;
  const cap = cap_find(t, <u32>handle);
  if (changetype<u32>(cap) == 0 || cap.kind != KIND_ENDPOINT) return E_BAD_HANDLE;
  if (<u32>rights & (~<u32>cap.rights | RIGHT_RECV)) return E_NO_RIGHT;
  if (cap_at(c.index, <u32>slot).kind != 0) return E_BUSY;
  cap_put(c, <u32>slot, KIND_ENDPOINT, <u32>rights, cap.object, cap.generation);
  return 0;
}

export function sys_process_start(index: u64): i64 {
  const c = child(running(), index);
  if (changetype<u32>(c) == 0) return E_NOT_FOUND;
  if (c.state != STATE_CREATED) return E_BUSY;
  make_ready(c);
  return 0;
}

export function sys_process_endpoint(index: u64, rights: u64): i64 {
  const t = running();
  const c = child(t, index);
  if (changetype<u32>(c) == 0 || c.state == STATE_ENDED) return E_NOT_FOUND;
  const e = changetype<Endpoint>(c.own_endpoint);
  return cap_insert(t, KIND_ENDPOINT, <u32>rights & (RIGHT_SEND | RIGHT_CLONE | RIGHT_GRANT | RIGHT_QUERY), c.own_endpoint, e.generation);
}

export function sys_process_kill(index: u64): i64 {
  const c = child(running(), index);
  if (changetype<u32>(c) == 0 || c.state == STATE_ENDED) return E_NOT_FOUND;
  end(c, TRAP_KILLED, c.pc, 0);
  return 0;
}

export function sys_process_event(): i64 {
  const t = running();
  for (let i: u32 = 1; i < services; i++) {
    const c = thread_at(i);
    if (c.end_pending == 0 || c.creator != t.index) continue;
    c.end_pending = 0;
    t.a1 = c.end_cause;
    t.a2 = c.end_info;
    t.a3 = c.end_address;
    t.a4 = c.end_generation;
    return i;
  }
  return E_AGAIN;
}
