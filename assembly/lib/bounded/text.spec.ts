// SPDX-License-Identifier: Apache-2.0
// Text helpers on literals: what a reader of text.ts would ask first.
import { compareBytes, copyLiteral, equalsLiteral, indexOfLiteral, lowerCase, parseDecimal, parsedDecimal, writeDecimal } from "./text";

const buffer: usize = memory.data(64);

describe("text", () => {
  it("copies and compares literals as ASCII", () => {
    const length = copyLiteral(buffer, "logd");
    expect<u32>(length).toBe(4);
    expect<u8>(load<u8>(buffer + 3)).toBe(100);
    expect<bool>(equalsLiteral(buffer, length, "logd")).toBe(true);
    expect<bool>(equalsLiteral(buffer, length, "log")).toBe(false);
    expect<i32>(indexOfLiteral(buffer, length, "gd")).toBe(2);
  });
  it("writes and parses the largest u64, and refuses one more", () => {
    const length = writeDecimal(buffer, u64.MAX_VALUE);
    expect<u32>(length).toBe(20);
    expect<bool>(parseDecimal(buffer, length)).toBe(true);
    expect<u64>(parsedDecimal).toBe(u64.MAX_VALUE);
    store<u8>(buffer + 19, load<u8>(buffer + 19) + 1);
    expect<bool>(parseDecimal(buffer, length)).toBe(false);
  });
  it("orders a prefix before the longer text", () => {
    copyLiteral(buffer, "abc");
    expect<bool>(compareBytes(buffer, 2, buffer, 3) < 0).toBe(true);
    expect<i32>(compareBytes(buffer, 3, buffer, 3)).toBe(0);
  });
  it("lowers letters and nothing else", () => {
    expect<u8>(lowerCase(65)).toBe(97);
    expect<u8>(lowerCase(64)).toBe(64);
    expect<u8>(lowerCase(91)).toBe(91);
    expect<u8>(lowerCase(0xc1)).toBe(0xc1);
  });
});
