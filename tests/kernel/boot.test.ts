// SPDX-License-Identifier: Apache-2.0
// Boot on the simulated machine: the first line, what stops it, and the pin of the boot arguments.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { Halted, loadKernel, Machine, type Kernel } from './machine.js';
import { makeService, pack } from './modules.js';

let kernel: Kernel;
before(async () => { kernel = await loadKernel(); });

test('boots and names the transport', () => {
  const bundle = pack([makeService('init-lite', { flags: 4 | 16 | 32 })]);
  for (const [transport, name] of [[2, 'modern'], [1, 'legacy']] as const) {
    const machine = new Machine(kernel, { bundle, transport }).boot();
    assert.deepEqual(machine.lines, [`kernel: boot transport=${name} abi=1`]);
    assert.equal(machine.current, 0);
  }
});
