// SPDX-License-Identifier: Apache-2.0
// A control port without a guest: answers logs, series and status as docs/format/control.md says, from records that a test scripts.
// Invariant: ids are what the test gave; a page holds PAGE records, so that paging is exercised. Limits: one connection at a time is enough.
import { createServer, type Server, type Socket } from 'node:net';
import { FrameDecoder, encodeFrame, type Frame } from '../../runtime/bridge/codec.js';
import { REPLY_BIT, statusCode, typeCode } from '../../runtime/bridge/protocol.js';
import { fnv1a64 } from '../../scripts/lib/abi.js';

const PAGE = 3;

export interface FakeRecord { id: bigint; tsNs: bigint; level: number; sender: string; scope: string; message: string; fields: string }
export interface FakeSeries { name: string; kind: 1 | 2; producer: string; labels: string; value: bigint }

export class FakeGuest {
  records: FakeRecord[] = [];
  series: FakeSeries[] = [];
  guestNs = 1_000_000_000n;
  /** a status instead of an answer */
  refuses: string | null = null;
  private readonly sockets = new Set<Socket>();

  private constructor(readonly path: string, private readonly server: Server) {}

  static async listen(path: string): Promise<FakeGuest> {
    const server = createServer((socket) => {
      guest.sockets.add(socket);
      const decoder = new FrameDecoder();
      socket.on('error', () => undefined);
      socket.on('data', (chunk: Buffer) => {
        for (const frame of decoder.push(chunk)) {
          socket.write(encodeFrame({ type: frame.type | REPLY_BIT, nonce: frame.nonce, wallNs: 0n, monoNs: 0n, payload: guest.answer(frame) }));
        }
      });
    });
    const guest = new FakeGuest(path, server);
    await new Promise<void>((resolve) => { server.listen(path, resolve); });
    return guest;
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }

  log(...records: (Partial<FakeRecord> & { id: bigint })[]): void {
    this.records.push(...records.map((record) => ({
      tsNs: record.id * 1_000_000n, level: 2, sender: 'dcgmd', scope: 'dcgmd', message: `message ${record.id}`, fields: '', ...record,
    })));
  }

  private answer({ type, payload }: Frame): Buffer {
    if (this.refuses !== null) return Buffer.from([statusCode(this.refuses)]);
    const ok = Buffer.from([statusCode('ok')]);
    if (type === typeCode('logs')) return Buffer.concat([ok, this.logs(payload.readBigUInt64LE(0), payload.readUInt16LE(8))]);
    if (type === typeCode('series')) return Buffer.concat([ok, this.snapshot(payload.readUInt32LE(0))]);
    if (type === typeCode('status')) return Buffer.concat([ok, this.status(payload.readUInt8(0))]);
    return Buffer.from([statusCode('unsupported')]);
  }

  private logs(after: bigint, max: number): Buffer {
    const page = this.records.filter(({ id }) => id > after).slice(0, Math.min(max, PAGE));
    const head = Buffer.alloc(18);
    head.writeBigUInt64LE(this.records.at(-1)?.id ?? 0n, 0);
    head.writeUInt16LE(page.length, 16);
    return Buffer.concat([head, ...page.map(({ id, tsNs, level, sender, scope, message, fields }) => {
      const fixed = Buffer.alloc(30);
      fixed.writeBigUInt64LE(id, 0);
      fixed.writeBigUInt64LE(tsNs, 8);
      fixed.writeUInt8(level, 16);
      fixed.writeBigUInt64LE(fnv1a64(sender), 17);
      fixed.writeUInt8(scope.length, 25);
      fixed.writeUInt16LE(message.length, 26);
      fixed.writeUInt16LE(fields.length, 28);
      return Buffer.concat([fixed, Buffer.from(scope + message + fields, 'latin1')]);
    })]);
  }

  private snapshot(cursor: number): Buffer {
    const page = this.series.slice(cursor, cursor + PAGE);
    const next = cursor + PAGE < this.series.length ? cursor + PAGE : 0xffff_ffff;
    const head = Buffer.alloc(10);
    head.writeUInt32LE(next, 0);
    head.writeUInt32LE(this.series.length, 4);
    head.writeUInt16LE(page.length, 8);
    return Buffer.concat([head, ...page.map(({ name, kind, producer, labels, value }) => {
      const fixed = Buffer.alloc(34);
      fixed.writeUInt8(kind, 4);
      fixed.writeUInt8(name.length, 7);
      fixed.writeUInt16LE(labels.length, 8);
      fixed.writeBigUInt64LE(fnv1a64(producer), 10);
      fixed.writeBigInt64LE(value, 18);
      return Buffer.concat([fixed, Buffer.from(name + labels, 'latin1')]);
    })]);
  }

  private status(services: number): Buffer {
    const time = Buffer.alloc(8);
    time.writeBigUInt64LE(this.guestNs, 0);
    const service = Buffer.from([1, 0, 1, 0, 0, 0]);
    return Buffer.concat([time, Buffer.from([0, 0, services]), ...Array.from({ length: services }, () => service)]);
  }
}
