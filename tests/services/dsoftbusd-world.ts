// SPDX-License-Identifier: Apache-2.0
// A client of dsoftbusd for its tests, and a run of the module among peers that can die. The frames of docs/format/wire-dsoftbusd.md are built
// byte by byte, apart from the guest's codec.
import assert from 'node:assert/strict';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { Host, type Outcome, type Peer, type Script, type Step } from '../../runtime/node/index.js';
import { id, mute, named, policyd, readReply, request, u32, u64, type Part, type Reply } from './frames.js';

const abi = loadAbi();
export const L = (key: string): number => limit(abi, 'dsoftbusd', key);
export const S = {
  ok: 0, notFound: 1, denied: 2, identity: 3, limit: 4, full: 5, empty: 6, closed: 7, dead: 8, timeout: 9, malformed: 10, unsupported: 11,
  tooLarge: 12, exists: 13, pending: 14, invalid: 15,
} as const;
export const OP = { listen: 1, connect: 2, accept: 3, send: 4, recv: 5, close: 6, stats: 7 } as const;
export const COUNTERS = ['listeners', 'sessions', 'opened', 'closed', 'refused', 'spoofed', 'foreign', 'messages', 'bytes', 'dead', 'timeouts', 'full'] as const;
const RIGHTS = 5;

export class Bus {
  private nonce = 0;
  readonly io: Host;
  constructor(io: Host) { this.io = io; }

  /** A call whose answer must have come before the next receive. */
  *ask(from: string, op: number, body: Part[], moved = 0): Generator<Step, Reply, Outcome> {
    const bytes = yield* this.io.call(from, request('DB', 1, op, ++this.nonce, ...body), { moved });
    const reply = readReply(bytes, 'DB', op);
    assert.equal(reply.nonce, this.nonce);
    return reply;
  }
  /** A call that is not answered yet: its reply handle, for `late`. */
  *defer(from: string, op: number, body: Part[], moved = 0): Generator<Step, { handle: number; op: number }, Outcome> {
    const outcome: Outcome = yield { kind: 'message', from: id(from), bytes: request('DB', 1, op, ++this.nonce, ...body), call: true, moved, badge: 1 };
    assert.equal(outcome.reply, null, 'answered at once');
    return { handle: outcome.replyHandle, op };
  }
  late(call: { handle: number; op: number }): Reply | null {
    const bytes = this.io.lateReplies.get(call.handle);
    return bytes ? readReply(bytes, 'DB', call.op) : null;
  }
  alive(who: string, rights = RIGHTS): number { return this.io.grantPeer(who, rights); }
  *listen(from: string, port = 'p', moved = this.alive(from)): Generator<Step, Reply, Outcome> {
    return yield* this.ask(from, OP.listen, [named(port)], moved);
  }
  connectBody(self: string, to: string, wait_ns = 0n, port = 'p'): Part[] { return [u64(id(self)), u64(id(to)), u64(wait_ns), named(port)]; }
  *connect(from: string, to: string, port = 'p', self = from): Generator<Step, Reply, Outcome> {
    return yield* this.ask(from, OP.connect, this.connectBody(self, to, 0n, port), this.alive(from));
  }
  *accept(from: string, listener: number, wait_ns = 0n): Generator<Step, Reply, Outcome> {
    return yield* this.ask(from, OP.accept, [u32(listener), u64(wait_ns)]);
  }
  *send(from: string, session: number, message: string | Buffer): Generator<Step, number, Outcome> {
    return (yield* this.ask(from, OP.send, [u32(session), message])).status;
  }
  *recv(from: string, session: number): Generator<Step, string | number, Outcome> {
    const { status, body } = yield* this.ask(from, OP.recv, [u32(session), u64(0)]);
    if (status !== S.ok) assert.equal(body.length, 0);
    return status === S.ok ? body.toString('latin1') : status;
  }
  *close(from: string, which: number): Generator<Step, number, Outcome> {
    return (yield* this.ask(from, OP.close, [u32(which)])).status;
  }
  *stats(): Generator<Step, Record<(typeof COUNTERS)[number], number>, Outcome> {
    const { body } = yield* this.ask('selftest', OP.stats, []);
    assert.equal(body.length, 8 * COUNTERS.length);
    return Object.fromEntries(COUNTERS.map((name, i) => [name, Number(body.readBigUInt64LE(8 * i))])) as Record<(typeof COUNTERS)[number], number>;
  }
  /** An open session: the connector's id and the acceptor's. */
  *open(listener: number, server: string, client: string): Generator<Step, [number, number], Outcome> {
    const connected = yield* this.connect(client, server);
    assert.equal(connected.status, S.pending);
    const accepted = yield* this.accept(server, listener);
    assert.equal(accepted.status, S.ok);
    assert.equal(accepted.body.readBigUInt64LE(4), id(client), 'who connected');
    return [connected.body.readUInt32LE(), accepted.body.readUInt32LE()];
  }
}

/** Runs the script against the module; every peer but policyd is mute. */
export function runBus(wasm: Uint8Array, script: (bus: Bus) => Script, policy: Peer = policyd(() => true)): Host {
  const host = new Host({ name: 'dsoftbusd', wasm, peers: { policyd: policy, logd: mute, metricsd: mute, samgrd: mute, server: mute, client: mute, mallory: mute } });
  host.run((io) => script(new Bus(io)));
  return host;
}
