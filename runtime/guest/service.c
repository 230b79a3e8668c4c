// SPDX-License-Identifier: Apache-2.0
// The U-mode C runtime of one service: its start, its traps, its memory and table placement. One translation unit with the module
// (MODULE_C, wasm2c's output) so that system-call stubs inline. It has no writable data: everything mutable lives in the service's
// window, whose layout (docs/architecture.md, "Windows") the kernel maps before the start:
//   window + 64 KiB   instance struct        window + 512 KiB   funcref table
//   window + 1984 KiB stack top              window + 8 GiB     linear memory (tp)
#include "memory.c"
#include "vigil_sys.h"
#include "wasm-rt.h"


static inline __attribute__((noreturn)) void vigil_trap(uint64_t kind, uint64_t info) {
  register uint64_t a7 __asm__("a7") = VIGIL_SYS_TRAP;
  register uint64_t a1 __asm__("a1") = kind;
  register uint64_t a2 __asm__("a2") = info;
  __asm__ volatile("ecall" ::"r"(a7), "r"(a1), "r"(a2) : "memory");
  __builtin_unreachable();
}

static __attribute__((noreturn, noinline, cold)) void wasm_rt_trap(wasm_rt_trap_t kind) {
  switch (kind) {
    case WASM_RT_TRAP_DIV_BY_ZERO: vigil_trap(VIGIL_TRAP_DIV_BY_ZERO, 0);
    case WASM_RT_TRAP_INT_OVERFLOW: vigil_trap(VIGIL_TRAP_INT_OVERFLOW, 0);
    case WASM_RT_TRAP_INVALID_CONVERSION: vigil_trap(VIGIL_TRAP_INT_OVERFLOW, 1);
    case WASM_RT_TRAP_CALL_INDIRECT: vigil_trap(VIGIL_TRAP_BAD_INDIRECT_CALL, 0);
    case WASM_RT_TRAP_OOB: vigil_trap(VIGIL_TRAP_OOB_READ, 0);
    default: vigil_trap(VIGIL_TRAP_UNREACHABLE, kind);
  }
}

#include "vigil_sys.h"
#include MODULE_C

// The packer copies this number into the manifest; the kernel maps that many bytes for the instance.
const uint64_t vigil_instance_bytes __attribute__((used, section(".rodata.vigil_instance_bytes"))) = sizeof(w2c_svc);

static void wasm_rt_allocate_memory(wasm_rt_memory_t* memory, uint64_t initial_pages, uint64_t max_pages, bool is64, uint32_t page_size) {
  (void)is64;
  memory->data = vigil_memory;
  memory->size = initial_pages * page_size;
  memory->data_end = memory->data + memory->size;
  memory->page_size = page_size;
  memory->pages = initial_pages;
  memory->max_pages = max_pages;
}

static void wasm_rt_free_memory(wasm_rt_memory_t* memory) { (void)memory; }
static void wasm_rt_free_funcref_table(wasm_rt_funcref_table_t* table) { (void)table; }

static uint64_t __attribute__((unused)) wasm_rt_grow_memory(wasm_rt_memory_t* memory, uint64_t delta_pages) {
  register uint64_t a7 __asm__("a7") = VIGIL_SYS_MEMORY_GROW;
  register uint64_t a0 __asm__("a0");
  register uint64_t a1 __asm__("a1") = delta_pages;
  __asm__ volatile("ecall"
                   : "=r"(a0), "+r"(a1)
                   : "r"(a7)
                   : "a2", "a3", "a4", "a5", "a6", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "ra", "memory");
  if ((int64_t)a0 < 0) return (uint32_t)-1;
  memory->pages = a0 + delta_pages;
  memory->size = memory->pages * memory->page_size;
  memory->data_end = memory->data + memory->size;
  return a0;
}

static void __attribute__((unused)) wasm_rt_allocate_funcref_table(wasm_rt_funcref_table_t* table, uint32_t elements, uint32_t max_elements) {
  // Only one table exists in an AssemblyScript module, and `table` is a field of the instance, whose window holds the entries.
  uint64_t window = (uint64_t)table & ~((1ull << 34) - 1);
  table->data = (wasm_rt_funcref_t*)(window + 0x80000);
  table->size = elements;
  table->max_size = max_elements;
}

#ifdef NATIVE_C  // a fixture with a forged ELF: runs in place of the module's main
#include NATIVE_C
#endif

// Entered by the kernel with a0 = instance, sp = stack top, tp = linear memory.
__attribute__((noreturn, section(".text.start"), used)) void _start(w2c_svc* instance) {
  // Takes one pointer an import module, none of which is read: a module that imports less ignores what is over.
  ((void (*)(w2c_svc*, void*, void*))wasm2c_svc_instantiate)(instance, NULL, NULL);
  w2c_svc_0x5Finit(instance);
#ifdef NATIVE_C
  native_main();
#endif
  w2c_svc_main(instance);
  register uint64_t a7 __asm__("a7") = VIGIL_SYS_EXIT;
  register uint64_t a1 __asm__("a1") = 0;
  __asm__ volatile("ecall" ::"r"(a7), "r"(a1) : "memory");
  __builtin_unreachable();
}
