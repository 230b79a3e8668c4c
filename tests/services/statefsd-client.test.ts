// SPDX-License-Identifier: Apache-2.0
// nexus-state in its compiled form, against a statefsd that is scripted frame by frame: routes that die, answers that are broken, values
// that change while they are read, and the asynchronous writer, each of whose frames is answered exactly once.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { buildEntry, Host, type PeerAnswer, type PeerMessage } from '../../runtime/node/index.js';
import { OP, STATUS as S } from '../statefs/sim/frames.js';
import { frame, u16, u32, u64, u8, type Part } from './frames.js';

const abi = loadAbi();
const WINDOW = limit(abi, 'state_client', 'frames_in_flight_max');
const ATTEMPTS = limit(abi, 'state_client', 'read_attempts_max');
const REFUSED = -180;
const BROKEN = -181;
const TOO_LARGE = -182;
const CHANGED = -183;
const WINDOW_FULL = -184;
const LOST = -185;
const LOST_ANSWER = 254;
const NO_ANSWER = 255;
let wasm: Uint8Array;
before(async () => { wasm = await buildEntry('tests/services/guest-state.ts'); });

interface Asked { op: number; nonce: bigint; body: Buffer; message: PeerMessage }
/** What the scripted statefsd says to a request: a whole frame, or a kernel error by name; null: nothing. */
type Script = (asked: Asked) => Buffer | { error: string } | null;
const reply = (asked: Asked, status: number, ...body: Part[]): Buffer => frame('SF', u8(2), u8(asked.op | 0x80), u8(status), u64(asked.nonce), ...body);

class Peer {
  readonly frames: Asked[] = [];
  /** frames that came as sends, with the endpoint to answer at */
  readonly sends: Asked[] = [];
  lookups = 0;
  constructor(public script: Script = () => null) {}
  readonly statefsd = (message: PeerMessage): PeerAnswer => {
    const at = Buffer.from(message.bytes);
    const asked = { op: at[3]!, nonce: at.readBigUInt64LE(4), body: at.subarray(12), message };
    (message.call ? this.frames : this.sends).push(asked);
    const said = this.script(asked);
    return said === null ? null : Buffer.isBuffer(said) ? { bytes: said } : said;
  };
  readonly samgrd = (message: PeerMessage): PeerAnswer => {
    this.lookups++;
    const at = Buffer.from(message.bytes);
    return { bytes: frame('SM', u8(1), u8(at[3]! | 0x80), u8(0), at.subarray(4, 8)), movedPeer: 'statefsd', movedRights: 5 };
  };
}
class Client {
  readonly host: Host;
  constructor(readonly peer: Peer) {
    this.host = new Host({ name: 'client', wasm, peers: { samgrd: peer.samgrd, statefsd: peer.statefsd } });
  }
  n(name: string, ...args: (number | bigint)[]): number {
    return Number(this.host.fn(name)(...args));
  }
  key(text: string): number {
    this.host.write(this.n('keyAt'), Buffer.from(text));
    return text.length;
  }
  fill(bytes: Uint8Array): number {
    this.host.write(this.n('valueAt'), bytes);
    return bytes.length;
  }
  /** Answers at the endpoint that a send moved along. */
  answer(asked: Asked, status: number, ...body: Part[]): void {
    this.host.deliver(asked.message.replyEndpoint, 'statefsd', reply(asked, status, ...body));
  }
  answers(sends = 0): [token: number, status: number, sequence: number][] {
    const count = this.n('writerTake', sends);
    const at = Buffer.from(this.host.bytes(this.n('answersAt'), count * 16));
    return Array.from({ length: count }, (_, i) => [at.readUInt32LE(16 * i), at.readUInt32LE(16 * i + 4), Number(at.readBigUInt64LE(16 * i + 8))]);
  }
}
const client = (script?: Script): Client => new Client(new Peer(script));
const ok = (asked: Asked): Buffer => reply(asked, S.ok, u64(7));

test('a status is told as it came, a success with its sequence', () => {
  let status: number = S.ok;
  const c = client((asked) => (status === S.ok ? ok(asked) : reply(asked, status)));
  const keyLen = c.key('/state/a');
  for (const call of [() => c.n('put', keyLen, 3), () => c.n('del', keyLen), () => c.n('sync', 0), () => c.n('batchCall', 0)]) {
    status = S.ok;
    assert.equal(call(), 0);
    assert.equal(c.n('sequence'), 7);
    for (status of [S.io, S.noSpace, S.foreign]) assert.deepEqual([call(), c.n('status')], [REFUSED, status]);
  }
  assert.equal(c.peer.lookups, 1, 'the route is kept');
});

