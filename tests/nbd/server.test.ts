// SPDX-License-Identifier: Apache-2.0
// The server on a real socket: one client at a time, a client that vanishes, a close; and the disk that fails on demand.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { FaultyDisk, faultsOnDemand, startNbd, type NbdServer } from '../../runtime/nbd/index.js';
import { FLAGS, GO, replyHead, request } from './client.js';

async function served(context: TestContext): Promise<{ path: string; server: NbdServer; disk: FaultyDisk }> {
  const dir = mkdtempSync(join(tmpdir(), 'vigil-nbd-test-'));
  context.after(() => rmSync(dir, { recursive: true, force: true }));
  const path = join(dir, 'disk.sock');
  const disk = new FaultyDisk(Buffer.alloc(8192), {}, { below: () => 0 });
  const server = await startNbd(path, disk);
  context.after(() => server.close());
  return { path, server, disk };
}

/** Bytes that came until `enough`, or the end. */
function received(socket: Socket, enough: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let got = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      got = Buffer.concat([got, chunk]);
      if (got.length >= enough) resolve(got);
    });
    socket.on('end', () => resolve(got));
    socket.on('close', () => resolve(got));
    socket.on('error', reject);
  });
}

test('a client reads and writes; a second one is closed at once and counted; after the first left, another may come', async (context) => {
  const { path, server } = await served(context);
  const first = connect(path);
  const greeting = await received(first, 18);
  assert.equal(greeting.length, 18);
  const second = connect(path);
  assert.equal((await received(second, 1)).length, 0);
  first.write(Buffer.concat([FLAGS, GO, request(1, 1, 0n, 512, Buffer.alloc(512, 5)), request(0, 2, 0n, 512)]));
  const answers = await received(first, 32 + 34 + 20 + 16 + 16 + 512);
  assert.ok(answers.toString('hex').endsWith(replyHead(0, 2) + '05'.repeat(512)));
  first.write(request(2, 3, 0n, 0));
  await received(first, Infinity);
  await new Promise((resolve) => setTimeout(resolve, 20)); // the server hears of the end after the client does
  const third = connect(path);
  assert.equal((await received(third, 18)).length, 18);
  third.destroy();
  assert.deepEqual([server.counters.refusedClients, server.counters.clients, server.counters.requests, server.broken], [1, 2, 3, []]);
});

test('a client that breaks the framing is closed, with the reason kept', async (context) => {
  const { path, server } = await served(context);
  const client = connect(path);
  await received(client, 18);
  client.write(Buffer.concat([FLAGS, GO, Buffer.alloc(28)]));
  await received(client, Infinity);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(server.broken, ['a request without its magic']);
});

test('close ends the client and removes the socket', async (context) => {
  const { path, server } = await served(context);
  const client = connect(path);
  await received(client, 18);
  const gone = received(client, Infinity);
  await server.close();
  await gone;
  assert.equal(existsSync(path), false);
});

/** Asks a disk; the error of the answer, null while there is none. */
function ask(disk: FaultyDisk, kind: 'read' | 'write' | 'flush', offset: number, text = ''): { error: number | null } {
  const answer: { error: number | null } = { error: null };
  const data = Buffer.alloc(kind === 'write' ? 512 : 0, text.padEnd(512));
  disk.request({ kind, offset, length: kind === 'flush' ? 0 : 512, data }, (error) => { answer.error = error; });
  return answer;
}

test('faults on demand: each action once for its number, and nothing of a failed write lands', () => {
  const disk = faultsOnDemand(Buffer.alloc(8192));
  assert.deepEqual([1, 1, 2].map((n) => ask(disk, 'write', 0, `disk-fault:write-io:${n};`).error), [5, 0, 5]);
  assert.equal(ask(disk, 'write', 512, 'disk-fault:write-nospc:3;').error, 28);
  assert.ok(disk.disk.read(512, 512).every((byte) => byte === 0));
  assert.deepEqual([ask(disk, 'write', 0, 'disk-fault:flush-io:4;').error, ask(disk, 'flush', 0).error, ask(disk, 'flush', 0).error], [0, 5, 0]);
  assert.equal(ask(disk, 'write', 1024, 'disk-fault:read-io:5;').error, 0);
  assert.deepEqual([ask(disk, 'read', 0).error, ask(disk, 'read', 1024).error, ask(disk, 'read', 1024).error], [0, 5, 0]);
  assert.deepEqual(['disk-fault:none:6;', 'disk-fault:write-io:x;', 'disk-fault:write-io:7'].map((text) => ask(disk, 'write', 0, text).error), [0, 0, 0]);
});

test('an answer that comes late: everything waits, then happens in order', async () => {
  const disk = faultsOnDemand(Buffer.alloc(8192));
  const [late, next] = [ask(disk, 'write', 0, 'disk-fault:late:1;'), ask(disk, 'read', 0)];
  assert.deepEqual([late.error, next.error], [null, null]);
  for (let n = 0; n < 100 && next.error === null; n++) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual([late.error, next.error, ask(disk, 'write', 0, 'x').error], [0, 0, 0]);
});
