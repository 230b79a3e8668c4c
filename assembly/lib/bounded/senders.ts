// SPDX-License-Identifier: Apache-2.0
// A bounded table of what a service keeps for each sender (buckets, counters). When it is full, the least recently used entry
// makes room, so a new sender is never locked out; evictions are counted.
// Invariant: use is ordered by a counter, not by the clock, so eviction is deterministic; ids are kernel-stamped, so a peer
// cannot invent senders. Limits: `capacity` entries of `payloadBytes`; a look costs at most one pass over the table.

/** id u64, used u64, then the payload. */
export const SENDER_HEAD_BYTES: u32 = 16;

/** 40 bytes of memory, placed by the owner. */
@unmanaged
export class SenderTable {
  base: usize;
  capacity: u32;
  stride: u32;
  count: u32;
  /** entry found last: the next message is likely from the same sender */
  last: u32;
  /** non-zero when the last claim made a new entry */
  fresh: u32;
  uses: u64;
  evictions: u64;

  /** Starts empty over capacity * (16 + payloadBytes) bytes at `base`. */
  reset(base: usize, capacity: u32, payloadBytes: u32): SenderTable {
    this.base = base;
    this.capacity = capacity;
    this.stride = SENDER_HEAD_BYTES + payloadBytes;
    this.count = 0;
    this.last = 0;
    this.fresh = 0;
    this.uses = 0;
    this.evictions = 0;
    return this;
  }
  /** Address of the payload of `id`, or 0; does not count as use. */
  find(id: u64): usize {
    const at = this.search(id);
    return at ? at + SENDER_HEAD_BYTES : 0;
  }
  /** Address of the payload of `id`, made (zeroed, `fresh`) if there is none; the least recently used entry goes when full. */
  claim(id: u64): usize {
    let at = this.search(id);
    this.fresh = 0;
    if (at == 0) {
      at = this.room();
      memory.fill(at, 0, this.stride);
      store<u64>(at, id);
      this.fresh = 1;
    }
    this.uses++;
    store<u64>(at, this.uses, 8);
    return at + SENDER_HEAD_BYTES;
  }
  /** Payload address of entry `index` (0 .. count - 1), for counting over all; its id is 16 bytes before. */
  payload(index: u32): usize {
    return this.base + index * this.stride + SENDER_HEAD_BYTES;
  }
  idOf(index: u32): u64 {
    return load<u64>(this.base + index * this.stride);
  }

  private search(id: u64): usize {
    if (this.last < this.count) {
      const likely = this.base + this.last * this.stride;
      if (load<u64>(likely) == id) return likely;
    }
    let at = this.base;
    for (let i: u32 = 0; i < this.count; i++, at += this.stride) {
      if (load<u64>(at) == id) {
        this.last = i;
        return at;
      }
    }
    return 0;
  }
  private room(): usize {
    if (this.count < this.capacity) {
      this.last = this.count;
      this.count++;
      return this.base + this.last * this.stride;
    }
    let oldest: u32 = 0;
    let oldestUse = u64.MAX_VALUE;
    for (let i: u32 = 0; i < this.count; i++) {
      const use = load<u64>(this.base + i * this.stride, 8);
      if (use < oldestUse) {
        oldestUse = use;
        oldest = i;
      }
    }
    this.evictions++;
    this.last = oldest;
    return this.base + oldest * this.stride;
  }
}
