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

/** Correlates one reply with one request; unique in its client, not a secret. */
@unmanaged
export class Nonce {
  value: u64;
  @inline
  static at(address: usize): Nonce {
    return changetype<Nonce>(address);
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

/** low32(sender) << 32 | local counter. */
@unmanaged
export class SpanId {
  value: u64;
  @inline
  static at(address: usize): SpanId {
    return changetype<SpanId>(address);
  }
}

@unmanaged
export class TraceId {
  value: u64;
  @inline
  static at(address: usize): TraceId {
    return changetype<TraceId>(address);
  }
}

/** Guest time in ns since power-on. */
@unmanaged
export class GuestTimeNs {
  value: u64;
  @inline
  static at(address: usize): GuestTimeNs {
    return changetype<GuestTimeNs>(address);
  }
}

/** What metricsd hands out for a registered series; carries metricsd's generation. */
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

/** A capability of this service: slot | slot generation << 8. */
@unmanaged
export class CapHandle {
  @inline
  static of(raw: u32): CapHandle {
    return changetype<CapHandle>(raw);
  }
  @inline
  get raw(): u32 {
    return changetype<u32>(this);
  }
}

/** A one-shot reply capability (bit 31 set); not a table slot, so it cannot be closed, cloned or moved. */
@unmanaged
export class ReplyHandle {
  @inline
  static of(raw: u32): ReplyHandle {
    return changetype<ReplyHandle>(raw);
  }
  @inline
  get raw(): u32 {
    return changetype<u32>(this);
  }
}

/** Text that was checked against a limit: only `check` makes one, and it refuses a length over the limit or a byte that is
 *  not printable ASCII (newline too, unless `lines`). 8 bytes of memory, placed by the owner. */
@unmanaged
export class BoundedText {
  address: usize;
  length: u32;
  static readonly BYTES: u32 = 8;

  /** Fills the BoundedText at `place`; false (and an empty text) when the bytes break the limit or the character set. */
  static check(place: usize, text: usize, length: u32, lengthMax: u32, lines: bool = false): bool {
    const bounded = changetype<BoundedText>(place);
    bounded.address = text;
    bounded.length = 0;
    if (length > lengthMax) return false;
    for (let i: u32 = 0; i < length; i++) {
      const byte = load<u8>(text + i);
      if (<u8>(byte - 32) < 95) continue;
      if (lines && byte == 10) continue;
      return false;
    }
    bounded.length = length;
    return true;
  }
  @inline
  static at(place: usize): BoundedText {
    return changetype<BoundedText>(place);
  }
}
