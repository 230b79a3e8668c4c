// SPDX-License-Identifier: Apache-2.0
// Which statefsd accepted the LAZY batches that no SYNC covered yet. A new statefsd knows nothing of what its predecessor accepted and had
// not written, and would answer a SYNC with OK: so each route remembers by which of its resolutions a LAZY batch was last accepted.
// Invariant: the first SYNC over a route by whose earlier resolution a LAZY batch was accepted, and not synced, does not succeed. It errs
// on the safe side: what lazy_delay_ns or another write had made durable before the end counts as lost too.
// Limits: LAZY_ROUTES_MAX routes with unsynced batches in a service; over one more a batch is sent without the flag, durable when answered.
import { Route } from "../nexus-ipc/resolve";

const LAZY_ROUTES_MAX: u32 = 4;
// {route u32 (0: free), resolution u32 that accepted the last batch, lost u32: an earlier one's were not synced, pad}
const ENTRY_BYTES: u32 = 16;
const entries: usize = memory.data(LAZY_ROUTES_MAX * 16, 4);

function find(route: u32): usize {
  for (let i: u32 = 0; i < LAZY_ROUTES_MAX; i++) {
    const entry = entries + i * ENTRY_BYTES;
    if (load<u32>(entry) == route) return entry;
  }
  return 0;
}

/** Whether a LAZY batch may be sent over the route: there is room to remember it. */
export function lazyRoom(route: Route): bool {
  return find(<u32>changetype<usize>(route)) != 0 || find(0) != 0;
}

/** A LAZY batch was answered OK by what the route led to at its `resolution`; false: no room to remember it, so nobody may rely on it. */
export function lazyAccepted(route: Route, resolution: u32): bool {
  const own = <u32>changetype<usize>(route);
  let entry = find(own);
  if (entry == 0) {
    entry = find(0);
    if (entry == 0) return false;
    store<u32>(entry, own);
    store<u32>(entry, resolution, 4);
    store<u32>(entry, 0, 8);
  }
  const before = load<u32>(entry, 4);
  if (resolution != before) store<u32>(entry, 1, 8);
  store<u32>(entry, max<u32>(before, resolution), 4);
  return true;
}

/** Before a SYNC, or at its OK, by what the route led to at its `resolution`: whether batches that an earlier one accepted were not synced.
 *  Said once. */
export function lazyLost(route: Route, resolution: u32): bool {
  const entry = find(<u32>changetype<usize>(route));
  if (entry == 0) return false;
  const lost = load<u32>(entry, 8) != 0 || load<u32>(entry, 4) < resolution;
  store<u32>(entry, 0, 8);
  if (load<u32>(entry, 4) < resolution) store<u32>(entry, 0);
  return lost;
}

/** A SYNC was answered OK by what the route led to at its `resolution`. */
export function lazySynced(route: Route, resolution: u32): void {
  const entry = find(<u32>changetype<usize>(route));
  if (entry != 0 && load<u32>(entry, 4) == resolution && load<u32>(entry, 8) == 0) store<u32>(entry, 0);
}
