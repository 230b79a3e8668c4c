// SPDX-License-Identifier: Apache-2.0
// wasm2c's one assert states that the runtime is initialised, which it always is here.
#ifndef assert
#define assert(x) ((void)0)
#endif
