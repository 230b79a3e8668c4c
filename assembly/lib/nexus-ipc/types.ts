// SPDX-License-Identifier: Apache-2.0
// Nominal types of the contract's identifiers. A plain alias would let any u64 pass for any other; two unrelated @unmanaged
// classes do not mix, and tests/compile-fail shows it for each pair that could be confused.
// Two forms. A 64-bit id is a view of the eight bytes where it already lies (`SpanId.at(address).value`). A 32-bit id is the
// value itself, carried in the reference (`SeriesHandle.of(7).raw`). Neither owns memory; neither is ever null-checked.

/** FNV-1a 64 of a service's name, stamped by the kernel; never taken from a payload. */
@unmanaged
export class SenderId {
  value: u64;
  @inline
  static at(address: usize): SenderId {
    return changetype<SenderId>(address);
  }
}

/** Position of a record in logd's journal: from 1, strictly increasing, never reused within a boot. */
@unmanaged
export class RecordId {
  value: u64;
  @inline
  static at(address: usize): RecordId {
    return changetype<RecordId>(address);
  }
}

/** low32(sender) << 32 | local counter; as a parent, 0 is none. */
@unmanaged
export class SpanId {
  value: u64;
  @inline
  static at(address: usize): SpanId {
    return changetype<SpanId>(address);
  }
}

/** low32(sender XOR MT_TRACE_XOR) << 32 | local counter. */
@unmanaged
export class TraceId {
  value: u64;
  @inline
  static at(address: usize): TraceId {
    return changetype<TraceId>(address);
  }
}

/** What metricsd hands out for a registered series: index | metricsd's generation << 16. */
@unmanaged
export class SeriesHandle {
  @inline
  static of(raw: u32): SeriesHandle {
    return changetype<SeriesHandle>(raw);
  }
  @inline
  get raw(): u32 {
    return changetype<u32>(this);
  }
}
