// SPDX-License-Identifier: Apache-2.0
// How a host tool ends: trouble of the machine is exit code 3 with one line that says what to do; a bug keeps its stack, exit code 1.
// Where the host can be made to fail so, the error is the host's own.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Failure, runMain } from '../../scripts/lib/fail.js';

/** Runs a main under runMain: its exit code and what it wrote to stderr. This process's own exit code stays as it was. */
async function ended(context: TestContext, main: () => Promise<number>): Promise<{ code: unknown; stderr: string }> {
  const before = process.exitCode;
  let stderr = '';
  const write = context.mock.method(process.stderr, 'write', (text: string) => {
    stderr += text;
    return true;
  });
  try {
    await runMain('tool', main);
    return { code: process.exitCode, stderr };
  } finally {
    write.mock.restore();
    process.exitCode = before;
  }
}

async function listening(server: Server, path: string): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  return 0;
}

function folder(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'vg-'));
  context.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test('an address that is taken is exit code 3', async (context) => {
  const path = join(folder(context), 's');
  const [first, second] = [createServer(), createServer()];
  context.after(() => first.close());
  await listening(first, path);
  const { code, stderr } = await ended(context, () => listening(second, path));
  assert.equal(code, 3);
  assert.match(stderr, /^tool: the address is taken; end the run that holds it, or choose another port \(.*EADDRINUSE.*\)\n$/);
});

test('a program that runs and shall be overwritten is exit code 3', { skip: process.platform !== 'linux' && 'ETXTBSY is Linux\'s' }, async (context) => {
  const program = join(folder(context), 'program');
  copyFileSync(process.execPath, program);
  const child = spawn(program, ['-e', 'console.log(1); setTimeout(() => {}, 30000)'], { stdio: ['ignore', 'pipe', 'inherit'] });
  context.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const { code, stderr } = await ended(context, async () => {
    writeFileSync(program, '');
    return 0;
  });
  assert.equal(code, 3);
  assert.match(stderr, /^tool: the program is running; end it and run again \(.*ETXTBSY.*\)\n$/);
});

test('every code of the machine\'s trouble is exit code 3 and one line with what to do', async (context) => {
  const codes = ['ENOSPC', 'EDQUOT', 'EACCES', 'EROFS', 'EMFILE', 'EADDRINUSE', 'EBUSY', 'ETXTBSY'];
  const lines = new Set<string>();
  for (const name of codes) {
    const { code, stderr } = await ended(context, () => Promise.reject(Object.assign(new Error('why'), { code: name })));
    assert.equal(code, 3, name);
    assert.match(stderr, /^tool: [^\n]{15,} \(why\)\n$/, name);
    lines.add(stderr);
  }
  assert.equal(lines.size, codes.length);
});

test('a failure keeps its own code, a bug its stack', async (context) => {
  for (const exitCode of [1, 2, 3] as const) {
    assert.deepEqual(await ended(context, () => Promise.reject(new Failure(exitCode, 'said'))), { code: exitCode, stderr: 'tool: said\n' });
  }
  for (const error of [new TypeError('bug'), Object.assign(new Error('bug'), { code: 'ENOENT' }), Object.assign(new Error('bug'), { code: 'toString' })]) {
    const { code, stderr } = await ended(context, () => Promise.reject(error));
    assert.equal(code, 1);
    assert.match(stderr, /^tool: internal error: .*bug\n +at /);
  }
  assert.deepEqual(await ended(context, () => Promise.resolve(0)), { code: 0, stderr: '' });
});
