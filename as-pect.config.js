// SPDX-License-Identifier: Apache-2.0
// Specs of AssemblyScript units, beside the code they test (assembly/**/*.spec.ts). Run by `npm test` (step as-pect), or `npx asp`.
// Plain value specs only: class reflection of as-pect 8.1 does not compile on AssemblyScript 0.28.
export default {
  entries: ['assembly/lib/**/*.spec.ts'],
  include: [],
  disclude: [/node_modules/],
  async instantiate(memory, createImports, instantiate, binary) {
    return instantiate(binary, createImports({ env: { memory } }));
  },
  outputBinary: false,
};