test('an OK whose body is not what it must be is no success', () => {
  for (const body of [[], [u32(1)], [u64(1), u8(0)]] as Part[][]) {
    const c = client((asked) => reply(asked, S.ok, ...body));
    assert.equal(c.n('put', c.key('/state/a'), 1), BROKEN);
  }
});

test('after dead the route is resolved anew and the call made once more, not twice', () => {
  let deaths = 1;
  const c = client((asked) => (deaths-- > 0 ? { error: 'dead' } : ok(asked)));
  assert.equal(c.n('put', c.key('/state/a'), 1), 0);
  assert.deepEqual([c.peer.lookups, c.peer.frames.length, c.n('resolutions')], [2, 2, 2]);
  deaths = 5;
  assert.equal(c.n('put', 8, 1), -3);
  assert.equal(c.peer.frames.length, 4);
});

test('a value over one message goes in as a transaction, and what fails in between aborts it', () => {
  const value = Buffer.from(Array.from({ length: 20_000 }, (_, i) => i & 255));
  const got = Buffer.alloc(20_000);
  let fails = false;
  const c = client((asked) => {
    if (asked.op === OP.txnBegin) return reply(asked, S.ok, u32(3));
    if (asked.op !== OP.txnPut) return asked.op === OP.txnAbort ? reply(asked, S.ok) : ok(asked);
    const [keyLen, offset, length] = [asked.body.readUInt16LE(4), asked.body.readUInt32LE(10), asked.body.readUInt16LE(14)];
    if (fails && offset > 0) return reply(asked, S.txnLimit);
    got.set(asked.body.subarray(16 + keyLen, 16 + keyLen + length), offset);
    return reply(asked, S.ok);
  });
  c.fill(value);
  assert.equal(c.n('put', c.key('/state/large'), value.length), 0);
  assert.deepEqual(got, value);
  assert.deepEqual([c.peer.frames[0]!.op, c.peer.frames.at(-1)!.op], [OP.txnBegin, OP.txnCommit]);
  assert.ok(c.peer.frames.every(({ message }) => message.bytes.length <= 8192));
  fails = true;
  assert.deepEqual([c.n('put', 12, value.length), c.peer.frames.at(-1)!.op], [REFUSED, OP.txnAbort]);
});

/** Serves a GET of `value` of version `version`. */
function piece(asked: Asked, value: Buffer, version: number): Buffer {
  const [offset, max] = [asked.body.readUInt32LE(2), asked.body.readUInt16LE(6)];
  const bytes = value.subarray(offset, offset + Math.min(max, 8000));
  return reply(asked, S.ok, u32(value.length), u32(offset), u16(bytes.length), u64(version), bytes);
}
test('a value that changes while it is read is read anew, so often and no oftener', () => {
  const versions = [Buffer.alloc(20_000, 1), Buffer.alloc(20_000, 2)];
  let flips = 1;
  let version = 0;
  const c = client((asked) => {
    if (asked.body.readUInt32LE(2) > 0 && flips > 0) {
      flips--;
      version++;
    }
    return piece(asked, versions[version & 1]!, version);
  });
  const keyLen = c.key('/state/v');
  assert.equal(c.n('get', keyLen, 65_536), 20_000);
  assert.deepEqual(Buffer.from(c.host.bytes(c.n('valueAt'), 20_000)), versions[1]);
  flips = 1000;
  const before = c.peer.frames.length;
  assert.equal(c.n('get', keyLen, 65_536), CHANGED);
  assert.equal(c.peer.frames.length - before, 2 * ATTEMPTS);
});

test('a value that is too long, or pieces that do not fit together, are told apart from a value', () => {
  const c = client((asked) => piece(asked, Buffer.alloc(100, 1), 1));
  const keyLen = c.key('/state/v');
  assert.equal(c.n('get', keyLen, 100), 100);
  assert.equal(c.n('get', keyLen, 99), TOO_LARGE);
  assert.equal(c.n('get', keyLen, 0), TOO_LARGE);
  const broken: Record<string, Part[]> = {
    'nothing': [], 'another offset': [u32(4), u32(1), u16(1), u64(1), 'x'], 'no progress': [u32(4), u32(0), u16(0), u64(1)],
    'more than the total': [u32(4), u32(0), u16(5), u64(1), 'xxxxx'], 'a byte more': [u32(4), u32(0), u16(4), u64(1), 'xxxxx'],
  };
  for (const [name, body] of Object.entries(broken)) {
    c.peer.script = (asked) => reply(asked, S.ok, ...body);
    assert.equal(c.n('get', keyLen, 100), BROKEN, name);
  }
});

