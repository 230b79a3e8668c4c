// SPDX-License-Identifier: Apache-2.0
// Owns: one run of statefsd on a simulated disk: boots the module under Node, asks it, and reads back all that it holds.
// Invariant: an answer is noted at the moment it leaves the module, with what had reached the disk by then; policyd allows everything
// (access is the service's own tests); a request that gets no answer within ROUNDS_MAX receives ends the run with an error.
// Limits: one request is matched to its answer by its nonce, so a session sends at most 2^32 of them.
import { Host, type Outcome, type Peer, type Program, type Step } from '../../../runtime/node/index.js';
import type { Contents } from './contents.js';
import { BlkDevice } from './device.js';
import { OP, STATUS, bareFrame, getFrame, listFrame, readPage, readPiece, readReply, readStats, type Reply } from './frames.js';
import type { State } from './history.js';

const ROUNDS_MAX = 4096;
const PIECE_BYTES = 8000;
const PREFIX = '/state/';
/** Where the workloads keep their keys. */
export const WORKLOAD_PREFIX = '/state/w/';

/** Something that must not be: the store lied, lost or failed. */
export class Violation extends Error {
  constructor(readonly lines: string[]) {
    super(lines.join('\n'));
  }
}

/** A part of a script: what it yields the host answers; T is its result. */
export type Steps<T> = Generator<Step, T, Outcome>;

/** An answer, and the length of the disk's log when it left. */
export interface Answer extends Reply {
  position: number;
}

const allow: Peer = ({ bytes }) => {
  const answer = new Uint8Array(10);
  answer.set(bytes.subarray(0, 8));
  answer[3] = bytes[3]! | 0x80;
  return answer;
};
const mute: Peer = ({ call }) => (call ? { error: 'not_declared' } : null);
const PEERS: Record<string, Peer> = { policyd: allow, logd: mute, metricsd: mute, samgrd: mute };
const PING = Uint8Array.from([0x49, 0x4e, 1, 2, 1, 0, 0, 0]);

export class Session {
  readonly host: Host;
  private readonly answers = new Map<number, Answer>();
  private nonce = 0;
  /** Called for each answer when it leaves. */
  onAnswer: (answer: Answer) => void = () => undefined;

  constructor(program: Program, readonly device: BlkDevice, mutant = 0) {
    device.powerOn();
    this.host = new Host({
      name: 'statefsd', wasm: program, peers: PEERS, sys: device.sys, mutant,
      onReply: (_handle, bytes) => {
        const reply = readReply(bytes);
        if (reply === null) return;
        const answer = { ...reply, position: device.disk.log.length };
        this.answers.set(reply.nonce, answer);
        this.onAnswer(answer);
      },
    });
  }

  /** Runs `script` on the module from its start on, and returns what it returned. What is under way at its end is cut off. */
  run<T>(script: (session: Session) => Steps<T>): T {
    let result: { value: T } | null = null;
    this.host.run(() => this.whole(script, (value) => { result = { value }; }));
    if (result === null) throw new Violation(['statefsd ended by itself']);
    return (result as { value: T }).value;
  }
  private *whole<T>(script: (session: Session) => Steps<T>, done: (value: T) => void): Steps<void> {
    yield* this.host.call('init-lite', PING);
    done(yield* script(this));
  }

  /** Next nonce: the number that the answer will carry. */
  next(): number {
    return ++this.nonce;
  }
  /** Hands a request over and goes on; its answer comes to `take` or `wait`. */
  *submit(frame: Uint8Array): Steps<void> {
    yield* this.host.call('selftest', frame);
  }
  /** The answer to a request, if there is one already; it is handed out once. */
  take(nonce: number): Answer | null {
    const found = this.answers.get(nonce) ?? null;
    this.answers.delete(nonce);
    return found;
  }
  /** Lets the module go on until a request is answered. */
  *wait(nonce: number): Steps<Answer> {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const found = this.take(nonce);
      if (found !== null) return found;
      yield* this.host.idle();
    }
    throw new Violation([`request ${nonce} was never answered`]);
  }
  /** Hands one request over and waits for its answer. */
  *ask(make: (nonce: number) => Uint8Array): Steps<Answer> {
    const nonce = this.next();
    yield* this.submit(make(nonce));
    return yield* this.wait(nonce);
  }

  /** Every key below the workloads' prefix with its content, or the status other than ok that LIST, or a GET that
   *  met an error of the disk, was answered with. A value that is
   *  known to be lost (integrity) is left out and counted, unless `strict`. */
  *readState(contents: Contents, strict: boolean): Steps<{ state: State; lost: string[] } | number> {
    const state: State = new Map();
    const lost: string[] = [];
    for (let after = '', more = true; more;) {
      const answer = yield* this.ask((nonce) => listFrame(nonce, PREFIX, after));
      if (answer.status !== STATUS.ok) return answer.status;
      const page = readPage(answer.body);
      for (const { key, valueBytes } of page.keys) {
        if (key <= after) throw new Violation([`LIST is out of order: ${key} after ${after}`]);
        after = key;
        if (!key.startsWith(WORKLOAD_PREFIX)) continue;
        const value = yield* this.readValue(key);
        if (value === STATUS.io) return value;
        if (typeof value === 'number') {
          if (strict || value !== STATUS.integrity) throw new Violation([`GET ${key}: status ${value}, although LIST names it`]);
          lost.push(key);
          continue;
        }
        if (value.length !== valueBytes) throw new Violation([`${key}: LIST says ${valueBytes} bytes, GET gives ${value.length}`]);
        const content = contents.numberOf(value);
        if (content < 0) throw new Violation([`${key} holds ${value.length} bytes that nobody ever put: ${value.subarray(0, 16).toString('hex')}...`]);
        state.set(key, content);
      }
      more = page.more;
    }
    return { state, lost };
  }
  private *readValue(key: string): Steps<Buffer | number> {
    const pieces: Buffer[] = [];
    for (let offset = 0, total = 1; offset < total || total === 0;) {
      const answer = yield* this.ask((nonce) => getFrame(nonce, key, offset, PIECE_BYTES));
      if (answer.status !== STATUS.ok) return answer.status;
      const piece = readPiece(answer.body);
      if (piece.offset !== offset || (piece.bytes.length === 0 && offset < piece.total)) throw new Violation([`${key}: GET goes nowhere at ${offset}`]);
      total = piece.total;
      pieces.push(Buffer.from(piece.bytes));
      offset += piece.bytes.length;
      if (total === 0) break;
    }
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  }

  /** The counters (frames.ts STATS), or a status. */
  *stats(): Steps<number[] | number> {
    const answer = yield* this.ask((nonce) => bareFrame(OP.stats, nonce));
    return answer.status === STATUS.ok ? readStats(answer.body) : answer.status;
  }
}
