// SPDX-License-Identifier: Apache-2.0
// The random source of the host tests: the one of the host tools. A test that fails prints its seed.
export { Random, randomBelow } from '../scripts/lib/random.js';