test('a list ends at its end, and is broken where a page makes no progress', () => {
  const keys = ['/state/a', '/state/b', '/state/c'];
  const c = client((asked) => {
    const after = asked.body.toString('latin1', 6 + asked.body.readUInt16LE(0));
    const key = keys.find((each) => each > after);
    if (key === undefined) return reply(asked, S.ok, u16(0), u8(0), u8(0));
    return reply(asked, S.ok, u16(1), u8(1), u8(0), u16(key.length), u32(1), key);
  });
  c.n('listBegin', c.key('/state/'));
  const found: string[] = [];
  for (let length = c.n('listNext'); length >= 0; length = c.n('listNext')) found.push(c.host.text(c.n('keyAt') + 256, length));
  assert.deepEqual([found, c.n('listOutcome')], [keys, 0]);
  for (const body of [[], [u16(0), u8(1), u8(0)], [u16(1), u8(0), u8(0)], [u16(1), u8(0), u8(0), u16(300), u32(0), 'x'.repeat(300)]] as Part[][]) {
    c.peer.script = (asked) => reply(asked, S.ok, ...body);
    c.n('listBegin', 7);
    assert.deepEqual([c.n('listNext'), c.n('listOutcome')], [-1, BROKEN]);
  }
});

test('a batch takes what fits into one message, and an item that does not fit leaves it as it was', () => {
  const c = client(ok);
  c.n('batchBegin');
  const keyLen = c.key('/state/k');
  let items = 0;
  while (c.n('batchPut', keyLen, 1000) === 1) items++;
  assert.equal(items, Math.floor((8192 - 16) / (4 + 8 + 1000)));
  const left = 8192 - 16 - items * 1012 - 12;
  assert.equal(c.n('batchPut', keyLen, left + 1), 0);
  assert.equal(c.n('batchPut', keyLen, left), 1, 'to the last byte');
  assert.equal(c.n('batchDel', keyLen), 0);
  assert.equal(c.n('batchCall', 1), 0);
  const { body, message } = c.peer.frames[0]!;
  assert.equal(message.bytes.length, 8192);
  assert.deepEqual([body.readUInt16LE(0), body.readUInt16LE(2)], [items + 1, 1]);
  c.n('batchBegin');
  for (let n = 0; n < limit(abi, 'statefsd', 'batch_items_max'); n++) assert.equal(c.n('batchPut', keyLen, 0), 1);
  assert.equal(c.n('batchPut', keyLen, 0), 0, 'items');
});

test('the writer has so many frames in flight, and each is answered once', () => {
  const c = client();
  c.n('batchBegin');
  c.n('batchPut', c.key('/state/k'), 5);
  const tokens = Array.from({ length: WINDOW }, () => c.n('writerSend', 0));
  assert.deepEqual(tokens, Array.from({ length: WINDOW }, (_, n) => n + 1));
  assert.deepEqual([c.n('writerSend', 0), c.n('writerSync'), c.n('writerFree'), c.peer.sends.length], [WINDOW_FULL, WINDOW_FULL, 0, WINDOW]);
  assert.deepEqual(c.answers(), []);
  c.answer(c.peer.sends[2]!, S.ok, u64(30));
  c.answer(c.peer.sends[0]!, S.io);
  assert.deepEqual(c.answers(), [[3, S.ok, 30], [1, S.io, 0]]);
  c.answer(c.peer.sends[2]!, S.ok, u64(30));
  assert.deepEqual(c.answers(), [], 'a second answer to the same frame');
  assert.equal(c.n('writerStrays'), 1);
  assert.equal(c.n('writerSync'), WINDOW + 1);
  assert.equal(c.peer.sends.at(-1)!.op, OP.sync);
  assert.deepEqual([c.n('writerWaiting'), c.n('writerAcknowledged')], [WINDOW - 1, 1]);
});

test('a frame that is never answered is given up in time; a late answer is a stray', () => {
  const c = client();
  c.n('batchBegin');
  c.n('batchPut', c.key('/state/k'), 5);
  c.n('writerSend', 0);
  c.host.advance(limit(abi, 'state_client', 'answer_wait_ns') - 1);
  assert.deepEqual(c.answers(), []);
  c.host.advance(1);
  assert.deepEqual(c.answers(), [[1, NO_ANSWER, 0]]);
  c.answer(c.peer.sends[0]!, S.ok, u64(1));
  assert.deepEqual([c.answers(), c.n('writerStrays'), c.n('writerWaiting')], [[], 0, 0]);
  c.n('writerSend', 0);
  assert.deepEqual([c.answers(), c.n('writerStrays')], [[], 1], 'it matched no frame');
});

test('when statefsd ends, what it had not answered is told at once, and may be sent again from there', () => {
  const c = client();
  c.n('batchBegin');
  c.n('batchPut', c.key('/state/k'), 5);
  c.n('writerSend', 0);
  c.n('writerSend', 0);
  c.answer(c.peer.sends[1]!, S.ok, u64(9));
  c.host.killPeer('statefsd');
  assert.deepEqual(c.answers(2), [[2, S.ok, 9], [1, NO_ANSWER, 0]]);
  assert.equal(c.n('resolutions'), 2);
  assert.deepEqual([c.n('writerWaiting'), c.peer.sends.length], [1, 3], 'one went out on the fresh route; the other met the dead one');
});

