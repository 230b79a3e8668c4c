// SPDX-License-Identifier: Apache-2.0
// The canaries of `init: up NAME` and, in the bench, `init: without NAME`: each mutant leaves one line out. Folds to false in the shipping
// image.
import {
  MUT_INIT_SKIPS_UP_BUNDLEMGRD, MUT_INIT_SKIPS_UP_DCGMD, MUT_INIT_SKIPS_UP_EXECD, MUT_INIT_SKIPS_UP_EXPORTD,
  MUT_INIT_SKIPS_UP_LOGD, MUT_INIT_SKIPS_UP_METRICSD,
  MUT_INIT_SKIPS_UP_POLICYD, MUT_INIT_SKIPS_UP_PORTD, MUT_INIT_SKIPS_UP_PROBE_A, MUT_INIT_SKIPS_UP_PROBE_B,
  MUT_INIT_SKIPS_UP_PROBE_C, MUT_INIT_SKIPS_UP_RNGD, MUT_INIT_SKIPS_UP_SAMGRD, MUT_INIT_SKIPS_UP_SELFTEST, MUT_INIT_SKIPS_UP_STATEFSD,
  MUT_INIT_SKIPS_UP_KEYSTORED, MUT_INIT_SKIPS_UP_DSOFTBUSD, MUT_INIT_SKIPS_UP_TIMED, mutant,
} from "../../gen/mutants";
import {
  SVC_BUNDLEMGRD_ID, SVC_DCGMD_ID, SVC_EXECD_ID, SVC_EXPORTD_ID, SVC_LOGD_ID, SVC_METRICSD_ID, SVC_POLICYD_ID, SVC_PORTD_ID,
  SVC_PROBE_A_ID, SVC_PROBE_B_ID,
  SVC_PROBE_C_ID, SVC_RNGD_ID, SVC_SAMGRD_ID,
  SVC_KEYSTORED_ID, SVC_DSOFTBUSD_ID, SVC_SELFTEST_ID, SVC_STATEFSD_ID, SVC_TIMED_ID,
} from "../../gen/services";
import { idOf } from "./manifest";

export function skipsUp(index: u32): bool {
  const id = idOf(index);
  if (mutant(MUT_INIT_SKIPS_UP_POLICYD)) return id == SVC_POLICYD_ID;
  if (mutant(MUT_INIT_SKIPS_UP_LOGD)) return id == SVC_LOGD_ID;
  if (mutant(MUT_INIT_SKIPS_UP_SAMGRD)) return id == SVC_SAMGRD_ID;
  if (mutant(MUT_INIT_SKIPS_UP_STATEFSD)) return id == SVC_STATEFSD_ID;
  if (mutant(MUT_INIT_SKIPS_UP_METRICSD)) return id == SVC_METRICSD_ID;
  if (mutant(MUT_INIT_SKIPS_UP_TIMED)) return id == SVC_TIMED_ID;
  if (mutant(MUT_INIT_SKIPS_UP_RNGD)) return id == SVC_RNGD_ID;
  if (mutant(MUT_INIT_SKIPS_UP_KEYSTORED)) return id == SVC_KEYSTORED_ID;
  if (mutant(MUT_INIT_SKIPS_UP_DSOFTBUSD)) return id == SVC_DSOFTBUSD_ID;
  if (mutant(MUT_INIT_SKIPS_UP_BUNDLEMGRD)) return id == SVC_BUNDLEMGRD_ID;
  if (mutant(MUT_INIT_SKIPS_UP_EXECD)) return id == SVC_EXECD_ID;
  if (mutant(MUT_INIT_SKIPS_UP_PORTD)) return id == SVC_PORTD_ID;
  if (mutant(MUT_INIT_SKIPS_UP_DCGMD)) return id == SVC_DCGMD_ID;
  if (mutant(MUT_INIT_SKIPS_UP_EXPORTD)) return id == SVC_EXPORTD_ID;
  if (mutant(MUT_INIT_SKIPS_UP_SELFTEST)) return id == SVC_SELFTEST_ID;
  if (mutant(MUT_INIT_SKIPS_UP_PROBE_A)) return id == SVC_PROBE_A_ID;
  if (mutant(MUT_INIT_SKIPS_UP_PROBE_B)) return id == SVC_PROBE_B_ID;
  if (mutant(MUT_INIT_SKIPS_UP_PROBE_C)) return id == SVC_PROBE_C_ID;
  return false;
}
