// SPDX-License-Identifier: Apache-2.0
// What a client of the tests says, in bytes, written from the protocol's own numbers and not with the server's encoders.
export const OPTION = Buffer.from('49484156454f5054', 'hex');

/** Client flags: fixed newstyle, no zeroes. */
export const FLAGS = Buffer.from('00000003', 'hex');

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}
function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function option(number: number, data: Buffer = Buffer.alloc(0), length: number = data.length): Buffer {
  return Buffer.concat([OPTION, u32(number), u32(length), data]);
}

/** The data of INFO and GO. */
export function infoData(name: string, infos: number[], count: number = infos.length): Buffer {
  const text = Buffer.from(name);
  return Buffer.concat([u32(text.length), text, u16(count), ...infos.map(u16)]);
}

export const GO = option(7, infoData('state', [3]));

/** One request; types: 0 read, 1 write, 2 disc, 3 flush. */
export function request(type: number, handle: number, offset: bigint, length: number, data: Buffer = Buffer.alloc(0), flags = 0): Buffer {
  const head = Buffer.alloc(28);
  head.writeUInt32BE(0x25609513, 0);
  head.writeUInt16BE(flags, 4);
  head.writeUInt16BE(type, 6);
  head.writeBigUInt64BE(BigInt(handle), 8);
  head.writeBigUInt64BE(offset, 16);
  head.writeUInt32BE(length, 24);
  return Buffer.concat([head, data]);
}

/** A reply's head as hex: magic, error, handle. */
export function replyHead(error: number, handle: number): string {
  return `67446698${u32(error).toString('hex')}${'00000000'}${u32(handle).toString('hex')}`;
}
