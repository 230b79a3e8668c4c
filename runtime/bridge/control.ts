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

/** Which points HISTORY is asked for: level 0 raw intervals, 1 windows of 10 s, 2 of 60 s; times in ns of the retention clock. */
export interface HistoryAsk {
  readonly level: 0 | 1 | 2; readonly name: string; readonly fromNs?: bigint; readonly toNs?: bigint;
  /** id of the service that measured; absent: any */
  readonly sender?: bigint;
  /** canonical labels; absent: any */
  readonly labels?: string;
}
/** One window of one series. A gauge's numbers are signed. */
export interface HistoryPoint {
  readonly startNs: bigint; readonly widthNs: bigint; readonly sender: bigint; readonly kind: number; readonly unit: number;
  readonly open: boolean; readonly otherBounds: boolean; readonly count: bigint; readonly sum: bigint; readonly min: bigint;
  readonly max: bigint; readonly last: bigint; readonly buckets: readonly bigint[]; readonly labels: string;
}
export interface HistoryPage {
  /** cursor of the next page, null after the last */
  readonly next: bigint | null;
  readonly clockNs: bigint; readonly offsetNs: bigint; readonly unreadable: boolean; readonly waiting: boolean;
  readonly points: readonly HistoryPoint[];
}
const HISTORY_END = 0xffff_ffff_ffff_ffffn;
const ANY_LABELS = 0xffff;
const GAUGE = 2;

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
  /** The body of metricsd's RANGE (docs/format/wire-metricsd.md). */
  encodeHistory(ask: HistoryAsk, cursor: bigint): Buffer {
    const out = Buffer.alloc(40);
    out.writeUInt8(ask.level, 0);
    out.writeBigUInt64LE(ask.fromNs ?? 0n, 4);
    out.writeBigUInt64LE(ask.toNs ?? 2n ** 63n, 12);
    out.writeBigUInt64LE(cursor, 20);
    out.writeBigUInt64LE(ask.sender ?? 0n, 28);
    out.writeUInt8(ask.name.length, 37);
    out.writeUInt16LE(ask.labels?.length ?? ANY_LABELS, 38);
    return Buffer.concat([out, Buffer.from(ask.name + (ask.labels ?? ''), 'latin1')]);
  },
  decodeHistory(payload: Buffer): HistoryPage {
    const cursor = accepted(payload);
    const next = cursor.u64();
    const [clockNs, offsetNs] = [cursor.u64(), cursor.u64()];
    const [count, flags] = [cursor.u16(), cursor.u16()];
    const points = Array.from({ length: count }, () => {
      const [startNs, widthNs, sender] = [cursor.u64(), cursor.u64(), cursor.u64()];
      const [kind, unit, buckets, pointFlags, labels] = [cursor.u8(), cursor.u8(), cursor.u8(), cursor.u8(), cursor.u16()];
      cursor.u16();
      const value = (): bigint => (kind === GAUGE ? BigInt.asIntN(64, cursor.u64()) : cursor.u64());
      const [updates, sum, min, max, last] = [cursor.u64(), value(), value(), value(), value()];
      const counts = Array.from({ length: buckets }, () => cursor.u64());
      return {
        startNs, widthNs, sender, kind, unit, open: (pointFlags & 1) !== 0, otherBounds: (pointFlags & 2) !== 0,
        count: updates, sum, min, max,
        last, buckets: counts, labels: cursor.text(labels),
      };
    });
    if (cursor.rest().length > 0) throw new RangeError('a page of history with bytes to spare');
    const end = next === HISTORY_END ? null : next;
    return { next: end, clockNs, offsetNs, unreadable: (flags & 1) !== 0, waiting: (flags & 2) !== 0, points };
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

  private constructor(private readonly socket: Socket, private readonly replyWaitMs: number) {
    socket.on('data', (chunk) => { this.take(this.decoder.push(chunk as Buffer)); });
    socket.on('error', (error) => { this.fail(error); });
    socket.on('close', () => { this.fail(new Error('the control port was closed')); });
  }

  /** Connects; rejects when nobody listens. @param replyWaitMs for each answer */
  static open(socketPath: string, replyWaitMs = REPLY_WAIT_MS): Promise<ControlClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(socketPath);
      socket.once('error', reject);
      socket.once('connect', () => { socket.off('error', reject); resolve(new ControlClient(socket, replyWaitMs)); });
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
  /** A page of what series did in past windows. */
  async history(ask: HistoryAsk, cursor = 0n): Promise<HistoryPage> {
    return ControlProtocol.decodeHistory(await this.ask('history', ControlProtocol.encodeHistory(ask, cursor)));
  }
  /** Guest time, kernel counters, ports, and the named services. */
  async status(names: readonly string[] = []): Promise<GuestStatus> {
    return ControlProtocol.decodeStatus(await this.ask('status', ControlProtocol.encodeStatus(names)), names);
  }
  /** The answer's payload to any question, undecoded: for a relay. @param type its code in abi/bridge.toml */
  exchange(type: number, payload: Buffer): Promise<Buffer> {
    const turn = this.queue.then(() => this.send(type, payload));
    this.queue = turn.catch(() => undefined);
    return turn;
  }
  /** True once the connection is gone. */
  get closed(): boolean { return this.socket.destroyed; }
  close(): void { this.socket.destroy(); }

  private ask(type: string, payload: Buffer): Promise<Buffer> { return this.exchange(typeCode(type), payload); }

  private send(type: number, payload: Buffer): Promise<Buffer> {
    this.nonce = (this.nonce + 1) >>> 0;
    const nonce = this.nonce;
    return new Promise<Frame>((resolve, reject) => {
      if (this.socket.destroyed) { reject(new Error('the control port was closed')); return; }
      const timer = setTimeout(() => {
        this.decoder.expire();
        this.fail(new Error(`no answer in ${this.replyWaitMs} ms`));
      }, this.replyWaitMs);
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
