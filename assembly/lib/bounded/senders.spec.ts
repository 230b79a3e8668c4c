// SPDX-License-Identifier: Apache-2.0
// The sender table's contract in a few lines; the comparison with a model is in tests/lib/bounded.test.ts.
import { SenderTable } from "./senders";

const table: SenderTable = changetype<SenderTable>(memory.data(40, 8));
const entries: usize = memory.data(48, 8);

describe("a sender table of two places", () => {
  it("makes a zeroed entry once and finds it again", () => {
    table.reset(entries, 2, 8);
    store<u64>(table.claim(7), 42);
    expect<u32>(table.fresh).toBe(1);
    expect<u64>(load<u64>(table.claim(7))).toBe(42);
    expect<u32>(table.fresh).toBe(0);
  });
  it("evicts the least recently used, and counts it", () => {
    table.reset(entries, 2, 8);
    table.claim(1);
    table.claim(2);
    table.claim(1);
    table.claim(3);
    expect<u64>(table.evictions).toBe(1);
    expect<bool>(table.find(1) != 0).toBe(true);
    expect<bool>(table.find(2) != 0).toBe(false);
    expect<bool>(table.find(3) != 0).toBe(true);
  });
});
