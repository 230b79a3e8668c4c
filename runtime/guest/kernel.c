// SPDX-License-Identifier: Apache-2.0
// What the AssemblyScript kernel cannot say: the intrinsics that touch hardware, physical memory and other address windows. Each
// checks its range and panics outside it, so the kernel cannot write outside what it owns. One translation unit with wasm2c's output,
// so that they inline. `tp` holds the base of kernel linear memory.
#include "memory.c"
#include "vigil_abi.h"
#include "wasm-rt.h"

register uint8_t* vigil_memory __asm__("tp");

// Kernel linear memory, held to assembly/kernel/layout.ts by a test.
#define KERNEL_MEMORY_BYTES 0x600000
#define DMA_START 0x300000
#define DMA_END 0x380000
#define KERNEL_MEMORY_VA 0x200000000000ull
#define RAM_START 0x80000000ull
#define WINDOW_FIRST (1ull << 34)
#define WINDOW_END ((VIGIL_LIMIT_KERNEL_SERVICES_MAX + 1ull) << 34)

extern uint8_t kernel_memory[], kernel_end[], kernel_stack_top[];
void kernel_enter_user(void) __attribute__((noreturn));
static uint64_t device_tree;

typedef uint8_t u8;
typedef int8_t s8;
typedef uint16_t u16;
typedef int16_t s16;
typedef uint32_t u32;
typedef int32_t s32;
typedef uint64_t u64;
typedef int64_t s64;
typedef float f32;
typedef double f64;
#define WASM_RT_CORE_TYPES_DEFINED
struct w2c_hw;
struct w2c_env;

// --- the last word: works with nothing but the UART ---
static void uart_text(const char* text) {
  for (; *text; text++) *(volatile uint8_t*)0x10000000 = (uint8_t)*text;
}
static void uart_hex(uint64_t value) {
  uart_text("0x");
  for (int shift = 60; shift >= 0; shift -= 4) *(volatile uint8_t*)0x10000000 = (uint8_t) "0123456789abcdef"[(value >> shift) & 15];
}
static __attribute__((noreturn)) void power_off(uint32_t code) {
  *(volatile uint32_t*)0x100000 = code ? (code << 16) | 0x3333 : 0x5555;
  for (;;) __asm__ volatile("wfi");
}
static __attribute__((noreturn, noinline, cold)) void panic(const char* why, uint64_t a, uint64_t b, uint64_t c) {
  uart_text("\nPANIC kernel: ");
  uart_text(why);
  for (int i = 0; i < 3; i++) uart_text(" "), uart_hex(i == 0 ? a : i == 1 ? b : c);
  uart_text("\n");
  power_off(1);
}
__attribute__((noreturn)) void kernel_fault_report(uint64_t cause, uint64_t pc, uint64_t address) {
  panic("trap in supervisor mode: scause sepc stval", cause, pc, address);
}
static __attribute__((noreturn, noinline, cold)) void wasm_rt_trap(wasm_rt_trap_t kind) { panic("wasm trap", kind, 0, 0); }

// --- checks ---
static inline void check(bool ok, const char* why, uint64_t a, uint64_t b) {
  if (UNLIKELY(!ok)) panic(why, a, b, 0);
}
static inline bool in_mmio(uint64_t p, uint32_t width) {
  return !(p & (width - 1)) && ((p >= 0x10000000 && p < 0x10009000) || (p >= 0x0c000000 && p < 0x0c400000) || p == 0x100000);
}
static inline bool in_kernel_memory(uint64_t offset, uint64_t bytes) { return offset <= KERNEL_MEMORY_BYTES && bytes <= KERNEL_MEMORY_BYTES - offset; }
static inline bool in_frames(uint64_t p, uint64_t bytes) {
  uint64_t start = (uint64_t)kernel_end, end = RAM_START + VIGIL_LIMIT_KERNEL_GUEST_MEMORY_BYTES;
  return p >= start && p <= end && bytes <= end - p;
}
static inline bool in_windows(uint64_t va, uint64_t bytes) { return va >= WINDOW_FIRST && va < WINDOW_END && bytes < WINDOW_END - va; }

