// SPDX-License-Identifier: Apache-2.0
// Owns: the host's side of the control port (docs/format/control.md): ask the running image for its logs, series and status.
// Invariant: one question in flight; a reply counts only with the question's type and nonce; a question without an answer in
// time rejects and the stream is resynchronised. Limits: pages as the services bound them; REPLY_WAIT_MS for an answer.
import { connect, type Socket } from 'node:net';
import { FrameDecoder, encodeFrame, type Frame } from './codec.js';
import { REPLY_BIT, statusCode, statusName, typeCode } from './protocol.js';

/** One record of logd's journal. */
export interface LogRecord {
  readonly id: bigint; readonly tsNs: bigint; readonly level: number; readonly sender: bigint; readonly scope: string;
  readonly message: string; readonly fields: string;
}
export interface LogPage { readonly total: bigint; readonly dropped: bigint; readonly records: readonly LogRecord[] }
export interface PortStatus {
  readonly name: string; readonly connected: boolean; readonly bytesIn: bigint; readonly bytesOut: bigint;
  readonly lostIn: bigint; readonly lostOut: bigint; readonly connections: bigint; readonly refused: bigint;
}
export interface ServiceStatus {
  readonly name: string;
  readonly registered: boolean;
  readonly dead: boolean;
  readonly registrations: number;
}
export interface GuestStatus {
  readonly timeNs: bigint; readonly counters: Readonly<Record<string, bigint>>; readonly ports: readonly PortStatus[];
  readonly services: readonly ServiceStatus[];
}

/** The guest refused: `status` is a name of abi/bridge.toml. */
export class ControlError extends Error {
  constructor(readonly status: string, message: string) { super(message); }
}

const COUNTERS = ['free_frames', 'endpoints', 'queued_messages', 'dropped_replies', 'running', 'preemptions'];
const REPLY_WAIT_MS = 5000;

/** Takes fields from a payload; throws RangeError past its end. */
class Cursor {
  private at = 0;
  constructor(private readonly bytes: Buffer) {}
  u8(): number { return this.bytes.readUInt8(this.move(1)); }
  u16(): number { return this.bytes.readUInt16LE(this.move(2)); }
  u32(): number { return this.bytes.readUInt32LE(this.move(4)); }
  u64(): bigint { return this.bytes.readBigUInt64LE(this.move(8)); }
  text(length: number): string {
    const at = this.move(length);
    if (at + length > this.bytes.length) throw new RangeError(`text of ${length} bytes runs past the payload`);
    return this.bytes.subarray(at, at + length).toString('latin1');
  }
  rest(): Buffer { return this.bytes.subarray(this.at); }
  private move(by: number): number { const at = this.at; this.at += by; return at; }
}

/** The payloads alone, without a socket. */
export const ControlProtocol = {
  encodeLogs(after: bigint, max: number): Buffer {
    const out = Buffer.alloc(10);
    out.writeBigUInt64LE(after, 0);
    out.writeUInt16LE(max, 8);
    return out;
  },
  decodeLogs(payload: Buffer): LogPage {
    const cursor = accepted(payload);
    const total = cursor.u64();
    const dropped = cursor.u64();
    const records = Array.from({ length: cursor.u16() }, () => {
      const id = cursor.u64();
      const tsNs = cursor.u64();
      const level = cursor.u8();
      const sender = cursor.u64();
      const [scope, message, fields] = [cursor.u8(), cursor.u16(), cursor.u16()];
      return { id, tsNs, level, sender, scope: cursor.text(scope), message: cursor.text(message), fields: cursor.text(fields) };
    });
    return { total, dropped, records };
  },
  encodeSeries(cursor: number, max: number): Buffer {
    const out = Buffer.alloc(6);
    out.writeUInt32LE(cursor, 0);
    out.writeUInt16LE(max, 4);
    return out;
  },
  /** The body of metricsd's SNAPSHOT reply (docs/format/wire-metricsd.md). */
  decodeSeries(payload: Buffer): Buffer {
    return accepted(payload).rest();
  },
  encodeStatus(names: readonly string[]): Buffer {
    return Buffer.concat([Buffer.from([names.length]), ...names.map((name) => Buffer.from([name.length, ...Buffer.from(name, 'ascii')]))]);
  },
  decodeStatus(payload: Buffer, names: readonly string[]): GuestStatus {
    const cursor = accepted(payload);
    const timeNs = cursor.u64();
    const values = Array.from({ length: cursor.u8() }, () => cursor.u64());
    const counters = Object.fromEntries(values.map((value, i) => [COUNTERS[i] ?? `counter${i}`, value]));
    const ports = Array.from({ length: cursor.u8() }, () => ({
      name: cursor.text(cursor.u8()), connected: cursor.u8() !== 0, bytesIn: cursor.u64(), bytesOut: cursor.u64(),
      lostIn: cursor.u64(), lostOut: cursor.u64(), connections: cursor.u64(), refused: cursor.u64(),
    }));
    const services = Array.from({ length: cursor.u8() }, (_, i) => ({
      name: names[i] ?? `service${i}`, registered: cursor.u8() !== 0, dead: cursor.u8() !== 0, registrations: cursor.u32(),
    }));
    return { timeNs, counters, ports, services };
  },
};

