// SPDX-License-Identifier: Apache-2.0
// The bare image of GPU telemetry: scrapes of lib/gpu (assembly/bench/gpu.ts, translated and compiled like a service's). Protocol: bare.c.
// Invariant: a figure is printed only after every scrape of the row emitted the same number of series, and no sample was refused.
// Limit: memory of MEMORY_BYTES for the module. The figure is the mean of ROUNDS scrapes after WARM_UP, rounded down.
#define MEMORY_BYTES (90 * 65536u)
#define WARM_UP 4
#define ROUNDS 16
#include "bare.c"

static uint64_t scrapes(uint32_t all, uint32_t samples, uint32_t series) {
  if (w2c_svc_bench_begin(&instance, all) < samples) fail("samples");
  uint64_t spent = 0;
  for (uint32_t round = 0; round < WARM_UP + ROUNDS; round++) {
    w2c_svc_bench_play(&instance, round);
    uint64_t start = instructions();
    w2c_svc_bench_scrape(&instance, round);
    if (round >= WARM_UP) spent += instructions() - start;
    if (w2c_svc_bench_series(&instance) < series) fail("series");
  }
  return spent / ROUNDS;
}

__attribute__((noreturn, used)) void bench_main(void) {
  begin();
  figure("dcgm_emit_8x12", scrapes(0, 96, 96));
  figure("otlp_bytes_8x12", w2c_svc_bench_bytes(&instance));
  figure("dcgm_emit_8xh100_full", scrapes(1, 1600, 1200));
  put("bench: end\n");
  power_off(0);
}
