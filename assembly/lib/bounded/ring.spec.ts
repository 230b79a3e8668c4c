// SPDX-License-Identifier: Apache-2.0
// The ring's contract in a few lines; the long comparison with a model is in tests/lib/bounded.test.ts.
import { ByteRing } from "./ring";

const ring: ByteRing = changetype<ByteRing>(memory.data(40, 8));
const bytes: usize = memory.data(64, 8);
const word: usize = memory.data(16, 8);

function push(value: u64): bool {
  store<u64>(word, value);
  return ring.push(word, 8);
}
function oldest(): u64 {
  ring.copyEntry(ring.head, 0, 8, word);
  return load<u64>(word);
}

describe("a byte ring of 30 bytes with entries of 4 + 8", () => {
  it("keeps the newest two and counts what it dropped", () => {
    ring.reset(bytes, 30);
    for (let value: u64 = 1; value <= 9; value++) expect<bool>(push(value)).toBe(true);
    expect<u32>(ring.entries).toBe(2);
    expect<u64>(ring.dropped).toBe(7);
    expect<u64>(oldest()).toBe(8);
  });
  it("does not count what was taken", () => {
    ring.reset(bytes, 30);
    push(1);
    ring.pop();
    expect<u32>(ring.entries).toBe(0);
    expect<u64>(ring.dropped).toBe(0);
  });
  it("refuses an entry that can never fit and keeps what it has", () => {
    ring.reset(bytes, 30);
    push(1);
    expect<bool>(ring.push(bytes, 27)).toBe(false);
    expect<u32>(ring.entries).toBe(1);
    expect<bool>(ring.push(bytes, 26)).toBe(true);
    expect<u32>(ring.entries).toBe(1);
  });
});
