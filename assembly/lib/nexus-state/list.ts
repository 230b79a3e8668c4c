// SPDX-License-Identifier: Apache-2.0
// LIST with a cursor: keys that begin with a prefix, in byte order, page after page.
//
//   const list: StateList = changetype<StateList>(memory.data(StateList.BYTES, 4));
//   list.begin(prefix, prefixLen);
//   while (list.next(state, BUDGET_NS)) { ... list.key, list.keyBytes, list.valueBytes ... }
//   if (list.outcome != 0) it ended early
//
// Invariant: the cursor is the last key that was handed out, so what is put or deleted meanwhile neither repeats nor skips another key.
// Limits: one list at a time in a service (one page is held, statically); a page of limits.statefsd list_page_bytes_max.
import { STATEFSD_LIST_PAGE_BYTES_MAX } from "../../gen/limits";
import { beginRequest, callRequest, reply } from "../nexus-ipc/client";
import { SF } from "../nexus-ipc/frame";
import { Route } from "../nexus-ipc/resolve";
import { Reader } from "../bounded/writer";
import { SF_KEY_BYTES_MAX, SF_OP_LIST } from "../wire/statefsd";
import { STATE_BROKEN } from "./result";
import { settleEmptyHead, stateRoute } from "./store";

const page: usize = memory.data(4096, 8);
const reader: Reader = changetype<Reader>(memory.data(16, 4));
const prefixBytes: usize = memory.data(256);
const afterBytes: usize = memory.data(256);
let prefixLen: u32 = 0;
let afterLen: u32 = 0;
let left: u32 = 0;
let more: bool = false;

/** A walk over keys. */
@unmanaged
export class StateList {
  /** The key handed out last; valid until the next call of next. */
  key: usize;
  keyBytes: u32;
  /** Length of its value. */
  valueBytes: u32;
  /** Keys of a page; 0: as many as fit. */
  pageKeys: u32;
  pages: u32;
  /** 0 at the end of the list, else why it ended early (STATE_*, REPLY_* or a kernel error). */
  outcome: i32;

  static readonly BYTES: u32 = 24;

  /** Starts over. A prefix longer than a key can be finds nothing. */
  begin(prefix: usize, bytes: u32, pageKeys: u32 = 0): StateList {
    prefixLen = min<u32>(bytes, SF_KEY_BYTES_MAX);
    memory.copy(prefixBytes, prefix, prefixLen);
    afterLen = 0;
    left = 0;
    more = bytes <= SF_KEY_BYTES_MAX;
    this.pageKeys = pageKeys;
    this.pages = 0;
    this.outcome = 0;
    return this;
  }

  /** Steps to the next key; false at the end or on a failure. */
  next(route: Route, budget_ns: u64): bool {
    while (left == 0) {
      if (!more) return false;
      this.outcome = fetch(route, this.pageKeys, budget_ns);
      if (this.outcome != 0) {
        more = false;
        return false;
      }
      this.pages++;
    }
    left--;
    this.keyBytes = <u32>reader.takeU16();
    this.valueBytes = reader.takeU32();
    this.key = reader.takeBytes(this.keyBytes);
    if (!reader.ok || this.keyBytes > SF_KEY_BYTES_MAX) {
      this.outcome = STATE_BROKEN;
      left = 0;
      more = false;
      return false;
    }
    afterLen = this.keyBytes;
    memory.copy(afterBytes, this.key, afterLen);
    return true;
  }
}

// A page that says `more` and holds nothing would never end.
function fetch(route: Route, most: u32, budget_ns: u64): i32 {
  const handle = stateRoute(route);
  if (handle < 0) return handle;
  const frame = beginRequest(SF, SF_OP_LIST).putU16(<u16>prefixLen).putU16(<u16>afterLen).putU16(<u16>most);
  frame.putBytes(prefixBytes, prefixLen).putBytes(afterBytes, afterLen);
  const outcome = settleEmptyHead(callRequest(<u32>handle, budget_ns));
  if (outcome != 0) {
    route.dropIfDead(outcome);
    return outcome;
  }
  const bytes = reply.body.left;
  assert(STATEFSD_LIST_PAGE_BYTES_MAX <= 4096);
  if (bytes > STATEFSD_LIST_PAGE_BYTES_MAX) return STATE_BROKEN;
  memory.copy(page, reply.body.takeBytes(bytes), bytes);
  reader.reset(page, bytes);
  left = <u32>reader.takeU16();
  more = reader.takeU8() != 0;
  reader.takeU8();
  return !reader.ok || (more && left == 0) ? STATE_BROKEN : 0;
}
