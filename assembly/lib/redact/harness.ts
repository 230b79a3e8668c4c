// SPDX-License-Identifier: Apache-2.0
// Lets host tests run the redaction code as WebAssembly: one buffer and the two entry points. Not part of the image.
import { redactFields, redactText, redactionCount } from "./redact";
import { classifyKey } from "./taxonomy";

const buffer: usize = memory.data(8192);

export function bufferAddress(): usize {
  return buffer;
}

export function fields(len: u32): u32 {
  return redactFields(buffer, len);
}

export function text(len: u32): u32 {
  return redactText(buffer, len);
}

export function keyClass(len: u32): u32 {
  return classifyKey(buffer, len, buffer, 0);
}

export function count(): u64 {
  return redactionCount();
}
