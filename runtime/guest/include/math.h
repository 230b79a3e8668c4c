// SPDX-License-Identifier: Apache-2.0
// Floating-point names of generated code, as WebAssembly defines them (signed zero and NaN kept). fabs, sqrt and copysign are single
// instructions. Above 2^52 a double has no fraction; below, the conversion to an integer and back is exact.
#ifndef VIGIL_MATH_H
#define VIGIL_MATH_H
#include <stdint.h>
#define NAN __builtin_nan("")
#define INFINITY __builtin_inf()
#define isnan(x) __builtin_isnan(x)
#define signbit(x) __builtin_signbit(x)
#define fabs __builtin_fabs
#define fabsf __builtin_fabsf
#define sqrt __builtin_sqrt
#define sqrtf __builtin_sqrtf
#define copysign __builtin_copysign
#define copysignf __builtin_copysignf
#define MATH static inline __attribute__((unused))

MATH int has_fraction(double x) { return fabs(x) < 4503599627370496.0; }
MATH double trunc(double x) { return has_fraction(x) ? copysign((double)(int64_t)x, x) : x; }
MATH double floor(double x) {
  double t = trunc(x);
  return t > x ? t - 1.0 : t;
}
MATH double ceil(double x) {
  double t = trunc(x);
  return t < x ? copysign(t + 1.0, x) : t;
}
MATH double nearbyint(double x) {
  // The addition rounds to nearest, ties to even, in the default rounding mode, which nothing here changes.
  if (!has_fraction(x)) return x;
  volatile double shifted = fabs(x) + 4503599627370496.0;
  return copysign(shifted - 4503599627370496.0, x);
}
MATH float truncf(float x) { return (float)trunc(x); }
MATH float floorf(float x) { return (float)floor(x); }
MATH float ceilf(float x) { return (float)ceil(x); }
MATH float nearbyintf(float x) { return (float)nearbyint(x); }
#endif
