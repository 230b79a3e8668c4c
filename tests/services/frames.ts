// SPDX-License-Identifier: Apache-2.0
// Builds and reads the frames of policyd, samgrd, rngd, timed, bundlemgrd and execd byte by byte from
// docs/format/wire-*.md, apart from the guest's codec, so that tests hold the two against each other. Also a policyd
// that answers as told.
import { fnv1a64 } from '../../scripts/lib/abi.js';
import { randomBelow } from '../random.js';
import type { Outcome, Peer, PeerMessage } from '../../runtime/node/index.js';

/** A little-endian frame from parts: `'text'` raw, `[bytes, value]` an unsigned integer, a Uint8Array raw. */
export type Part = string | Uint8Array | [1 | 2 | 4 | 8, number | bigint];
export function frame(...parts: Part[]): Buffer {
  return Buffer.concat(parts.map((part) => {
    if (typeof part === 'string') return Buffer.from(part, 'latin1');
    if (part instanceof Uint8Array) return Buffer.from(part);
    const [bytes, value] = part;
    const out = Buffer.alloc(8);
    out.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)));
    return out.subarray(0, bytes);
  }));
}
export const u8 = (value: number): Part => [1, value];
export const u16 = (value: number): Part => [2, value];
export const u32 = (value: number): Part => [4, value];
export const u64 = (value: number | bigint): Part => [8, value];
/** A name with its length in one byte. */
export const named = (name: string): Buffer => frame(u8(name.length), name);

/** `magic version op nonce` and a body. */
export function request(magic: string, version: number, op: number, nonce: number, ...body: Part[]): Buffer {
  return frame(magic, u8(version), u8(op), u32(nonce), ...body);
}

/** A reply with the status before the nonce (every protocol here but PO). */
export interface Reply {
  status: number;
  nonce: number;
  body: Buffer;
}
export function readReply(bytes: Uint8Array | null, magic: string, op: number, version = 1): Reply {
  if (!bytes) throw new Error(`${magic} op ${op}: no reply`);
  const at = Buffer.from(bytes);
  const head = `${at.toString('latin1', 0, 2)} ${at[2]} ${at[3]}`;
  if (head !== `${magic} ${version} ${op | 0x80}`) throw new Error(`wrong reply head: ${head}`);
  return { status: at[4]!, nonce: at.readUInt32LE(5), body: at.subarray(9) };
}

/** A reply of policyd: nonce, then status, then the rest (one zero byte behind a decision). */
export function readPolicy(bytes: Uint8Array | null, op: number, version: number): Reply {
  if (!bytes) throw new Error(`PO op ${op}: no reply`);
  const at = Buffer.from(bytes);
  const head = `${at.toString('latin1', 0, 2)} ${at[2]} ${at[3]}`;
  if (head !== `PO ${version} ${op | 0x80}`) throw new Error(`wrong reply head: ${head}`);
  return { status: at[8]!, nonce: at.readUInt32LE(4), body: at.subarray(9) };
}

/** What a fake policyd was asked. */
export interface Question {
  op: number;
  nonce: number;
  subject: bigint;
  target: bigint;
  cap: string;
}
export function readQuestion(bytes: Uint8Array): Question {
  const at = Buffer.from(bytes);
  const op = at[3]!;
  const pair = op === 2 || op === 3;
  return {
    op,
    nonce: at.readUInt32LE(4),
    subject: at.readBigUInt64LE(8),
    target: pair ? at.readBigUInt64LE(16) : 0n,
    cap: pair ? '' : at.toString('latin1', 17, 17 + at[16]!),
  };
}

/** A well-formed decision on a question. */
export function decision(message: PeerMessage, status: number): Buffer {
  const asked = Buffer.from(message.bytes);
  return frame('PO', u8(asked[2]!), u8(asked[3]! | 0x80), asked.subarray(4, 8), u8(status), u8(0));
}

/** A policyd that allows what `allows` says and remembers each question. */
export function policyd(allows: (question: Question) => boolean, asked: Question[] = []): Peer {
  return (message) => {
    const question = readQuestion(message.bytes);
    asked.push(question);
    return decision(message, allows(question) ? 0 : 1);
  };
}

/** Every way in which policyd can fail to decide. Each must deny. */
export const POLICYD_FAULTS: Record<string, Peer> = {
  silent: () => null,
  late: (m) => ({ bytes: decision(m, 0), delay_ns: 600_000_000n, evenIfLate: true }),
  'wrong nonce': (m) => { const b = decision(m, 0); b.writeUInt32LE(b.readUInt32LE(4) + 1, 4); return b; },
  short: (m) => decision(m, 0).subarray(0, 9),
  long: (m) => Buffer.concat([decision(m, 0), Buffer.alloc(1)]),
  empty: () => Buffer.alloc(0),
  'wrong op': (m) => { const b = decision(m, 0); b[3] = 0x84; return b; },
  'wrong version': (m) => { const b = decision(m, 0); b[2] = 9; return b; },
  'wrong magic': (m) => { const b = decision(m, 0); b[0] = 0x51; return b; },
  'unknown status': (m) => decision(m, 7),
  'malformed status': (m) => decision(m, 2),
  'trailing byte set': (m) => { const b = decision(m, 0); b[9] = 1; return b; },
  dead: () => ({ error: 'dead' }),
  full: () => ({ error: 'full' }),
};

/** A peer without a declared edge that takes whatever is sent and never answers: producers must not depend on it. */
export const mute: Peer = (message) => (message.call ? { error: 'not_declared' } : null);

export const id = fnv1a64;

/** Random frames around a well-formed one: cut, grown, with flipped bytes, or all noise. */
export function fuzzed(valid: Uint8Array, rounds: number, seed: number): Buffer[] {
  const next = randomBelow(seed);
  return Array.from({ length: rounds }, () => {
    const kind = next(4);
    if (kind === 0) return Buffer.from(valid.subarray(0, next(valid.length + 1)));
    if (kind === 1) return Buffer.concat([valid, Buffer.from(Array.from({ length: 1 + next(64) }, () => next(256)))]);
    if (kind === 2) {
      const copy = Buffer.from(valid);
      for (let n = 1 + next(3); n > 0; n--) copy[next(copy.length)] = next(256);
      return copy;
    }
    return Buffer.from(Array.from({ length: next(96) }, () => next(256)));
  });
}
export type { Outcome };
