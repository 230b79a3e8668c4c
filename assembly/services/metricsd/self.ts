// SPDX-License-Identifier: Apache-2.0
// metricsd measured by itself: rejects, export failures, quarantines, expiries and redactions as ordinary series of its own.
//
// Invariant: what retention writes is in STATS alone (a series of it would have itself written again for ever); its failures are here.
// These series are registered at start, inside the total cap, and never refused; they are refreshed when an export is
// due and become dirty only when their value changed, so exporting them causes no further export.
import { SVC_METRICSD_ID } from "../../gen/services";
import { sys_time_ns } from "../../gen/syscalls";
import { redactionCount } from "../../lib/redact/redact";
import {
  MT_INVALID_ARGS, MT_KIND_COUNTER, MT_NOT_FOUND, MT_OK, MT_OVER_LIMIT, MT_RATE_LIMITED, MT_RETENTION_UNAVAILABLE, MT_STALE_HANDLE,
  MT_UNIT_NONE,
} from "../../lib/wire/metricsd";
import { recordsFailed } from "./export";
import { apply, resolve, resolved } from "./registry";
import { answered } from "./rejects";
import { samplesDropped } from "./retention/builder";
import { retentionMode, retentionRetries } from "./retention/index";
import { jobsLost, writeFailures } from "./retention/jobs";
import { claimSender, quarantineCount } from "./senders";
import { spansExpired } from "./spans";

const NAMES: string =
  "metricsd.start metricsd.reject.invalid_args metricsd.reject.over_limit metricsd.reject.rate_limited " +
  "metricsd.reject.not_found metricsd.reject.stale_handle metricsd.export.failed metricsd.quarantine " +
  "metricsd.spans.expired metricsd.redactions metricsd.retention.failed metricsd.retention.dropped metricsd.retention.unavailable";
const SELF: u32 = 13;
const START: u32 = 0;
const indices: usize = memory.data(SELF * 2, 2);
/** What each counted when it was last brought up to date: a restored series goes on from the value of earlier boots. */
const known: usize = memory.data(SELF * 8, 8);
const nameBuffer: usize = memory.data(48);

/** Registers the series. False when the recipe leaves no room for them. */
export function selfInit(): bool {
  const now_ns = <u64>sys_time_ns();
  const sender = claimSender(SVC_METRICSD_ID, now_ns);
  sender.seriesMax = SELF;
  let which: u32 = 0;
  let length: u32 = 0;
  const all = <u32>NAMES.length;
  for (let i: u32 = 0; i <= all; i++) {
    const c: u32 = i < all ? <u32>NAMES.charCodeAt(i) : 32;
    if (c != 32) {
      store<u8>(nameBuffer + length, <u8>c);
      length += 1;
      continue;
    }
    if (resolve(sender, MT_KIND_COUNTER, MT_UNIT_NONE, nameBuffer, length, 0, 0, now_ns) != MT_OK) return false;
    store<u16>(indices + (which << 1), <u16>resolved);
    which += 1;
    length = 0;
  }
  assert(which == SELF);
  return true;
}

/** Index of the series that the evidence for `ready` updates. */
export function startSeries(): u32 {
  return <u32>load<u16>(indices + (START << 1));
}

function current(which: u32): u64 {
  if (which == 1) return answered(MT_INVALID_ARGS);
  if (which == 2) return answered(MT_OVER_LIMIT);
  if (which == 3) return answered(MT_RATE_LIMITED);
  if (which == 4) return answered(MT_NOT_FOUND);
  if (which == 5) return answered(MT_STALE_HANDLE);
  if (which == 6) return recordsFailed();
  if (which == 7) return quarantineCount();
  if (which == 8) return spansExpired();
  if (which == 9) return redactionCount();
  if (which == 10) return writeFailures() + retentionRetries();
  if (which == 11) return jobsLost() + samplesDropped();
  return retentionMode() == MT_RETENTION_UNAVAILABLE ? 1 : 0;
}

/** Brings the series up to date; only those that changed become dirty. */
export function selfRefresh(): void {
  for (let which: u32 = 1; which < SELF; which++) {
    const index = <u32>load<u16>(indices + (which << 1));
    const value = current(which);
    const at = known + (which << 3);
    if (value > load<u64>(at)) apply(index, value - load<u64>(at));
    store<u64>(at, value);
  }
}