// --- intrinsics: module "hw" ---
static inline u32 w2c_hw_mmio_load8(struct w2c_hw* hw, u64 p) { (void)hw; check(in_mmio(p, 1), "mmio_load8", p, 0); return *(volatile uint8_t*)p; }
static inline void w2c_hw_mmio_store8(struct w2c_hw* hw, u64 p, u32 v) { (void)hw; check(in_mmio(p, 1), "mmio_store8", p, v); *(volatile uint8_t*)p = (uint8_t)v; }
static inline u32 w2c_hw_mmio_load32(struct w2c_hw* hw, u64 p) { (void)hw; check(in_mmio(p, 4), "mmio_load32", p, 0); return *(volatile uint32_t*)p; }
static inline void w2c_hw_mmio_store32(struct w2c_hw* hw, u64 p, u32 v) { (void)hw; check(in_mmio(p, 4), "mmio_store32", p, v); *(volatile uint32_t*)p = v; }
static inline volatile void* dma(u32 offset, u32 bytes) {
  check(offset >= DMA_START && offset <= DMA_END - bytes && !(offset & (bytes - 1)), "dma", offset, bytes);
  return vigil_memory + offset;
}
static inline u32 w2c_hw_dma_load16(struct w2c_hw* hw, u32 o) { (void)hw; return *(volatile uint16_t*)dma(o, 2); }
static inline u32 w2c_hw_dma_load32(struct w2c_hw* hw, u32 o) { (void)hw; return *(volatile uint32_t*)dma(o, 4); }
static inline void w2c_hw_dma_store16(struct w2c_hw* hw, u32 o, u32 v) { (void)hw; *(volatile uint16_t*)dma(o, 2) = (uint16_t)v; }
static inline void w2c_hw_dma_store32(struct w2c_hw* hw, u32 o, u32 v) { (void)hw; *(volatile uint32_t*)dma(o, 4) = v; }
static inline void w2c_hw_fence_io(struct w2c_hw* hw) { (void)hw; __asm__ volatile("fence iorw, iorw" ::: "memory"); }
static inline u64 w2c_hw_phys_of(struct w2c_hw* hw, u32 offset) { (void)hw; return (uint64_t)kernel_memory + offset; }
static inline u64 w2c_hw_frames_start(struct w2c_hw* hw) { (void)hw; return (uint64_t)kernel_end; }
static inline u64 w2c_hw_device_tree(struct w2c_hw* hw) { (void)hw; return device_tree; }

