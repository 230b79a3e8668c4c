// SPDX-License-Identifier: Apache-2.0
// The one order in which retention writes series: by sender, kind, name, labels; never by index, which depends on who came first in
// this life of metricsd. So a window has the same bytes whoever writes it, before or after a reboot.
// Invariant: every series of the registry stands in the table once, from its making on.
// Limit: limits.metricsd series_max; an insertion moves at most 8 KiB.
import { METRICSD_SERIES_MAX } from "../../../gen/limits";
import { compareBytes } from "../../../lib/bounded/text";

/** What the order compares, 32 bytes: the texts lie in the registry's arena and never move. */
@unmanaged
class Identity {
  sender: u64;
  name: usize;
  labels: usize;
  nameLen: u32;
  labelsLen: u32;
  kind: u32;
  pad: u32;
}
const IDENTITY_BYTES: u32 = 32;
const identities: usize = memory.data(METRICSD_SERIES_MAX * 32, 8);
const table: usize = memory.data(METRICSD_SERIES_MAX * 2, 2);
let count: u32 = 0;

@inline function identityAt(index: u32): Identity {
  return changetype<Identity>(identities + index * IDENTITY_BYTES);
}

/** Series in the order. */
export function orderedSeries(): u32 {
  return count;
}
/** Index of the series at a position. */
@inline export function seriesInOrder(position: u32): u32 {
  return <u32>load<u16>(table + (position << 1));
}

function compare(a: Identity, b: Identity): i32 {
  if (a.sender != b.sender) return a.sender < b.sender ? -1 : 1;
  if (a.kind != b.kind) return a.kind < b.kind ? -1 : 1;
  const names = compareBytes(a.name, a.nameLen, b.name, b.nameLen);
  return names != 0 ? names : compareBytes(a.labels, a.labelsLen, b.labels, b.labelsLen);
}

/** Notes a series that was just made. */
export function noteSeries(index: u32, sender: u64, kind: u8, name: usize, nameLen: u32, labels: usize, labelsLen: u32): void {
  const own = identityAt(index);
  own.sender = sender;
  own.kind = <u32>kind;
  own.name = name;
  own.nameLen = nameLen;
  own.labels = labels;
  own.labelsLen = labelsLen;
  let low: u32 = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compare(identityAt(seriesInOrder(middle)), own) < 0) low = middle + 1;
    else high = middle;
  }
  const at = table + (low << 1);
  memory.copy(at + 2, at, (count - low) << 1);
  store<u16>(at, <u16>index);
  count += 1;
}
