// SPDX-License-Identifier: Apache-2.0
// The one bounded retry loop: `retry.begin(attempts, budget_ns); while (retry.next()) { ...; }` ends after the attempts or at the
// deadline, whichever comes first; both are told apart by `timedOut`.
// Limit: attempts are clamped to limits.ipc retry_max.
import { IPC_RETRY_MAX } from "../../gen/limits";
import { sys_time_ns } from "../../gen/syscalls";
import { deadlineIn } from "./client";

/** 24 bytes of memory: place it with `changetype<Retry>(memory.data(24, 8))`. */
@unmanaged
export class Retry {
  deadline_ns: u64;
  left: u32;
  used: u32;
  late: u32;

  begin(attempts: u32, budget_ns: u64): Retry {
    this.left = min<u32>(attempts, IPC_RETRY_MAX);
    this.used = 0;
    this.late = 0;
    this.deadline_ns = deadlineIn(budget_ns);
    return this;
  }
  /** True when another attempt may be made now. */
  next(): bool {
    if (this.left == 0) return false;
    if (this.used != 0 && <u64>sys_time_ns() >= this.deadline_ns) {
      this.late = 1;
      return false;
    }
    this.left--;
    this.used++;
    return true;
  }
  get timedOut(): bool {
    return this.late != 0;
  }
}
