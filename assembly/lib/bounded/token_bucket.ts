// SPDX-License-Identifier: Apache-2.0
// The one token bucket. Integer arithmetic in nano-tokens, refilled lazily from the clock, so it is exact at its boundaries:
// a bucket of `perSecond` tokens regains one token after exactly ceil(10^9 / perSecond) ns, and nothing is lost to rounding.
// Invariant: 0 <= level <= capacity * 10^9; a clock that stands still or steps back neither refills nor drains.
// Limits: capacity and perSecond are u32; no overflow for any clock value.

const NANO: u64 = 1_000_000_000;

/** 24 bytes of memory, zeroed = not yet begun. */
@unmanaged
export class TokenBucket {
  /** nano-tokens left at last_ns */
  level: u64;
  last_ns: u64;
  capacity: u32;
  perSecond: u32;
  static readonly BYTES: u32 = 24;

  @inline
  static at(address: usize): TokenBucket {
    return changetype<TokenBucket>(address);
  }
  /** Fills the bucket: `capacity` tokens at `now_ns`, refilled by `perSecond` tokens a second. */
  begin(capacity: u32, perSecond: u32, now_ns: u64): void {
    this.capacity = capacity;
    this.perSecond = perSecond;
    this.level = <u64>capacity * NANO;
    this.last_ns = now_ns;
  }
  /** Credits what the time since the last look has earned. */
  refill(now_ns: u64): void {
    if (now_ns <= this.last_ns) return;
    const full = <u64>this.capacity * NANO;
    const missing = full - this.level;
    const elapsed_ns = now_ns - this.last_ns;
    this.last_ns = now_ns;
    if (this.perSecond == 0) return;
    // elapsed * perSecond cannot overflow while elapsed <= missing / perSecond.
    if (elapsed_ns > missing / this.perSecond) this.level = full;
    else this.level += elapsed_ns * this.perSecond;
  }
  /** Takes `tokens` if that many are there; takes nothing otherwise. */
  take(tokens: u32, now_ns: u64): bool {
    this.refill(now_ns);
    const cost = <u64>tokens * NANO;
    if (this.level < cost) return false;
    this.level -= cost;
    return true;
  }
  /** Whole tokens left at `now_ns`. */
  left(now_ns: u64): u32 {
    this.refill(now_ns);
    return <u32>(this.level / NANO);
  }
}
