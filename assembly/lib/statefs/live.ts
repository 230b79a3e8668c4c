// SPDX-License-Identifier: Apache-2.0
// What a record means for the index: the one function that recovery and staging share, so that a reopened store equals the one before.
// Invariant: state.liveBytes is the sum of the records of all entries.
import { Entry, entryAdd, entryAt, entryFind, entryRemove, entryTouch } from "./entries";
import { OP_DEL, OP_LOST, OP_PUT, RECORD_AT_OP, RECORD_AT_PLACE, recordBytes } from "./format";
import { NO_ENTRY } from "./keys";
import { recordKey, recordKeyLength, recordLength, recordValueLength } from "./record";
import { report } from "./report";
import { state } from "./state";

@inline export function entryBytes(entry: Entry): u32 { return recordBytes(<u32>entry.keyLength, entry.valueLength); }

/** Takes the record that an entry had out of the sums. */
function forget(entry: Entry): void {
  state.liveBytes -= entryBytes(entry);
  report.lostKeys -= <u32>entry.lost;
}

/** Applies a put of a key that has an entry: most of what is staged, apart from the rest because it is short. */
export function applyOver(at: usize, index: u32): void {
  const entry = entryAt(index);
  const valueLength = recordValueLength(at);
  report.lostKeys -= <u32>entry.lost;
  state.liveBytes += recordBytes(<u32>entry.keyLength, valueLength) - entryBytes(entry);
  entryTouch(index);
  entry.place = load<u32>(at, RECORD_AT_PLACE);
  entry.valueLength = valueLength;
  entry.lost = 0;
}

/** Applies the record at `at`; `known` is the entry of its key, or NO_ENTRY. The caller has checked the limits of the index. */
export function apply(at: usize, known: u32): void {
  if (known != NO_ENTRY && load<u8>(at, RECORD_AT_OP) == OP_PUT) return applyOver(at, known);
  if (load<u8>(at, RECORD_AT_OP) == OP_DEL) {
    if (known == NO_ENTRY) return;
    forget(entryAt(known));
    entryRemove(known);
    return;
  }
  let index = known;
  if (index == NO_ENTRY) {
    index = entryAdd(recordKey(at), recordKeyLength(at));
  } else {
    forget(entryAt(index));
    entryTouch(index);
  }
  const entry = entryAt(index);
  entry.place = load<u32>(at, RECORD_AT_PLACE);
  entry.valueLength = recordValueLength(at);
  entry.lost = load<u8>(at, RECORD_AT_OP) == OP_LOST ? 1 : 0;
  report.lostKeys += <u32>entry.lost;
  state.liveBytes += recordLength(at);
}

/** Applies the records from `at` to `end`, which lie one behind the other. */
export function applyAll(at: usize, end: usize): void {
  for (; at < end; at += recordLength(at)) apply(at, entryFind(recordKey(at), recordKeyLength(at)));
}
