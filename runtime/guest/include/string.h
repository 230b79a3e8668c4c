// SPDX-License-Identifier: Apache-2.0
// The four memory functions that GCC and wasm2c rely on; defined in memory.c.
#ifndef VIGIL_STRING_H
#define VIGIL_STRING_H
#include <stddef.h>
void* memcpy(void* restrict target, const void* restrict source, size_t bytes);
void* memmove(void* target, const void* source, size_t bytes);
void* memset(void* target, int value, size_t bytes);
int memcmp(const void* a, const void* b, size_t bytes);
#endif
