// SPDX-License-Identifier: Apache-2.0
// Named by generated code for tail calls, which our modules do not use.
#define alloca __builtin_alloca
