// SPDX-License-Identifier: Apache-2.0
// The part of wasm2c's runtime interface that generated code names, for two hosts without a C library: the kernel (S-mode) and a
// service (U-mode). Memory is bounded by unmapped windows, so there are no bounds checks; the stack by a guard page, so no depth counter.
#ifndef WASM_RT_H_
#define WASM_RT_H_
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define WABT_BIG_ENDIAN 0
#define WASM_RT_USE_MMAP 1
#define WASM_RT_USE_SEGUE 0
#define WASM_RT_SEGUE_FREE_SEGMENT 0
#define WASM_RT_SANITY_CHECKS 0
#define WASM_RT_STACK_DEPTH_COUNT 0
#define WASM_RT_MEMCHECK_GUARD_PAGES 1
#define wasm_rt_memcpy __builtin_memcpy

typedef enum {
  WASM_RT_TRAP_NONE,
  WASM_RT_TRAP_OOB,
  WASM_RT_TRAP_INT_OVERFLOW,
  WASM_RT_TRAP_DIV_BY_ZERO,
  WASM_RT_TRAP_INVALID_CONVERSION,
  WASM_RT_TRAP_UNREACHABLE,
  WASM_RT_TRAP_CALL_INDIRECT,
  WASM_RT_TRAP_NULL_REF,
  WASM_RT_TRAP_EXHAUSTION,
} wasm_rt_trap_t;

typedef enum { WASM_RT_I32, WASM_RT_I64, WASM_RT_F32, WASM_RT_F64, WASM_RT_V128, WASM_RT_FUNCREF, WASM_RT_EXTERNREF } wasm_rt_type_t;

typedef void (*wasm_rt_function_ptr_t)(void);
typedef struct { void (*fn)(void** instance_ptr, void* tail_call_stack, void* next); } wasm_rt_tailcallee_t;
typedef const char* wasm_rt_func_type_t;
typedef struct {
  wasm_rt_func_type_t func_type;
  wasm_rt_function_ptr_t func;
  wasm_rt_tailcallee_t func_tailcallee;
  void* module_instance;
} wasm_rt_funcref_t;
typedef void* wasm_rt_externref_t;
#define wasm_rt_funcref_null_value ((wasm_rt_funcref_t){NULL, NULL, {NULL}, NULL})
#define wasm_rt_externref_null_value ((wasm_rt_externref_t)NULL)

typedef struct {
  uint8_t* data;
  uint8_t* data_end;
  uint32_t page_size;
  uint64_t pages, max_pages, size;
  bool is64;
} wasm_rt_memory_t;
typedef struct { wasm_rt_funcref_t* data; uint32_t max_size, size; } wasm_rt_funcref_table_t;
typedef struct { wasm_rt_externref_t* data; uint32_t max_size, size; } wasm_rt_externref_table_t;

static inline bool wasm_rt_is_initialized(void) { return true; }
static void wasm_rt_trap(wasm_rt_trap_t) __attribute__((noreturn));
static void wasm_rt_allocate_memory(wasm_rt_memory_t*, uint64_t initial_pages, uint64_t max_pages, bool is64, uint32_t page_size);
static void wasm_rt_free_memory(wasm_rt_memory_t*);
static uint64_t wasm_rt_grow_memory(wasm_rt_memory_t*, uint64_t delta_pages);
static void wasm_rt_allocate_funcref_table(wasm_rt_funcref_table_t*, uint32_t elements, uint32_t max_elements);
static void wasm_rt_free_funcref_table(wasm_rt_funcref_table_t*);
#endif
