// SPDX-License-Identifier: Apache-2.0
// Owns: requests and replies of PD, DG, PO, LO, SM and MT as host tests write and read them.
// Invariant: written from the documents in docs/format, not from the code under test. Limits: the ops that the tests use.

export interface Reply { status: number; nonce: number; body: Buffer }

/** `magic version op nonce-u32 body`. */
export function request(magic: string, op: number, nonce: number, body: Buffer = Buffer.alloc(0), version = 1): Buffer {
  const head = Buffer.alloc(8);
  head.write(magic, 0, 'ascii');
  head.writeUInt8(version, 2);
  head.writeUInt8(op, 3);
  head.writeUInt32LE(nonce, 4);
  return Buffer.concat([head, body]);
}

/** `magic version op|0x80 status nonce-u32 body`. */
export function reply(frame: Uint8Array | null, magic: string, op: number, nonce: number): Reply {
  if (frame === null) throw new Error('no reply');
  const bytes = Buffer.from(frame);
  const head = bytes.subarray(0, 4).toString('latin1');
  if (head !== `${magic}\x01${String.fromCharCode(op | 0x80)}`) throw new Error(`reply head ${bytes.subarray(0, 4).toString('hex')}`);
  if (bytes.readUInt32LE(5) !== nonce) throw new Error(`reply nonce ${bytes.readUInt32LE(5)}, not ${nonce}`);
  return { status: bytes.readUInt8(4), nonce, body: bytes.subarray(9) };
}

/** Answer of policyd to CHECK_CAP_DELEGATED: nonce first, then the decision. */
export function policyAnswer(question: Uint8Array, decide: (subject: bigint, capability: string) => boolean): Buffer {
  const asked = Buffer.from(question);
  const capability = asked.subarray(17, 17 + asked.readUInt8(16)).toString('ascii');
  const out = Buffer.alloc(10);
  out.write('PO', 0, 'ascii');
  out.writeUInt8(2, 2);
  out.writeUInt8(0x85, 3);
  out.writeUInt32LE(asked.readUInt32LE(4), 4);
  out.writeUInt8(decide(asked.readBigUInt64LE(8), capability) ? 0 : 1, 8);
  return out;
}

/** Status-first reply with a u32 nonce to a question of the same protocol. */
export function answer(question: Uint8Array, status: number, body: Buffer = Buffer.alloc(0)): Buffer {
  const asked = Buffer.from(question);
  const head = Buffer.alloc(9);
  asked.copy(head, 0, 0, 3);
  head.writeUInt8(asked.readUInt8(3) | 0x80, 3);
  head.writeUInt8(status, 4);
  asked.copy(head, 5, 4, 8);
  return Buffer.concat([head, body]);
}

/** The same for LO version 2, whose nonce has eight bytes. */
export function logAnswer(question: Uint8Array, status: number, body: Buffer): Buffer {
  const asked = Buffer.from(question);
  const head = Buffer.alloc(13);
  asked.copy(head, 0, 0, 3);
  head.writeUInt8(asked.readUInt8(3) | 0x80, 3);
  head.writeUInt8(status, 4);
  asked.copy(head, 5, 4, 12);
  return Buffer.concat([head, body]);
}

export const u8 = (...values: number[]): Buffer => Buffer.from(values);
export function u16(value: number): Buffer { const out = Buffer.alloc(2); out.writeUInt16LE(value); return out; }
export function u32(value: number): Buffer { const out = Buffer.alloc(4); out.writeUInt32LE(value); return out; }
export function u64(value: bigint): Buffer { const out = Buffer.alloc(8); out.writeBigUInt64LE(value); return out; }
export const text8 = (text: string): Buffer => Buffer.concat([u8(text.length), Buffer.from(text, 'ascii')]);
