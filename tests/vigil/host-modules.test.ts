// SPDX-License-Identifier: Apache-2.0
// Host modules are part of the build: made once, made again when something they read changed, and closed to all but `host`.
import assert from 'node:assert/strict';
import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Compilers } from '../../scripts/lib/compilers.js';
import { buildHostModule, hostModules } from '../../scripts/lib/host-modules.js';
import { tinyCheckout } from '../build/checkout.js';

const compilers = new Compilers();
after(() => compilers.close());

const PART = 'export const STEP: i32 = 1;\n';
const TOOL = `import { STEP } from "../lib/part";
@external("host", "read")
declare function host_read(at: i32): i32;
export function next(at: i32): i32 { return host_read(at) + STEP; }
`;

async function steps(root: string): Promise<number> {
  let count = 0;
  await buildHostModule(root, 'tool', compilers, () => { count++; });
  return count;
}

test('a host module is made once, and again after a change of what it reads', async (t) => {
  const root = tinyCheckout(t, { 'assembly/host/tool.ts': TOOL, 'assembly/lib/part.ts': PART });
  assert.deepEqual(hostModules(root), ['tool']);
  assert.equal(await steps(root), 1);
  assert.ok(existsSync(join(root, 'build/host/tool.wasm')));
  assert.equal(await steps(root), 0);
  appendFileSync(join(root, 'assembly/lib/part.ts'), '// more\n');
  assert.equal(await steps(root), 1);
  writeFileSync(join(root, 'build/host/tool.wasm'), 'damaged');
  assert.equal(await steps(root), 1);
});

test('a host module that reaches for anything but `host` is refused', async (t) => {
  const root = tinyCheckout(t, { 'assembly/host/tool.ts': TOOL.replace('"host", "read"', '"sys", "send"'), 'assembly/lib/part.ts': PART });
  await assert.rejects(steps(root), /assembly\/host\/tool\.ts: import sys\.send is not of the host/);
});

test('a checkout without host modules has none to build', (t) => {
  assert.deepEqual(hostModules(tinyCheckout(t)), []);
});
