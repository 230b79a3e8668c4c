// SPDX-License-Identifier: Apache-2.0
// The world of keystored for its tests: a statefsd that keeps keys in a Map and refuses as told, an rngd that gives known bytes, samgrd, and
// the frames of docs/format/wire-keystored.md built byte by byte, apart from the guest's codec.
import { createHash } from 'node:crypto';
import { Host, type Outcome, type Peer, type PeerMessage, type Script, type Step } from '../../runtime/node/index.js';
import { frame, id, mute, policyd, readReply, request, u16, u32, u64, u8, type Part, type Reply } from './frames.js';

export const S = {
  ok: 0, notFound: 1, denied: 2, valueTooLarge: 3, keyTooLong: 4, invalidKey: 5, malformed: 6, storage: 7, unsupported: 8, integrity: 9,
  noEntropy: 10, badSignature: 11, private: 12, keysLimit: 13, noDeviceKey: 14, notASeed: 15,
} as const;
export const OP = {
  put: 1, get: 2, del: 3, verify: 4, sign: 5, keygen: 10, pubkey: 11, deviceSign: 12, privkey: 13, reload: 14, stats: 15,
} as const;
export const COUNTERS = [
  'puts', 'gets', 'dels', 'verifies', 'signs', 'keygens', 'denied', 'privateRefused', 'integrity', 'noEntropy', 'storage', 'badSignatures',
  'reloads',
] as const;

/** A disk that outlives the keystored that writes on it, and how the peers behave. */
export class World {
  readonly disk = new Map<string, Buffer>();
  /** status of every answer of statefsd to these ops (PUT 1, GET 2, DEL 3, LIST 4) */
  readonly refuse = new Map<number, number>();
  stateSilent = false;
  rngSilent = false;
  rngStatus = 0;
  /** every byte that rngd gave, by draw */
  readonly drawn: Buffer[] = [];
  allows: (cap: string, subject: bigint) => boolean = () => true;
  readonly asked: [string, bigint][] = [];
  /** in place of a policyd that works */
  policy: Peer | null = null;
  readonly requests: { op: number; key: string }[] = [];
  private readonly wasm: Uint8Array;
  private draws = 0;
  constructor(wasm: Uint8Array) { this.wasm = wasm; }

  private answerState(message: PeerMessage): Buffer | null {
    const at = Buffer.from(message.bytes);
    const op = at[3]!;
    const reply = (status: number, ...body: Part[]): Buffer => frame('SF', u8(2), u8(op | 0x80), u8(status), at.subarray(4, 12), ...body);
    const text = (from: number, length: number): string => at.toString('latin1', from, from + length);
    const key = text(op === 1 ? 18 : op === 2 ? 20 : op === 3 ? 14 : 18, at.readUInt16LE(12));
    this.requests.push({ op, key });
    if (this.stateSilent) return null;
    const refused = this.refuse.get(op);
    if (refused !== undefined) return reply(refused);
    if (op === 1) {
      const value = at.subarray(18 + at.readUInt16LE(12));
      if (value.length !== at.readUInt32LE(14)) return reply(6);
      this.disk.set(key, Buffer.from(value));
      return reply(0, u64(1));
    }
    if (op === 3) return this.disk.delete(key) ? reply(0, u64(1)) : reply(1);
    if (op === 2) {
      const value = this.disk.get(key);
      if (!value) return reply(1);
      const piece = value.subarray(at.readUInt32LE(14), at.readUInt32LE(14) + at.readUInt16LE(18));
      return reply(0, u32(value.length), u32(at.readUInt32LE(14)), u16(piece.length), u64(1), piece);
    }
    const after = text(18 + at.readUInt16LE(12), at.readUInt16LE(14));
    const found = [...this.disk.keys()].sort().filter((each) => each.startsWith(key) && each > after);
    const page = found.slice(0, 8);
    const items = page.flatMap((each) => [u16(each.length), u32(this.disk.get(each)!.length), each]);
    return reply(0, u16(page.length), u8(found.length > page.length ? 1 : 0), u8(0), ...items);
  }
  private answerRng(message: PeerMessage): Buffer | null {
    if (this.rngSilent) return null;
    const at = Buffer.from(message.bytes);
    const head = [u8(this.rngStatus), at.subarray(4, 8)] as Part[];
    if (this.rngStatus !== 0) return frame('RG', u8(1), u8(0x81), ...head);
    const bytes = createHash('sha512').update(`draw ${this.draws++}`).digest().subarray(0, at.readUInt16LE(8));
    this.drawn.push(Buffer.from(bytes));
    return frame('RG', u8(1), u8(0x81), ...head, u16(bytes.length), bytes);
  }