test('a send that fails keeps no handle and no frame', () => {
  const c = client(() => ({ error: 'full' }));
  c.n('batchBegin');
  c.n('batchPut', c.key('/state/k'), 5);
  c.n('writerSend', 0);
  const handles = c.host.handles.size;
  for (let n = 0; n < 100; n++) assert.equal(c.n('writerSend', 0), -5);
  assert.deepEqual([c.host.handles.size, c.n('writerWaiting')], [handles, 0]);
});

/** A statefsd that may end: everything it answers is OK. */
const mortal = (): { c: Client; end: () => void } => {
  let dies = false;
  const c = client((asked) => {
    if (!dies) return ok(asked);
    dies = false;
    return { error: 'dead' };
  });
  c.n('batchBegin');
  c.n('batchPut', c.key('/state/k'), 5);
  return { c, end: () => { dies = true; } };
};

test('a SYNC does not succeed over LAZY batches that a dead statefsd had accepted, and says so once', () => {
  const { c, end } = mortal();
  assert.deepEqual([c.n('batchCall', 1), c.n('sync', 0), c.n('batchCall', 1)], [0, 0, 0]);
  end();
  assert.equal(c.n('sync', 0), LOST, 'it met the dead one itself');
  assert.deepEqual([c.n('sync', 0), c.n('sync', 0)], [0, 0]);
  assert.equal(c.n('batchCall', 1), 0);
  end();
  assert.equal(c.n('put', 8, 1), 0, 'another call met the dead one');
  assert.deepEqual([c.n('sync', 0), c.n('sync', 0)], [LOST, 0]);
  assert.equal(c.n('batchCall', 1), 0);
  end();
  assert.equal(c.n('batchCall', 1), 0, 'a later LAZY batch does not hide the loss');
  assert.deepEqual([c.n('sync', 0), c.n('sync', 0)], [LOST, 0]);
});

test('a SYNC after a restart succeeds when nothing was accepted and not synced', () => {
  const { c, end } = mortal();
  assert.deepEqual([c.n('batchCall', 0), c.n('batchCall', 1), c.n('sync', 0)], [0, 0, 0]);
  end();
  assert.deepEqual([c.n('sync', 0), c.n('resolutions')], [0, 2]);
  end();
  assert.equal(c.n('batchCall', 1), 0, 'made once more: accepted by the new one alone');
  assert.deepEqual([c.n('sync', 0), c.n('sync', 0)], [0, 0]);
});

test('the writer tells of LAZY batches that a dead statefsd had accepted, once, in place of the OK to a SYNC', () => {
  const c = client();
  c.n('batchBegin');
  c.n('batchPut', c.key('/state/k'), 5);
  const acknowledge = (wanted: number): void => {
    c.answer(c.peer.sends.at(-1)!, S.ok, u64(9));
    assert.deepEqual(c.answers().map(([, status]) => status), [wanted]);
  };
  const lazy = (): void => { assert.ok(c.n('writerSend', 1) > 0); };
  const synced = (wanted: number): void => {
    assert.ok(c.n('writerSync') > 0);
    acknowledge(wanted);
  };
  lazy();
  acknowledge(S.ok);
  synced(S.ok);
  lazy();
  acknowledge(S.ok);
  c.host.killPeer('statefsd');
  assert.equal(c.n('writerSync'), -3, 'nothing was sent');
  synced(LOST_ANSWER);
  synced(S.ok);
  lazy();
  c.answer(c.peer.sends.at(-1)!, S.ok, u64(9));
  c.host.killPeer('statefsd');
  assert.equal(c.n('writerSync'), -3);
  assert.ok(c.n('writerSync') > 0, 'before the acknowledgement of the dead one was taken');
  c.answer(c.peer.sends.at(-1)!, S.ok, u64(10));
  assert.deepEqual(c.answers().map(([, status]) => status), [S.ok, LOST_ANSWER]);
  synced(S.ok);
});

test('a deletion that is made once more and finds no key is done; a first one that finds none is not', () => {
  const { c, end } = mortal();
  const script = c.peer.script;
  c.peer.script = (asked) => {
    const said = script(asked);
    return said !== null && !Buffer.isBuffer(said) ? said : reply(asked, S.notFound);
  };
  assert.deepEqual([c.n('del', 8), c.n('status')], [REFUSED, S.notFound]);
  end();
  assert.deepEqual([c.n('del', 8), c.n('status'), c.n('resolutions')], [0, S.ok, 2]);
});
