// SPDX-License-Identifier: Apache-2.0
// The bench's second boot: a bare S-mode image under OpenSBI (no paging, no traps expected) that runs CRC-32C and SHA-256 over the same
// bytes once as a WASM module (assembly/bench/hash.ts, translated and compiled like a service's) and once as C (twins.c).
// Protocol: `bench: KEY=VALUE` lines on the UART (guest instructions for one pass over BENCH_BYTES), then power-off with status 0.
// Invariant: a figure is printed only after all four results agree with each other and the short messages with published vectors;
// anything else prints `bench: FAIL WHAT` and powers off with status 1. Limit: memory of MEMORY_BYTES for the module.
#include "../memory.c"
#include "vigil_sys.h"
#include "wasm-rt.h"

#define BENCH_BYTES 32768u
#define MEMORY_BYTES (4 * 65536u)
#define WARM_UP_BYTES 4096u

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

#include MODULE_C
#include "twins.c"

static void wasm_rt_allocate_memory(wasm_rt_memory_t* memory, uint64_t initial_pages, uint64_t max_pages, bool is64, uint32_t page_size) {
  (void)is64, (void)max_pages;
  if (initial_pages * page_size > MEMORY_BYTES) fail("memory");
  memory->data = vigil_memory;
  memory->size = initial_pages * page_size;
}
static void __attribute__((unused)) wasm_rt_free_memory(wasm_rt_memory_t* memory) { (void)memory; }

static w2c_svc instance;
static uint8_t native_digest[32];

static inline uint64_t instructions(void) {
  uint64_t count;
  __asm__ volatile("rdinstret %0" : "=r"(count)::"memory");
  return count;
}

// RFC 3720 B.4: 32 ascending bytes. FIPS 180-2 appendix B.1: "abc".
static void check_vectors(uint8_t* input) {
  static const uint8_t abc[32] = {
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
  };
  for (uint32_t i = 0; i < 32; i++) input[i] = (uint8_t)i;
  if (native_crc32c(input, 32) != 0x46dd794e) fail("crc32c native vector");
  if (w2c_svc_bench_crc32c(&instance, 32) != 0x46dd794e) fail("crc32c wasm vector");
  memcpy(input, "abc", 3);
  native_sha256(input, 3, native_digest);
  w2c_svc_bench_sha256(&instance, 3);
  if (memcmp(native_digest, abc, 32)) fail("sha256 native vector");
  if (memcmp(vigil_memory + w2c_svc_bench_digest(&instance), abc, 32)) fail("sha256 wasm vector");
}

__attribute__((noreturn, used)) void bench_main(void) {
  vigil_memory = module_memory;
  ((void (*)(w2c_svc*, void*))wasm2c_svc_instantiate)(&instance, NULL);
  w2c_svc_0x5Finit(&instance);
  crc_fill();
  uint8_t* input = vigil_memory + w2c_svc_bench_input(&instance);
  check_vectors(input);
  uint32_t state = 1;
  for (uint32_t i = 0; i < BENCH_BYTES; i++) input[i] = (uint8_t)((state = state * 1664525u + 1013904223u) >> 24);
  native_crc32c(input, WARM_UP_BYTES), w2c_svc_bench_crc32c(&instance, WARM_UP_BYTES);
  uint64_t t0 = instructions();
  uint32_t crc = native_crc32c(input, BENCH_BYTES);
  uint64_t t1 = instructions();
  uint32_t crc_wasm = w2c_svc_bench_crc32c(&instance, BENCH_BYTES);
  uint64_t t2 = instructions();
  native_sha256(input, BENCH_BYTES, native_digest);
  uint64_t t3 = instructions();
  w2c_svc_bench_sha256(&instance, BENCH_BYTES);
  uint64_t t4 = instructions();
  if (crc != crc_wasm) fail("crc32c differs");
  if (memcmp(native_digest, vigil_memory + w2c_svc_bench_digest(&instance), 32)) fail("sha256 differs");
  figure("crc32c_native", t1 - t0);
  figure("crc32c_wasm", t2 - t1);
  figure("sha256_native", t3 - t2);
  figure("sha256_wasm", t4 - t3);
  put("bench: end\n");
  power_off(0);
}
