// SPDX-License-Identifier: Apache-2.0
// The Node host in one import: run a module (Host), compile one (buildModule, buildEntry, compile).
export * from './host.js';
export * from './build.js';
export * from './program.js';