static inline void w2c_hw_copy_in(struct w2c_hw* hw, u32 to, u64 va, u32 bytes) {
  (void)hw;
  check(in_kernel_memory(to, bytes) && in_windows(va, bytes), "copy_in", va, bytes);
  memcpy(vigil_memory + to, (const void*)va, bytes);
}
static inline void w2c_hw_copy_out(struct w2c_hw* hw, u64 va, u32 from, u32 bytes) {
  (void)hw;
  check(in_kernel_memory(from, bytes) && in_windows(va, bytes), "copy_out", va, bytes);
  memcpy((void*)va, vigil_memory + from, bytes);
}
static inline void w2c_hw_copy_user(struct w2c_hw* hw, u64 to, u64 from, u32 bytes) {
  (void)hw;
  check(in_windows(to, bytes) && in_windows(from, bytes), "copy_user", to, from);
  memcpy((void*)to, (const void*)from, bytes);
}
static inline void w2c_hw_copy_boot(struct w2c_hw* hw, u32 to, u64 p, u32 bytes) {
  (void)hw;
  check(in_kernel_memory(to, bytes) && in_frames(p, bytes), "copy_boot", p, bytes);
  memcpy(vigil_memory + to, (const void*)p, bytes);
}
static inline void w2c_hw_copy_frame(struct w2c_hw* hw, u64 p, u32 from, u32 bytes) {
  (void)hw;
  check(in_kernel_memory(from, bytes) && in_frames(p, bytes), "copy_frame", p, bytes);
  memcpy((void*)p, vigil_memory + from, bytes);
}
static inline void w2c_hw_zero_page(struct w2c_hw* hw, u64 p) {
  (void)hw;
  check(in_frames(p, 4096) && !(p & 4095), "zero_page", p, 0);
  for (uint64_t *word = (uint64_t*)p, *end = word + 512; word < end; word += 8)
    word[0] = 0, word[1] = 0, word[2] = 0, word[3] = 0, word[4] = 0, word[5] = 0, word[6] = 0, word[7] = 0;
}
static inline void w2c_hw_set_page_table(struct w2c_hw* hw, u32 root) {
  (void)hw;
  check(in_kernel_memory(root, 4096) && !(root & 4095), "set_page_table", root, 0);
  uint64_t satp = (9ull << 60) | (((uint64_t)kernel_memory + root) >> 12);
  __asm__ volatile("csrw satp, %0\n sfence.vma\n csrs sstatus, %1" ::"r"(satp), "r"(1ull << 18) : "memory");  // SUM: copies reach windows
  vigil_memory = (uint8_t*)KERNEL_MEMORY_VA;
}
static inline void w2c_hw_fence_vm(struct w2c_hw* hw) { (void)hw; __asm__ volatile("sfence.vma" ::: "memory"); }
static inline void w2c_hw_fence_i(struct w2c_hw* hw) { (void)hw; __asm__ volatile("fence.i" ::: "memory"); }
static inline void w2c_hw_set_timer(struct w2c_hw* hw, u64 ticks) { (void)hw; __asm__ volatile("csrw 0x14d, %0" ::"r"(ticks) : "memory"); }
static inline u64 w2c_hw_read_time(struct w2c_hw* hw) { (void)hw; uint64_t t; __asm__ volatile("rdtime %0" : "=r"(t)); return t; }
static inline u64 w2c_hw_read_instret(struct w2c_hw* hw) { (void)hw; uint64_t t; __asm__ volatile("rdinstret %0" : "=r"(t)); return t; }
static inline u64 w2c_hw_pending(struct w2c_hw* hw) { (void)hw; uint64_t t; __asm__ volatile("csrr %0, sip" : "=r"(t)::"memory"); return t; }
static inline void w2c_hw_enable_interrupts(struct w2c_hw* hw) {
  (void)hw;
  __asm__ volatile("csrw sie, %0\n csrs scounteren, %1" ::"r"((1ull << 5) | (1ull << 9)), "r"(7ull));
}
static inline void w2c_hw_wfi(struct w2c_hw* hw) { (void)hw; __asm__ volatile("wfi" ::: "memory"); }
static inline void w2c_hw_halt(struct w2c_hw* hw, u32 code) { (void)hw; power_off(code); }
static inline void w2c_env_abort(struct w2c_env* env, u32 message, u32 file, u32 line, u32 column) { (void)env, (void)message; panic("assert: file line column", file, line, column); }

#include KERNEL_C

static void wasm_rt_allocate_memory(wasm_rt_memory_t* memory, uint64_t initial_pages, uint64_t max_pages, bool is64, uint32_t page_size) {
  (void)is64;
  if (initial_pages * page_size != KERNEL_MEMORY_BYTES) panic("kernel memory size", initial_pages, max_pages, KERNEL_MEMORY_BYTES);
  memory->data = vigil_memory;
  memory->size = KERNEL_MEMORY_BYTES;
}
static void __attribute__((unused)) wasm_rt_free_memory(wasm_rt_memory_t* memory) { (void)memory; }
static void __attribute__((unused)) wasm_rt_allocate_funcref_table(wasm_rt_funcref_table_t* t, uint32_t n, uint32_t m) { (void)t, (void)m; if (n > 1) panic("kernel has an indirect call", n, 0, 0); }
static void __attribute__((unused)) wasm_rt_free_funcref_table(wasm_rt_funcref_table_t* t) { (void)t; }

static w2c_kernel instance;

void kernel_start(uint64_t dtb) {
  device_tree = dtb;
  vigil_memory = kernel_memory;
  wasm2c_kernel_instantiate(&instance, (struct w2c_env*)0, (struct w2c_hw*)0);
  *(uint64_t*)(vigil_memory + 80) = (uint64_t)kernel_stack_top;
  *(uint64_t*)(vigil_memory + 88) = (uint64_t)&instance;
  w2c_kernel_0x5Finit(&instance);
  w2c_kernel_boot(&instance);
  kernel_enter_user();
}
