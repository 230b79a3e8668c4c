// SPDX-License-Identifier: Apache-2.0
// The bare image of the hashes: CRC-32C and SHA-256 over the same bytes once as a WASM module (assembly/bench/hash.ts, translated and
// compiled like a service's) and once as C (twins.c). Protocol: bare.c.
// Invariant: a figure is printed only after all four results agree with each other and the short messages with published vectors.
// Limit: memory of MEMORY_BYTES for the module.
#define BENCH_BYTES 32768u
#define MEMORY_BYTES (4 * 65536u)
#define WARM_UP_BYTES 4096u
#include "bare.c"
#include "twins.c"

static uint8_t native_digest[32];

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
  begin();
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
