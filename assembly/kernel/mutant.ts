// SPDX-License-Identifier: Apache-2.0
// The one call that exists in the mutant image alone; in the shipping image its table entry is sys_bad and nothing reaches this.

import { mutant_chosen } from "../gen/mutants";

export function sys_mutant(): i64 { return mutant_chosen(); }
