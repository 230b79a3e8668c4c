// SPDX-License-Identifier: Apache-2.0
// nexus-log in one import: build a record (line.ts), its way to logd (sink.ts), and reading back (query.ts).
export * from "./line";
export * from "./sink";
export * from "./query";
export { LEVEL_DEBUG, LEVEL_ERROR, LEVEL_INFO, LEVEL_TRACE, LEVEL_WARN } from "../wire/logd";
