// SPDX-License-Identifier: Apache-2.0
// A small checkout in a temporary folder: our tables and C runtime, one or two tiny services of the test's own. So that a test
// builds for real, with the real tools, without touching the tree it runs in.
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { ROOT } from '../../scripts/lib/paths.js';

/** A module that the loader would accept and that does a little of everything. */
export const TINY_MODULE = `// A tiny service.
import { sys_console_line, sys_recv, sys_call, sys_time_ns } from "../../gen/syscalls";
import { mark, M_TINY_READY } from "../../gen/markers";
import { mutant, MUT_TINY_LIES, MUT_TINY_SLEEPS } from "../../gen/mutants";
export const vigil_abi: i32 = 1;
const META = memory.data(32, 8);
function twice(x: i32): i32 { return x * 2; }
let chosen: (x: i32) => i32 = twice;
export function main(): void {
  if (mutant(MUT_TINY_LIES)) sys_console_line(changetype<u32>("only in the mutant"), 4);
  if (mutant(MUT_TINY_SLEEPS)) sys_recv(9, 0, 0, 0, 0);
  sys_recv(1, (<u64>64 << 32) | META, <u32>META, <u64>sys_time_ns() + 5, 0);
  sys_call(2, <u32>META, 0, 0, <u32>META, 0);
  assert(chosen(21) == 42);
  mark(M_TINY_READY);
}
`;

export const TINY_MARKERS = `phase = "bring-up"
[[marker]]
text = "tiny: ready"
by = "tiny"
canary = { mutant = "tiny_lies", expect = "missing" }
[[marker]]
text = "tiny: done"
by = "tiny"
canary = { mutant = "tiny_sleeps", expect = "missing" }
`;

export const TINY_SERVICES = `[[service]]
name = "tiny"
memory_pages = 2
slots = ["init"]
`;

/** Makes the checkout and removes it after the test. `files` adds to or replaces the default ones, by path. */
export function tinyCheckout(t: TestContext, files: Record<string, string> = {}): string {
  const root = mkdtempSync(join(tmpdir(), 'vigil-build-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  for (const name of ['node_modules', 'abi', 'package.json']) symlinkSync(join(ROOT, name), join(root, name));
  cpSync(join(ROOT, 'runtime/guest'), join(root, 'runtime/guest'), { recursive: true });
  const all: Record<string, string> = {
    'image/services.toml': TINY_SERVICES,
    'image/kernel.toml': 'memory_pages = 2\nmemory_base = 65536\n',
    'markers/10-tiny.toml': TINY_MARKERS,
    'assembly/services/tiny/index.ts': TINY_MODULE,
    ...files,
  };
  for (const [path, text] of Object.entries(all)) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}
