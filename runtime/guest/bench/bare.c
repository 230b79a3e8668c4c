// SPDX-License-Identifier: Apache-2.0
// What the bench's bare images share: a start in S-mode under OpenSBI (no paging, no traps expected), the UART, the module's memory.
// Protocol: `bench: KEY=VALUE` lines on the UART (guest instructions of one round), `bench: end`, then power-off with status 0; anything
// that is wrong prints `bench: FAIL WHAT` and powers off with status 1.
// Use: define MEMORY_BYTES, include this, write bench_main, which calls begin first. Limit: memory of MEMORY_BYTES for the module.
#include "../memory.c"
#define w2c_env_abort service_abort // an assert of a service traps into the kernel; here there is none
#include "vigil_sys.h"
#undef w2c_env_abort
#include "wasm-rt.h"

static uint8_t module_memory[MEMORY_BYTES] __attribute__((aligned(4096)));

__asm__(
  ".section .text.start,\"ax\"\n"
  ".globl _start\n"
  "_start: csrw sie, zero\n"
  "  la t0, bench_bss_start\n"
  "  la t1, bench_end\n"
  "1: sd zero, 0(t0)\n"
  "  addi t0, t0, 8\n"
  "  bltu t0, t1, 1b\n"
  "  la sp, bench_stack_top\n"
  "  la t0, bench_trap\n"
  "  csrw stvec, t0\n"
  "  li t0, 0x6000\n"
  "  csrs sstatus, t0\n"
  "  call bench_main\n"
  ".balign 4\n"
  "bench_trap: csrr a0, scause\n"
  "  call bench_trapped\n"
  ".section .bss\n"
  ".balign 16\n"
  "  .space 16384\n"
  "bench_stack_top:\n"
  ".text\n");

static void put(const char* text) {
  for (; *text; text++) *(volatile uint8_t*)0x10000000 = (uint8_t)*text;
}
static void put_decimal(uint64_t value) {
  char digits[21];
  int at = 20;
  digits[at] = 0;
  do digits[--at] = (char)('0' + value % 10), value /= 10;
  while (value);
  put(digits + at);
}
static __attribute__((noreturn)) void power_off(uint32_t code) {
  *(volatile uint32_t*)0x100000 = code ? (code << 16) | 0x3333 : 0x5555;
  for (;;) __asm__ volatile("wfi");
}
static __attribute__((noreturn, noinline, cold)) void fail(const char* what) {
  put("bench: FAIL "), put(what), put("\n");
  power_off(1);
}
static void figure(const char* key, uint64_t value) {
  put("bench: "), put(key), put("="), put_decimal(value), put("\n");
}
__attribute__((noreturn, used)) void bench_trapped(uint64_t cause) {
  (void)cause;
  fail("trap");
}
static __attribute__((noreturn, noinline, cold)) void wasm_rt_trap(wasm_rt_trap_t kind) {
  (void)kind;
  fail("wasm trap");
}

__attribute__((noreturn, noinline, cold)) void w2c_env_abort(struct w2c_env* env, uint32_t message, uint32_t file, uint32_t line, uint32_t column) {
  (void)env, (void)message, (void)file, (void)column;
  put("bench: FAIL assert at line "), put_decimal(line), put("\n");
  power_off(1);
}

#include MODULE_C

static void wasm_rt_allocate_memory(wasm_rt_memory_t* memory, uint64_t initial_pages, uint64_t max_pages, bool is64, uint32_t page_size) {
  (void)is64, (void)max_pages;
  if (initial_pages * page_size > MEMORY_BYTES) fail("memory");
  memory->data = vigil_memory;
  memory->size = initial_pages * page_size;
}
static void __attribute__((unused)) wasm_rt_free_memory(wasm_rt_memory_t* memory) { (void)memory; }

#define TABLE_ELEMENTS 16u
static wasm_rt_funcref_t table_elements[TABLE_ELEMENTS];
static void __attribute__((unused)) wasm_rt_allocate_funcref_table(wasm_rt_funcref_table_t* table, uint32_t elements, uint32_t max_elements) {
  if (elements > TABLE_ELEMENTS) fail("table");
  table->data = table_elements;
  table->size = elements;
  table->max_size = max_elements;
}
static void __attribute__((unused)) wasm_rt_free_funcref_table(wasm_rt_funcref_table_t* table) { (void)table; }

static w2c_svc instance;

static inline uint64_t instructions(void) {
  uint64_t count;
  __asm__ volatile("rdinstret %0" : "=r"(count)::"memory");
  return count;
}

// Instantiates the module and runs its start function.
static void begin(void) {
  vigil_memory = module_memory;
  ((void (*)(w2c_svc*, void*))wasm2c_svc_instantiate)(&instance, NULL);
  w2c_svc_0x5Finit(&instance);
}
