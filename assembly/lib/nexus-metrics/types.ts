// SPDX-License-Identifier: Apache-2.0
// Nominal types of what a producer holds: a Counter is no Gauge is no Histogram is no Span. Each is an index, carried in the
// reference; none owns memory. A value that could not be created (table full, limit broken) is `none`: every operation on it
// does nothing and is counted as lost, so a producer never has to branch.

const NONE: u32 = 0xffff;

@unmanaged
export class Counter {
  @inline static of(index: u32): Counter {
    return changetype<Counter>(index);
  }
  @inline get index(): u32 {
    return changetype<u32>(this);
  }
}

@unmanaged
export class Gauge {
  @inline static of(index: u32): Gauge {
    return changetype<Gauge>(index);
  }
  @inline get index(): u32 {
    return changetype<u32>(this);
  }
}

@unmanaged
export class Histogram {
  @inline static of(index: u32): Histogram {
    return changetype<Histogram>(index);
  }
  @inline get index(): u32 {
    return changetype<u32>(this);
  }
}

/** An open span: place in the table of open spans | use number << 8, so that a stale one is recognised. */
@unmanaged
export class Span {
  @inline static of(bits: u32): Span {
    return changetype<Span>(bits);
  }
  @inline get bits(): u32 {
    return changetype<u32>(this);
  }
}

/** The index that no series has. */
export const NO_SERIES: u32 = NONE;
/** The span that was never opened. */
export const NO_SPAN_BITS: u32 = 0xffffffff;