  /** Boots a keystored on the disk and runs the script. */
  run(script: (io: Client) => Script): Host {
    const peers: Record<string, Peer> = {
      policyd: this.policy ?? policyd(({ cap, subject }) => { this.asked.push([cap, subject]); return this.allows(cap, subject); }),
      logd: mute,
      samgrd: (message) => {
        const at = Buffer.from(message.bytes);
        const name = at.toString('latin1', 9, 9 + at[8]!);
        return { bytes: frame('SM', u8(1), u8(0x80 | at[3]!), u8(0), at.subarray(4, 8)), movedPeer: name };
      },
      statefsd: (message) => this.answerState(message),
      rngd: (message) => this.answerRng(message),
    };
    const host = new Host({ name: 'keystored', wasm: this.wasm, peers });
    const client = new Client(host);
    host.run(() => script(client));
    return host;
  }
}

/** A client of keystored; every reply that came is kept. */
export class Client {
  readonly host: Host;
  readonly replies: Buffer[] = [];
  private nonce = 0;
  constructor(host: Host) { this.host = host; }

  *ask(op: number, body: Part[] = [], from = 'selftest'): Generator<Step, Reply, Outcome> {
    const bytes = yield* this.host.call(from, request('KS', 1, op, ++this.nonce, ...body));
    if (bytes) this.replies.push(Buffer.from(bytes));
    const reply = readReply(bytes, 'KS', op);
    if (reply.nonce !== this.nonce) throw new Error(`nonce ${reply.nonce}, not ${this.nonce}`);
    return reply;
  }
  *status(op: number, body: Part[] = [], from?: string): Generator<Step, number, Outcome> {
    return (yield* this.ask(op, body, from)).status;
  }
  *put(name: string, value: Buffer | string, from?: string): Generator<Step, number, Outcome> {
    return yield* this.status(OP.put, [u8(name.length), u16(value.length), name, value], from);
  }
  /** The value, or the status. */
  *get(name: string, from?: string): Generator<Step, Buffer | number, Outcome> {
    const { status, body } = yield* this.ask(OP.get, [u8(name.length), name], from);
    if (status !== S.ok) return status;
    if (body.readUInt16LE() !== body.length - 2) throw new Error('length of the value');
    return Buffer.from(body.subarray(2));
  }
  *named(op: number, name: string, rest: Buffer | string = '', from?: string): Generator<Step, Reply, Outcome> {
    return yield* this.ask(op, [u8(name.length), name, rest], from);
  }
  *counters(): Generator<Step, Record<(typeof COUNTERS)[number], number>, Outcome> {
    const { body } = yield* this.ask(OP.stats);
    if (body.length !== 8 * COUNTERS.length) throw new Error('length of the counters');
    return Object.fromEntries(COUNTERS.map((name, i) => [name, Number(body.readBigUInt64LE(8 * i))])) as Record<(typeof COUNTERS)[number], number>;
  }
  *ping(): Generator<Step, number, Outcome> {
    const bytes = Buffer.from((yield* this.host.call('init-lite', request('IN', 1, 2, ++this.nonce)))!);
    return bytes[8]!;
  }
}

export const pathOf = (owner: string, name: string): string => `/state/keystore/keys/${id(owner).toString(16).padStart(16, '0')}/${name}`;
