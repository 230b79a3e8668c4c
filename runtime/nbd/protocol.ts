// SPDX-License-Identifier: Apache-2.0
// The NBD protocol as one client needs it: numbers, and codecs from and to bytes. Source: the NBD project's doc/proto.md (fixed newstyle
// handshake, simple replies). Pure. Limits: an option carries at most OPTION_BYTES_MAX, a request at most REQUEST_BYTES_MAX.

export const INIT_MAGIC = 0x4e42444d41474943n; // "NBDMAGIC"
export const OPTION_MAGIC = 0x49484156454f5054n; // "IHAVEOPT"
export const OPTION_REPLY_MAGIC = 0x0003e889045565a9n;
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;

export const FLAG_FIXED_NEWSTYLE = 1;
export const FLAG_NO_ZEROES = 2;

export const OPT = { exportName: 1, abort: 2, list: 3, info: 6, go: 7 } as const;
export const REP = {
  ack: 1, server: 2, info: 3, errUnsup: 0x80000001, errInvalid: 0x80000003, errUnknown: 0x80000006, errTooBig: 0x80000009,
} as const;
export const INFO = { export: 0, blockSize: 3 } as const;

export const TRANSMISSION = { hasFlags: 1, readOnly: 2, sendFlush: 4 } as const;
export const CMD = { read: 0, write: 1, disc: 2, flush: 3, trim: 4 } as const;
/** Linux numbers, as the protocol has them. */
export const ERROR = { none: 0, perm: 1, io: 5, inval: 22, nospc: 28, notsup: 95, shutdown: 108 } as const;

export const OPTION_BYTES_MAX = 4096;
export const OPTIONS_MAX = 64;
export const REQUEST_BYTES_MAX = 1 << 20;
export const BLOCK_BYTES_MIN = 512;
const BLOCK_BYTES_PREFERRED = 4096;
const OLD_STYLE_PAD_BYTES = 124;

export const OPTION_HEAD_BYTES = 16;
export const REQUEST_HEAD_BYTES = 28;

/** What the server says first. */
export function greeting(): Buffer {
  const bytes = Buffer.alloc(18);
  bytes.writeBigUInt64BE(INIT_MAGIC, 0);
  bytes.writeBigUInt64BE(OPTION_MAGIC, 8);
  bytes.writeUInt16BE(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES, 16);
  return bytes;
}

export interface OptionHead {
  magic: bigint;
  option: number;
  length: number;
}

export function readOptionHead(bytes: Buffer): OptionHead {
  return { magic: bytes.readBigUInt64BE(0), option: bytes.readUInt32BE(8), length: bytes.readUInt32BE(12) };
}

export function optionReply(option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(20);
  head.writeBigUInt64BE(OPTION_REPLY_MAGIC, 0);
  head.writeUInt32BE(option, 8);
  head.writeUInt32BE(type, 12);
  head.writeUInt32BE(data.length, 16);
  return Buffer.concat([head, data]);
}

/** The name that INFO or GO asks for, and the infos it wants; null when the data contradict their own lengths. */
export function readInfoRequest(data: Buffer): { name: string; infos: number[] } | null {
  if (data.length < 6) return null;
  const nameBytes = data.readUInt32BE(0);
  if (nameBytes > data.length - 6) return null;
  const count = data.readUInt16BE(4 + nameBytes);
  if (data.length !== 6 + nameBytes + 2 * count) return null;
  const infos = Array.from({ length: count }, (_, n) => data.readUInt16BE(6 + nameBytes + 2 * n));
  return { name: data.subarray(4, 4 + nameBytes).toString('utf8'), infos };
}

export function exportInfo(bytes: number, flags: number): Buffer {
  const data = Buffer.alloc(12);
  data.writeUInt16BE(INFO.export, 0);
  data.writeBigUInt64BE(BigInt(bytes), 2);
  data.writeUInt16BE(flags, 10);
  return data;
}

export function blockSizeInfo(): Buffer {
  const data = Buffer.alloc(14);
  data.writeUInt16BE(INFO.blockSize, 0);
  data.writeUInt32BE(BLOCK_BYTES_MIN, 2);
  data.writeUInt32BE(BLOCK_BYTES_PREFERRED, 6);
  data.writeUInt32BE(REQUEST_BYTES_MAX, 10);
  return data;
}

/** The answer to EXPORT_NAME, which has no head. @param noZeroes the client asked for no padding */
export function exportNameReply(bytes: number, flags: number, noZeroes: boolean): Buffer {
  const data = Buffer.alloc(10 + (noZeroes ? 0 : OLD_STYLE_PAD_BYTES));
  data.writeBigUInt64BE(BigInt(bytes), 0);
  data.writeUInt16BE(flags, 8);
  return data;
}

/** One entry of LIST. */
export function serverEntry(name: string): Buffer {
  const text = Buffer.from(name, 'utf8');
  const head = Buffer.alloc(4);
  head.writeUInt32BE(text.length, 0);
  return Buffer.concat([head, text]);
}

export interface RequestHead {
  magic: number;
  flags: number;
  type: number;
  handle: bigint;
  offset: bigint;
  length: number;
}

export function readRequestHead(bytes: Buffer): RequestHead {
  return {
    magic: bytes.readUInt32BE(0),
    flags: bytes.readUInt16BE(4),
    type: bytes.readUInt16BE(6),
    handle: bytes.readBigUInt64BE(8),
    offset: bytes.readBigUInt64BE(16),
    length: bytes.readUInt32BE(24),
  };
}

export function simpleReply(handle: bigint, error: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(16);
  head.writeUInt32BE(SIMPLE_REPLY_MAGIC, 0);
  head.writeUInt32BE(error, 4);
  head.writeBigUInt64BE(handle, 8);
  return data.length === 0 ? head : Buffer.concat([head, data]);
}
