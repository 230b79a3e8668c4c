// SPDX-License-Identifier: Apache-2.0
// What the control port answers becomes rows: a page of series byte by byte, sender names, and the polling's order and recovery.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeFrame, FrameDecoder } from '../../runtime/bridge/codec.js';
import { REPLY_BIT, statusCode, typeCode } from '../../runtime/bridge/protocol.js';
import { fnv1a64 } from '../../scripts/lib/abi.js';
import type { ViewEvent } from '../../scripts/view/model.js';
import { logRow, pollControl, senderNames } from '../../scripts/view/poll.js';
import { decodeSeriesPage } from '../../scripts/view/series-page.js';

const nameOf = senderNames(['timed', 'dcgmd']);

/** One SNAPSHOT record as docs/format/wire-metricsd.md lays it out. */
function record(kind: number, name: string, labels: string, value: bigint, count: bigint, buckets = 0): Buffer {
  const head = Buffer.alloc(34 + buckets * 16);
  head.writeUInt32LE(7, 0);
  head.writeUInt8(kind, 4);
  head.writeUInt8(buckets, 6);
  head.writeUInt8(name.length, 7);
  head.writeUInt16LE(labels.length, 8);
  head.writeBigUInt64LE(fnv1a64('dcgmd'), 10);
  if (kind === 2) head.writeBigInt64LE(value, 18);
  else head.writeBigUInt64LE(value, 18);
  head.writeBigUInt64LE(count, 26);
  return Buffer.concat([head, Buffer.from(name + labels)]);
}

function page(next: number, ...records: Buffer[]): Buffer {
  const head = Buffer.alloc(10);
  head.writeUInt32LE(next, 0);
  head.writeUInt32LE(records.length, 4);
  head.writeUInt16LE(records.length, 8);
  return Buffer.concat([head, ...records]);
}

test('a page of series: kinds, signs, labels, and where the next one begins', () => {
  const [counter, gauge] = [record(1, 'a.b', '', (1n << 63n) + 5n, 2n), record(2, 'g', 'k=v\nl=w=x\n', -3n, 1n)];
  const bytes = page(9, counter, gauge, record(3, 'h', 'u=1', 60n, 4n, 3));
  const { rows, next } = decodeSeriesPage(bytes, nameOf);
  assert.equal(next, 9);
  assert.deepEqual(rows.map(({ name, kind, value, count }) => [name, kind, value, count]), [
    ['a.b', 'counter', (1n << 63n) + 5n, 2n], ['g', 'gauge', -3n, 1n], ['h', 'histogram', 60n, 4n],
  ]);
  assert.deepEqual(rows[1]?.labels, { k: 'v', l: 'w=x' });
  assert.equal(rows[0]?.producer, 'dcgmd');
  assert.equal(decodeSeriesPage(page(0xffff_ffff), nameOf).next, null);
});

test('a page that does not add up is an error at every length', () => {
  const whole = page(1, record(2, 'gauge', 'k=v', 1n, 1n), record(3, 'h', '', 1n, 1n, 2));
  for (let length = 0; length < whole.length; length++) {
    assert.throws(() => decodeSeriesPage(whole.subarray(0, length), nameOf), RangeError, `${length} bytes`);
  }
  assert.throws(() => decodeSeriesPage(page(1, record(9, 'x', '', 0n, 0n)), nameOf), /kind 9/);
  assert.throws(() => decodeSeriesPage(page(1, record(1, 'x', 'no-value', 0n, 0n)), nameOf), /no key=value/);
});

test('senders: services by name, the kernel, and others by their id', () => {
  assert.equal(nameOf(fnv1a64('timed')), 'timed');
  assert.equal(nameOf(0n), 'kernel');
  assert.equal(nameOf(0xabcn), '0000000000000abc');
});

test('a log row names level and sender and keeps fields on one line', () => {
  const row = logRow({ id: 1n, tsNs: 5n, level: 1, sender: 0n, scope: 's', message: 'm', fields: 'a=1\nb=2\n' }, nameOf);
  assert.deepEqual([row.level, row.sender, row.fields], ['warn', 'kernel', 'a=1 b=2']);
});

const RECORDS = 3n;

/** A guest with RECORDS records, one a page, that hangs up at its second series question and then comes back. */
function guest(socketPath: string): Promise<Server> {
  let seriesAsked = 0;
  const logs = (after: bigint): Buffer => {
    const head = Buffer.alloc(19);
    if (after >= RECORDS) return head;
    head.writeUInt16LE(1, 17);
    const one = Buffer.alloc(30);
    one.writeBigUInt64LE(after + 1n, 0);
    return Buffer.concat([head, one]);
  };
  const server = createServer((socket) => {
    const decoder = new FrameDecoder();
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      for (const { type, nonce, payload: asked } of decoder.push(chunk as Buffer)) {
        if (type === typeCode('series') && ++seriesAsked === 2) {
          socket.destroy();
          return;
        }
        const answers = new Map([
          [typeCode('logs'), () => logs(asked.readBigUInt64LE(0))],
          [typeCode('series'), () => Buffer.concat([Buffer.from([0]), page(0xffff_ffff, record(2, 'g', '', 1n, 1n))])],
          [typeCode('status'), () => Buffer.alloc(12)],
          [typeCode('history'), () => Buffer.from([statusCode('unavailable')])],
        ]);
        const payload = answers.get(type)!();
        socket.write(encodeFrame({ type: type | REPLY_BIT, nonce, payload, wallNs: 0n, monoNs: 0n }));
      }
    });
  });
  return new Promise((resolve) => server.listen(socketPath, () => resolve(server)));
}

test('polling shows each record once, says when the port closes, and goes on when it is back', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vigil-poll-'));
  const server = await guest(join(folder, 'c'));
  const events: ViewEvent[] = [];
  const stop = new AbortController();
  const limit = setTimeout(() => stop.abort(), 8_000);
  await pollControl(join(folder, 'c'), (event) => {
    events.push(event);
    const kinds = events.map(({ kind }) => kind);
    const trouble = events.findIndex((each) => each.kind === 'control' && each.trouble !== null);
    if (trouble !== -1 && kinds.lastIndexOf('series') > trouble) stop.abort();
  }, stop.signal);
  clearTimeout(limit);
  server.close();
  rmSync(folder, { recursive: true });
  const ids = events.flatMap((event) => (event.kind === 'logs' ? event.rows.map(({ id }) => id) : []));
  assert.deepEqual(ids, [1n, 2n, 3n]);
  assert.ok(events.some((event) => event.kind === 'control' && /closed|no answer/.test(event.trouble ?? '')));
  assert.equal(events.filter(({ kind }) => kind === 'series').length >= 2, true);
});
