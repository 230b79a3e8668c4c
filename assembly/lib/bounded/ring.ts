// SPDX-License-Identifier: Apache-2.0
// The one byte ring: entries of any length up to the capacity, oldest dropped (and counted) to make room, for ever.
// Invariant: entries lie in order from `head`, each as a u32 length and its bytes, both wrapping at the end; used is the sum of
// 4 + length over `entries`, and never more than capacity. A position is an offset in [0, capacity).
// Limits: the owner bounds entries beside bytes if it must (dropOldest).

const PREFIX_BYTES: u32 = 4;

/** 40 bytes of memory, placed by the owner. */
@unmanaged
export class ByteRing {
  base: usize;
  capacity: u32;
  head: u32;
  used: u32;
  entries: u32;
  /** entries dropped to make room, since reset */
  dropped: u64;
  private scratch: u32;

  /** Starts empty over `capacity` bytes at `base`. */
  reset(base: usize, capacity: u32): ByteRing {
    this.base = base;
    this.capacity = capacity;
    this.head = 0;
    this.used = 0;
    this.entries = 0;
    this.dropped = 0;
    return this;
  }
  /** Begins an entry of exactly `bytes`: drops the oldest until it fits and returns its position, or -1 when it never can.
   *  The owner then appends exactly that many bytes. */
  begin(bytes: u32): i32 {
    if (bytes > this.capacity - PREFIX_BYTES) return -1;
    while (this.capacity - this.used < bytes + PREFIX_BYTES) this.dropOldest();
    const position = this.wrap(this.head + this.used);
    this.scratch = bytes;
    this.entries++;
    this.append(changetype<usize>(this) + offsetof<ByteRing>("scratch"), PREFIX_BYTES);
    return <i32>position;
  }
  /** Position that the next entry gets, whatever is dropped for it. */
  get end(): u32 {
    return this.wrap(this.head + this.used);
  }
  /** An entry of `bytes` in one piece: the address at which the owner then writes all of it, or 0 when it would wrap at the end or never
   *  fits; nothing has happened then, and begin and append do it. */
  claim(bytes: u32): usize {
    const at = this.end;
    if (bytes > this.capacity - PREFIX_BYTES || at + PREFIX_BYTES + bytes > this.capacity) return 0;
    while (this.capacity - this.used < bytes + PREFIX_BYTES) this.dropOldest();
    store<u32>(this.base + at, bytes);
    this.used += PREFIX_BYTES + bytes;
    this.entries++;
    return this.base + at + PREFIX_BYTES;
  }
  /** Adds bytes to the entry begun last. */
  append(from: usize, bytes: u32): void {
    const at = this.wrap(this.head + this.used);
    const first = min<u32>(bytes, this.capacity - at);
    memory.copy(this.base + at, from, first);
    if (first < bytes) memory.copy(this.base, from + first, bytes - first);
    this.used += bytes;
  }
  /** begin and append in one. */
  push(from: usize, bytes: u32): bool {
    if (this.begin(bytes) < 0) return false;
    this.append(from, bytes);
    return true;
  }
  /** Length of the entry at a position. */
  lengthAt(position: u32): u32 {
    const at = changetype<usize>(this) + offsetof<ByteRing>("scratch");
    this.copyOut(position, PREFIX_BYTES, at);
    return this.scratch;
  }
  /** Position of the entry after this one. */
  after(position: u32): u32 {
    return this.wrap(position + PREFIX_BYTES + this.lengthAt(position));
  }
  /** Copies `bytes` of the entry at `position`, from its byte `skip` on, to `to`. */
  copyEntry(position: u32, skip: u32, bytes: u32, to: usize): void {
    this.copyOut(this.wrap(position + PREFIX_BYTES + skip), bytes, to);
  }
  /** Removes the oldest entry without counting it as dropped (it was used). */
  pop(): void {
    if (this.entries == 0) return;
    const bytes = PREFIX_BYTES + this.lengthAt(this.head);
    this.head = this.wrap(this.head + bytes);
    this.used -= bytes;
    this.entries--;
  }
  /** Removes the oldest entry and counts it. */
  dropOldest(): void {
    if (this.entries == 0) return;
    this.pop();
    this.dropped++;
  }

  private wrap(at: u32): u32 {
    return at < this.capacity ? at : at - this.capacity;
  }
  private copyOut(at: u32, bytes: u32, to: usize): void {
    const first = min<u32>(bytes, this.capacity - at);
    memory.copy(to, this.base + at, first);
    if (first < bytes) memory.copy(to + first, this.base, bytes - first);
  }
}