function accepted(payload: Buffer): Cursor {
  const cursor = new Cursor(payload);
  const status = cursor.u8();
  if (status !== statusCode('ok')) throw new ControlError(statusName(status), `the guest answered ${statusName(status)}`);
  return cursor;
}

/** A connection to the control port's socket. */
export class ControlClient {
  private readonly decoder = new FrameDecoder();
  private nonce = 0;
  private waiting: { type: number; nonce: number; resolve(frame: Frame): void; reject(error: Error): void } | undefined;
  private queue: Promise<unknown> = Promise.resolve();

  private constructor(private readonly socket: Socket) {
    socket.on('data', (chunk) => { this.take(this.decoder.push(chunk as Buffer)); });
    socket.on('error', (error) => { this.fail(error); });
    socket.on('close', () => { this.fail(new Error('the control port was closed')); });
  }

  /** Connects; rejects when nobody listens. */
  static open(socketPath: string): Promise<ControlClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(socketPath);
      socket.once('error', reject);
      socket.once('connect', () => { socket.off('error', reject); resolve(new ControlClient(socket)); });
    });
  }

  /** Records with an id above `after`, at most `max` and a page of logd. */
  async logs(after: bigint, max = 64): Promise<LogPage> {
    return ControlProtocol.decodeLogs(await this.ask('logs', ControlProtocol.encodeLogs(after, max)));
  }
  /** A page of metricsd's SNAPSHOT, undecoded. */
  async series(cursor: number, max = 64): Promise<Buffer> {
    return ControlProtocol.decodeSeries(await this.ask('series', ControlProtocol.encodeSeries(cursor, max)));
  }
  /** Guest time, kernel counters, ports, and the named services. */
  async status(names: readonly string[] = []): Promise<GuestStatus> {
    return ControlProtocol.decodeStatus(await this.ask('status', ControlProtocol.encodeStatus(names)), names);
  }
  close(): void { this.socket.destroy(); }

  private ask(type: string, payload: Buffer): Promise<Buffer> {
    const turn = this.queue.then(() => this.send(typeCode(type), payload));
    this.queue = turn.catch(() => undefined);
    return turn;
  }

  private send(type: number, payload: Buffer): Promise<Buffer> {
    this.nonce = (this.nonce + 1) >>> 0;
    const nonce = this.nonce;
    return new Promise<Frame>((resolve, reject) => {
      if (this.socket.destroyed) { reject(new Error('the control port was closed')); return; }
      const timer = setTimeout(() => { this.decoder.expire(); this.fail(new Error(`no answer in ${REPLY_WAIT_MS} ms`)); }, REPLY_WAIT_MS);
      this.waiting = {
        type: type | REPLY_BIT, nonce,
        resolve: (frame) => { clearTimeout(timer); resolve(frame); },
        reject: (error) => { clearTimeout(timer); reject(error); },
      };
      this.socket.write(encodeFrame({ type, nonce, payload, wallNs: BigInt(Date.now()) * 1_000_000n, monoNs: process.hrtime.bigint() }));
    }).then((frame) => frame.payload);
  }

  private take(frames: readonly Frame[]): void {
    for (const frame of frames) {
      if (this.waiting === undefined || frame.type !== this.waiting.type || frame.nonce !== this.waiting.nonce) continue;
      const { resolve } = this.waiting;
      this.waiting = undefined;
      resolve(frame);
    }
  }

  private fail(error: Error): void {
    const waiting = this.waiting;
    this.waiting = undefined;
    waiting?.reject(error);
  }
}
