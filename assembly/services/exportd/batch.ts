// SPDX-License-Identifier: Apache-2.0
// Owns: one OTLP request of spans or of log records while it is written: a run of one service and one scope after the other.
// Invariant: an item is whole in the request or not in it; a request that has no room for one is queued and the next begun. An item that
// fits none is cut and counted. Limits: limits.exportd part_bytes_max a request.
import { EXPORTD_PART_BYTES_MAX, LOGD_SCOPE_BYTES_MAX } from "../../gen/limits";
import { equalsBytes } from "../../lib/bounded/text";
import { PbWriter, openScopeEntryBytes } from "../../lib/otlp/index";
import { XP_STAT_RECORDS_CUT, XP_STAT_RECORDS_LOST } from "../../lib/wire/exportd";
import { queueBatch } from "./queue";
import { SCOPE_VERSION, openServiceEntry } from "./resource";
import { addTally, tally } from "./tally";

/** 128 bytes of memory: place it with `changetype<Batch>(memory.data(128, 8))`, and `place` it. */
@unmanaged
export class Batch {
  private base: usize;
  private writer: PbWriter;
  private stream: u32;
  private items: u32;
  private entry: u32;
  private scopeEntry: u32;
  private sender: u64;
  private scopeBytes: u32;
  /** length of the request before the item that is being written, and whether a run was open then */
  private before: u32;
  private fresh: u32;
  private scope: usize;

  /** `buffer`: part_bytes_max bytes; `scope`: limits.logd scope_bytes_max bytes. */
  place(stream: u32, buffer: usize, scope: usize, writer: PbWriter): void {
    assert(offsetof<Batch>() <= 128);
    this.stream = stream;
    this.base = buffer;
    this.scope = scope;
    this.writer = writer;
    this.reset();
  }
  private reset(): void {
    this.writer.reset(this.base, EXPORTD_PART_BYTES_MAX);
    this.items = 0;
    this.entry = 0;
  }

  /** Begins an item of this service and scope: the writer to put it into. */
  begin(sender: u64, scope: usize, scopeBytes: u32): PbWriter {
    const same = this.entry != 0 && sender == this.sender && equalsBytes(this.scope, this.scopeBytes, scope, scopeBytes);
    if (!same) this.closeRun();
    this.before = this.writer.length;
    this.fresh = u32(!same);
    if (same) return this.writer;
    this.entry = openServiceEntry(this.writer, sender);
    this.scopeEntry = openScopeEntryBytes(this.writer, scope, scopeBytes, SCOPE_VERSION);
    this.sender = sender;
    this.scopeBytes = min<u32>(scopeBytes, LOGD_SCOPE_BYTES_MAX);
    memory.copy(this.scope, scope, this.scopeBytes);
    return this.writer;
  }

  /** Ends the item: true when it is in the request; else it has to be begun again, once, in the request that this call began. */
  end(): bool {
    if (this.writer.ok) {
      this.items++;
      return true;
    }
    this.writer.rewind(this.before);
    if (this.fresh != 0) this.entry = 0;
    this.flush();
    return false;
  }
  /** The item did not fit an empty request. */
  cut(): void {
    addTally(XP_STAT_RECORDS_CUT, 1);
  }

  private closeRun(): void {
    if (this.entry == 0) return;
    this.writer.close(this.scopeEntry);
    this.writer.close(this.entry);
    this.entry = 0;
  }

  /** Queues what was written, and begins the next request. */
  flush(): void {
    this.closeRun();
    if (this.items != 0) queueBatch(this.stream, this.items, tally(XP_STAT_RECORDS_LOST), this.base, this.writer.length);
    this.reset();
  }
}
