// SPDX-License-Identifier: Apache-2.0
// nexus-ipc in one import: frames, nominal types, client, server, routes, delegated checks, retry and chunked transfer.
export * from "./frame";
export * from "./types";
export * from "./client";
export * from "./retry";
export * from "./server";
export * from "./resolve";
export * from "./delegate";
export * from "./transfer";
