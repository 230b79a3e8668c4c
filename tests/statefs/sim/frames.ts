// SPDX-License-Identifier: Apache-2.0
// Frames of statefsd (protocol SF version 2) for the simulations, built byte by byte from docs/format/wire-statefsd.md, apart from the
// guest's codec. Each request's nonce is the caller's number of it, so a reply can be matched at the moment it leaves.
// Limits: what the simulations send; malformed frames are the service's own tests.

export const OP = {
  put: 1, get: 2, del: 3, list: 4, sync: 5, reopen: 6, txnBegin: 7, txnPut: 8, txnCommit: 9, txnAbort: 10, batch: 11, stats: 12, txnDel: 13,
} as const;
export const STATUS = {
  ok: 0, notFound: 1, accessDenied: 2, valueTooLarge: 3, keyTooLong: 4, invalidKey: 5, malformed: 6, io: 7, unsupported: 8, integrity: 9,
  rollback: 10, txnLimit: 11, noSpace: 12, readOnly: 13, noFlush: 14, foreign: 15, unavailable: 16, keysLimit: 17,
} as const;
/** BATCH flag: answered when accepted, durable after a later SYNC. */
export const LAZY = 1;
/** Indexes of the STATS counters. */
export const STATS = { state: 0, sequence: 1, durable: 2, epoch: 3, liveKeys: 4, liveBytes: 5, journalBytes: 6, flushes: 20, writes: 21,
  compactions: 22, ioErrors: 23, reopens: 24, recovered: 26, droppedBytes: 27, badPosition: 28, badKind: 29 } as const;

/** One change inside a batch or a transaction; `value` null deletes. */
export interface Change {
  key: string;
  value: Uint8Array | null;
}

/** Writes one frame; grows as it goes. */
class Out {
  private readonly buffer = Buffer.allocUnsafe(9000);
  private at = 0;
  begin(op: number, nonce: number): this {
    this.at = 0;
    return this.u8(0x53).u8(0x46).u8(2).u8(op).u32(nonce).u32(0);
  }
  u8(value: number): this {
    this.buffer[this.at++] = value;
    return this;
  }
  u16(value: number): this {
    this.at = this.buffer.writeUInt16LE(value, this.at);
    return this;
  }
  u32(value: number): this {
    this.at = this.buffer.writeUInt32LE(value, this.at);
    return this;
  }
  text(value: string): this {
    this.at += this.buffer.write(value, this.at, 'latin1');
    return this;
  }
  bytes(value: Uint8Array): this {
    this.buffer.set(value, this.at);
    this.at += value.length;
    return this;
  }
  done(): Uint8Array {
    return Uint8Array.prototype.slice.call(this.buffer, 0, this.at);
  }
}
const out = new Out();

export function putFrame(nonce: number, key: string, value: Uint8Array): Uint8Array {
  return out.begin(OP.put, nonce).u16(key.length).u32(value.length).text(key).bytes(value).done();
}
export function delFrame(nonce: number, key: string): Uint8Array {
  return out.begin(OP.del, nonce).u16(key.length).text(key).done();
}
/** The piece of a value that begins at `offset`, at most `max` bytes. */
export function getFrame(nonce: number, key: string, offset = 0, max = 8000): Uint8Array {
  return out.begin(OP.get, nonce).u16(key.length).u32(offset).u16(max).text(key).done();
}
export function listFrame(nonce: number, prefix: string, after: string, max = 0): Uint8Array {
  return out.begin(OP.list, nonce).u16(prefix.length).u16(after.length).u16(max).text(prefix).text(after).done();
}
/** A request without payload. */
export function bareFrame(op: number, nonce: number): Uint8Array {
  return out.begin(op, nonce).done();
}
export function batchFrame(nonce: number, changes: Change[], flags = 0): Uint8Array {
  out.begin(OP.batch, nonce).u16(changes.length).u16(flags);
  for (const { key, value } of changes) {
    out.u8(value === null ? OP.del : OP.put).u8(key.length).u16(value?.length ?? 0).text(key).bytes(value ?? NOTHING);
  }
  return out.done();
}
export function txnPutFrame(nonce: number, txn: number, key: string, total: number, offset: number, piece: Uint8Array): Uint8Array {
  return out.begin(OP.txnPut, nonce).u32(txn).u16(key.length).u32(total).u32(offset).u16(piece.length).text(key).bytes(piece).done();
}
export function txnDelFrame(nonce: number, txn: number, key: string): Uint8Array {
  return out.begin(OP.txnDel, nonce).u32(txn).u16(key.length).text(key).done();
}
/** TXN_COMMIT or TXN_ABORT. */
export function txnEndFrame(op: number, nonce: number, txn: number): Uint8Array {
  return out.begin(op, nonce).u32(txn).done();
}
const NOTHING = new Uint8Array(0);

export interface Reply {
  op: number;
  status: number;
  nonce: number;
  body: Buffer;
}
/** A reply of statefsd, or null when the bytes are none. */
export function readReply(bytes: Uint8Array): Reply | null {
  const at = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (at.length < 13 || at[0] !== 0x53 || at[1] !== 0x46 || at[2] !== 2 || (at[3]! & 0x80) === 0) return null;
  return { op: at[3]! & 0x7f, status: at[4]!, nonce: at.readUInt32LE(5), body: at.subarray(13) };
}

/** A piece of a value, from the body of a GET's reply. */
export function readPiece(body: Buffer): { total: number; offset: number; bytes: Buffer } {
  const length = body.readUInt16LE(8);
  if (body.length !== 18 + length) throw new Error(`GET: a body of ${body.length} bytes that says ${length}`);
  return { total: body.readUInt32LE(0), offset: body.readUInt32LE(4), bytes: body.subarray(18) };
}
/** A page of keys, from the body of a LIST's reply. */
export function readPage(body: Buffer): { keys: { key: string; valueBytes: number }[]; more: boolean } {
  const keys: { key: string; valueBytes: number }[] = [];
  let at = 4;
  for (let left = body.readUInt16LE(0); left > 0; left--) {
    const length = body.readUInt16LE(at);
    keys.push({ valueBytes: body.readUInt32LE(at + 2), key: body.toString('latin1', at + 6, at + 6 + length) });
    at += 6 + length;
  }
  if (at !== body.length) throw new Error(`LIST: ${body.length - at} bytes behind the last key`);
  return { keys, more: body[2] !== 0 };
}
/** The counters of STATS. */
export function readStats(body: Buffer): number[] {
  return Array.from({ length: body.length / 8 }, (_, i) => Number(body.readBigUInt64LE(8 * i)));
}
