// SPDX-License-Identifier: Apache-2.0
// OTLP in protobuf, written into a bounded buffer: what lib/gpu and exportd encode with. Invariant: one writer, three signals.
export * from "./pb";
export * from "./common";
export * from "./metrics";
export * from "./logs";
export * from "./traces";
