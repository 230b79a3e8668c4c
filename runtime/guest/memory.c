// SPDX-License-Identifier: Apache-2.0
// memcpy, memmove, memset and memcmp for kernel and services, by 8-byte words; the last word of a copy overlaps the one before it, so that
// no forward copy goes byte by byte. Compiled into each image's one translation unit with -fno-tree-loop-distribute-patterns,
// without which GCC would turn these loops into calls of themselves.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint64_t __attribute__((may_alias, aligned(1))) word;
typedef uint32_t __attribute__((may_alias, aligned(1))) half;

// Copies under 8 bytes. All is read before anything is written, so the ends may overlap.
static inline void copy_short(uint8_t* to, const uint8_t* from, size_t bytes) {
  if (bytes >= 4) {
    half first = *(const half*)from, last = *(const half*)(from + bytes - 4);
    *(half*)to = first, *(half*)(to + bytes - 4) = last;
  } else if (bytes) {
    uint8_t first = from[0], middle = from[bytes / 2], last = from[bytes - 1];
    to[0] = first, to[bytes / 2] = middle, to[bytes - 1] = last;
  }
}

static inline void copy_32(uint8_t* to, const uint8_t* from) {
  word a = ((const word*)from)[0], b = ((const word*)from)[1], c = ((const word*)from)[2], d = ((const word*)from)[3];
  ((word*)to)[0] = a, ((word*)to)[1] = b, ((word*)to)[2] = c, ((word*)to)[3] = d;
}

static inline void copy_64(uint8_t* to, const uint8_t* from) {
  copy_32(to, from);
  copy_32(to + 32, from + 32);
}

void* memcpy(void* restrict target, const void* restrict source, size_t bytes) {
  uint8_t* to = target;
  const uint8_t* from = source;
  if (bytes < 8) {
    copy_short(to, from, bytes);
    return target;
  }
  for (; bytes >= 64; bytes -= 64, to += 64, from += 64) copy_64(to, from);
  if (bytes >= 32) copy_32(to, from), bytes -= 32, to += 32, from += 32;
  for (; bytes >= 8; bytes -= 8, to += 8, from += 8) *(word*)to = *(const word*)from;
  if (bytes) *(word*)(to + bytes - 8) = *(const word*)(from + bytes - 8);
  return target;
}

void* memmove(void* target, const void* source, size_t bytes) {
  uint8_t* to = target;
  const uint8_t* from = source;
  if (bytes < 8) {
    copy_short(to, from, bytes);
    return target;
  }
  if (to <= from || to >= from + bytes) {
    // Where the ends overlap, the last word must be read before it is written over.
    word last = *(const word*)(from + bytes - 8), *end = (word*)(to + bytes - 8);
    for (; bytes >= 64; bytes -= 64, to += 64, from += 64) copy_64(to, from);
    if (bytes >= 32) copy_32(to, from), bytes -= 32, to += 32, from += 32;
    for (; bytes > 8; bytes -= 8, to += 8, from += 8) *(word*)to = *(const word*)from;
    *end = last;
    return target;
  }
  for (to += bytes, from += bytes; bytes >= 8; bytes -= 8) to -= 8, from -= 8, *(word*)to = *(const word*)from;
  while (bytes--) *--to = *--from;
  return target;
}

void* memset(void* target, int value, size_t bytes) {
  uint8_t* to = target;
  uint64_t pattern = (uint8_t)value * 0x0101010101010101ull;
  for (; bytes >= 8; bytes -= 8, to += 8) *(word*)to = pattern;
  while (bytes--) *to++ = (uint8_t)value;
  return target;
}

int memcmp(const void* a, const void* b, size_t bytes) {
  const uint8_t *left = a, *right = b;
  for (; bytes && *left == *right; bytes--) left++, right++;
  return bytes ? *left - *right : 0;
}
