// SPDX-License-Identifier: Apache-2.0
// The bucket's contract in a few lines; boundaries over long times are in tests/lib/bounded.test.ts.
import { TokenBucket } from "./token_bucket";

const bucket: TokenBucket = changetype<TokenBucket>(memory.data(24, 8));
const SECOND: u64 = 1_000_000_000;

describe("a token bucket of 2, refilled by 4 a second", () => {
  it("gives its burst and no more", () => {
    bucket.begin(2, 4, SECOND);
    expect<bool>(bucket.take(2, SECOND)).toBe(true);
    expect<bool>(bucket.take(1, SECOND)).toBe(false);
  });
  it("regains a token after exactly a quarter of a second", () => {
    bucket.begin(2, 4, SECOND);
    bucket.take(2, SECOND);
    expect<bool>(bucket.take(1, SECOND + 249_999_999)).toBe(false);
    expect<bool>(bucket.take(1, SECOND + 250_000_000)).toBe(true);
  });
  it("takes nothing when it cannot take all", () => {
    bucket.begin(2, 4, SECOND);
    expect<bool>(bucket.take(3, SECOND)).toBe(false);
    expect<u32>(bucket.left(SECOND)).toBe(2);
  });
  it("never holds more than its capacity", () => {
    bucket.begin(2, 4, SECOND);
    expect<u32>(bucket.left(1000 * SECOND)).toBe(2);
  });
  it("ignores a clock that steps back", () => {
    bucket.begin(2, 4, SECOND);
    bucket.take(2, SECOND);
    expect<bool>(bucket.take(1, 0)).toBe(false);
    expect<bool>(bucket.take(1, SECOND + 250_000_000)).toBe(true);
  });
});
