// SPDX-License-Identifier: Apache-2.0
// The bundle that ships, on the simulated machine: every entry loads or is refused for the reason that it is named after, and the whole
// image at once keeps the rules of the address space. Needs a build.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { readBundle } from '../../image/pack.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { COUNTER, E, loadKernel, Machine, PAGE, REASON, WINDOW_BYTES, type Kernel } from './machine.js';
import { TEXT_FIRST, TEXT_STRIDE } from './modules.js';

let kernel: Kernel;
before(async () => { kernel = await loadKernel(); });
const PATH = join(ROOT, 'build/image/bundle.vgb');

test('every entry of the shipping bundle loads, or is refused as its name says; all of them together keep W^X and their windows', () => {
  assert.ok(existsSync(PATH), 'build/image/bundle.vgb is missing: npx just build');
  const bytes = readFileSync(PATH);
  const { services } = readBundle(bytes);
  const machine = new Machine(kernel, { bundle: bytes }).boot();
  let bad = 0;
  services.forEach(({ name }, i) => {
    if (i === 0) return;
    const result = machine.sys('process_create', i);
    if (name.startsWith('bad-')) {
      bad++;
      const reason = name.slice(4).replaceAll('-', '_');
      assert.equal(result, E['bad_module'], name);
      assert.equal(machine.meta(0)[0], BigInt(REASON[reason]!), name);
    } else {
      assert.equal(result, BigInt(i), name);
    }
  });
  assert.equal(bad, 11);
  assert.ok(Number(machine.sys('counter', COUNTER['free_frames']!)) > 0);
  for (const { va, write, execute, user } of machine.leaves()) {
    const at = va.toString(16);
    assert.ok(!(write && execute), at);
    if (!user) continue;
    if (va >= TEXT_FIRST) {
      assert.ok(!write && va < TEXT_FIRST + 48n * TEXT_STRIDE, at);
      continue;
    }
    const index = Number(va / WINDOW_BYTES) - 1;
    const { instanceBytes, tableEntries, stackBytes, memoryPages } = services[index]!;
    const inside = va % WINDOW_BYTES;
    const within = (start: bigint, size: number): boolean => inside >= start && inside < start + BigInt(Math.ceil(size / PAGE) * PAGE);
    const { WINDOW_INSTANCE, WINDOW_TABLE, WINDOW_STACK_TOP, WINDOW_MEMORY } = kernel.layout;
    assert.ok(write && !execute && (within(WINDOW_INSTANCE, instanceBytes) || within(WINDOW_TABLE, tableEntries * 32)
      || within(WINDOW_STACK_TOP - BigInt(stackBytes), stackBytes) || within(WINDOW_MEMORY, memoryPages * 65536)), `${services[index]!.name}: ${at}`);
  }
});
