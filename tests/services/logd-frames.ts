// SPDX-License-Identifier: Apache-2.0
// Builds and reads logd frames byte by byte from the tables of docs/format/wire-logd.md, apart from the guest's codec, so that
// tests hold the two against each other.
export const OP = { append: 1, query: 2, stats: 3 } as const;
export const STATUS = {
  ok: 0, malformed: 1, unsupported: 2, tooLarge: 3, invalidArgs: 4, overLimit: 5, rateLimited: 6, denied: 7,
} as const;
export const QUERY_BADGE = 17;

export interface Append {
  level?: number;
  scope?: string | Uint8Array;
  message?: string | Uint8Array;
  fields?: string | Uint8Array;
}
export interface LogRecord {
  id: bigint;
  ts_ns: bigint;
  level: number;
  sender: bigint;
  scope: string;
  message: string;
  fields: string;
}

const bytesOf = (text: string | Uint8Array | undefined): Buffer =>
  typeof text === 'string' ? Buffer.from(text, 'latin1') : Buffer.from(text ?? '');

export function head(op: number, nonce: bigint, version = 2): Buffer {
  const frame = Buffer.alloc(12);
  frame.write('LO', 0, 'latin1');
  frame[2] = version;
  frame[3] = op;
  frame.writeBigUInt64LE(nonce, 4);
  return frame;
}
export function append(nonce: bigint, { level = 2, scope = 'test', message = '', fields = '' }: Append = {}): Buffer {
  const [s, m, f] = [bytesOf(scope), bytesOf(message), bytesOf(fields)];
  const lengths = Buffer.alloc(6);
  lengths[0] = level;
  lengths[1] = s.length & 0xff;
  lengths.writeUInt16LE(m.length, 2);
  lengths.writeUInt16LE(f.length, 4);
  return Buffer.concat([head(OP.append, nonce), lengths, s, m, f]);
}
export function query(nonce: bigint, { since = 0n, max = 0, after }: { since?: bigint; max?: number; after?: bigint } = {}): Buffer {
  const body = Buffer.alloc(after === undefined ? 10 : 18);
  body.writeBigUInt64LE(since, 0);
  body.writeUInt16LE(max, 8);
  if (after !== undefined) body.writeBigUInt64LE(after, 10);
  return Buffer.concat([head(OP.query, nonce), body]);
}
export const stats = (nonce: bigint): Buffer => head(OP.stats, nonce);

export interface ReplyHead {
  op: number;
  status: number;
  nonce: bigint;
  body: Buffer;
}
export function readReply(bytes: Uint8Array | null): ReplyHead {
  if (!bytes) throw new Error('no reply');
  const frame = Buffer.from(bytes);
  if (frame.length < 13 || frame.toString('latin1', 0, 2) !== 'LO' || frame[2] !== 2) throw new Error(`not a reply: ${frame.toString('hex')}`);
  return { op: frame[3]!, status: frame[4]!, nonce: frame.readBigUInt64LE(5), body: frame.subarray(13) };
}
export function readAppend(bytes: Uint8Array | null): { status: number; nonce: bigint; id: bigint; dropped: bigint } {
  const { op, status, nonce, body } = readReply(bytes);
  if (op !== 0x81 || body.length !== 16) throw new Error(`not an APPEND reply: op ${op}, ${body.length} bytes`);
  return { status, nonce, id: body.readBigUInt64LE(0), dropped: body.readBigUInt64LE(8) };
}
export function readPage(bytes: Uint8Array | null): { status: number; total: bigint; dropped: bigint; records: LogRecord[] } {
  const { op, status, body } = readReply(bytes);
  if (op !== 0x82) throw new Error(`not a QUERY reply: op ${op}`);
  if (status !== 0) return { status, total: 0n, dropped: 0n, records: [] };
  const records: LogRecord[] = [];
  let at = 18;
  for (let left = body.readUInt16LE(16); left > 0; left--) {
    const lengths = [body[at + 25]!, body.readUInt16LE(at + 26), body.readUInt16LE(at + 28)];
    const texts: string[] = [];
    let from = at + 30;
    for (const length of lengths) {
      if (from + length > body.length) throw new Error('record is cut off');
      texts.push(body.toString('latin1', from, from + length));
      from += length;
    }
    records.push({
      id: body.readBigUInt64LE(at), ts_ns: body.readBigUInt64LE(at + 8), level: body[at + 16]!,
      sender: body.readBigUInt64LE(at + 17), scope: texts[0]!, message: texts[1]!, fields: texts[2]!,
    });
    at = from;
  }
  if (at !== body.length) throw new Error(`${body.length - at} bytes after the last record`);
  return { status, total: body.readBigUInt64LE(0), dropped: body.readBigUInt64LE(8), records };
}
const STATS_WORDS = ['total', 'dropped'] as const;
const STATS_MORE = [
  'invalidArgs', 'overLimit', 'rateLimited', 'malformed', 'denied', 'evictions', 'redactions', 'repliesLost',
] as const;
export type Stats = Record<(typeof STATS_WORDS)[number] | (typeof STATS_MORE)[number], bigint> &
  Record<'recordsMax' | 'bytesMax' | 'recordsUsed' | 'bytesUsed', number>;
export function readStats(bytes: Uint8Array | null): Stats {
  const { op, status, body } = readReply(bytes);
  if (op !== 0x83 || status !== 0 || body.length !== 96) throw new Error(`not STATS: op ${op}, status ${status}, ${body.length} bytes`);
  const out: Record<string, bigint | number> = {};
  STATS_WORDS.forEach((name, i) => { out[name] = body.readBigUInt64LE(8 * i); });
  ['recordsMax', 'bytesMax', 'recordsUsed', 'bytesUsed'].forEach((name, i) => { out[name] = body.readUInt32LE(16 + 4 * i); });
  STATS_MORE.forEach((name, i) => { out[name] = body.readBigUInt64LE(32 + 8 * i); });
  return out as Stats;
}
