// SPDX-License-Identifier: Apache-2.0
// nexus-state: what a service calls to keep something on /state (protocol SF, docs/format/wire-statefsd.md).
//
//   const state: Route = changetype<Route>(memory.data(8, 4));
//   statePut(state, key, keyLen, value, valueLen, BUDGET_NS);          durable when it returns 0
//   const length = stateGet(state, key, keyLen, to, capacity, BUDGET_NS);
//
// Blocking calls need the edges to samgrd and statefsd in the manifest (store.ts, list.ts). Who must not block sends batches and takes
// their acknowledgements from a tick (writer.ts).
export * from "./result";
export * from "./store";
export * from "./list";
export * from "./batch";
export * from "./writer";
