// SPDX-License-Identifier: Apache-2.0
// A disk that fails at request N, for every N of a short life of the store, in every way: no acknowledged value is lost or wrong, what was
// answered `io` is there or not there, the store comes back by itself, and the next boot finds what the last reads said.
// Limit: one fault a life; two in a row are the service's own tests.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { limit, loadAbi } from '../../../scripts/lib/abi.js';
import { Recycled, buildModule } from '../../../runtime/node/index.js';
import { Random } from '../../random.js';
import { Contents } from './contents.js';
import { BlkDevice, STATUS_IOERR, type Fault } from './device.js';
import { SimDisk } from './disk.js';
import { STATUS, delFrame, putFrame } from './frames.js';
import type { State } from './history.js';
import { Session, WORKLOAD_PREFIX, type Steps } from './session.js';

const SECTORS = 96;
const OPERATIONS = 70;
const KEYS = 5;
const SEED = 21;
const ATTEMPTS_MAX = 64;
const waitMax_ns = BigInt(limit(loadAbi(), 'statefsd', 'device_wait_ns'));

let program: Recycled;
before(async () => { program = new Recycled(await buildModule('statefsd')); });

/** What a key may hold: the last acknowledged content, or one that was answered `io` after it; undefined: absent. */
type Possible = Map<string, (number | undefined)[]>;

function* life(io: Session, contents: Contents, random: Random, possible: Possible): Steps<number> {
  let failures = 0;
  for (let n = 0; n < OPERATIONS; n++) {
    const key = `${WORKLOAD_PREFIX}k${random.below(KEYS)}`;
    const known = possible.get(key) ?? [undefined];
    const content = random.chance(15) ? undefined : contents.make(40 + random.below(400), random);
    const { status } = yield* io.ask((nonce) => (content === undefined ? delFrame(nonce, key) : putFrame(nonce, key, contents.bytesOf(content))));
    if (status === STATUS.ok) possible.set(key, [content]);
    else if (status === STATUS.io) {
      failures++;
      possible.set(key, [...known, content]);
    } else if (status === STATUS.notFound) {
      assert.ok(content === undefined && known.includes(undefined), `DEL ${key} finds nothing although it was acknowledged`);
      possible.set(key, [undefined]);
    } else assert.fail(`status ${status}`);
  }
  return failures;
}

/** Reads until the store is back. */
function* readBack(io: Session, contents: Contents): Steps<State> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const held = yield* io.readState(contents, true);
    if (typeof held !== 'number') return held.state;
    assert.equal(held, STATUS.io);
    yield* io.host.idle();
  }
  return assert.fail('the store did not come back');
}

function check(state: State, possible: Possible, what: string): void {
  for (const [key, contents] of possible) assert.ok(contents.includes(state.get(key)), `${what}: ${key} holds ${state.get(key)}, not one of ${contents.join(', ')}`);
  for (const key of state.keys()) assert.ok(possible.has(key), `${what}: ${key} out of nowhere`);
}

/** One life with a fault at a request; returns how many requests the life took, and with reading all back, and how many operations failed. */
function liveWith(at: number, fault: Fault | null): { requests: number; lifeRequests: number; failures: number; slowest_ns: bigint } {
  const random = new Random(SEED);
  const contents = new Contents(random);
  const device = new BlkDevice(new SimDisk(SECTORS));
  device.look_ns = 50_000_000n;
  let seen = 0;
  device.fault = () => (seen++ === at ? fault : null);
  const possible: Possible = new Map();
  let failures = 0;
  let lifeRequests = 0;
  let slowest_ns = 0n;
  const what = `seed ${SEED}, ${fault?.kind} at request ${at}`;
  const state = new Session(program, device).run(function* (io) {
    const from = io.host.now_ns;
    failures = yield* life(io, contents, random, possible);
    slowest_ns = io.host.now_ns - from;
    lifeRequests = seen;
    return yield* readBack(io, contents);
  });
  const requests = seen;
  check(state, possible, what);
  device.fault = () => null;
  const next = new Session(program, device).run((io) => io.readState(contents, true));
  assert.ok(typeof next !== 'number', what);
  assert.deepEqual([...next.state].sort(), [...state].sort(), `${what}: the next boot`);
  return { requests, lifeRequests, failures, slowest_ns };
}

test('without a fault nothing fails', () => {
  const { requests, failures } = liveWith(-1, null);
  assert.equal(failures, 0);
  assert.ok(requests > 2 * OPERATIONS, 'each operation writes and flushes');
});

const FAULTS: Fault[] = [
  { kind: 'status', status: STATUS_IOERR }, { kind: 'applied', status: STATUS_IOERR }, { kind: 'torn', bytes: 300 }, { kind: 'status', status: 2 },
  { kind: 'used', bytes: 0 },
];
for (const fault of FAULTS) {
  test(`an error at request N (${fault.kind}${'status' in fault ? ` ${fault.status}` : ''}), for every N`, () => {
    const { requests } = liveWith(-1, null);
    let hurt = 0;
    for (let at = 0; at < requests; at++) hurt += liveWith(at, fault).failures > 0 ? 1 : 0;
    assert.ok(hurt > requests / 3, `only ${hurt} of ${requests} faults were noticed by a client`);
  });
}

test('a request that is never answered fails what waits for it, in bounded time, and the store comes back', () => {
  const { requests, lifeRequests } = liveWith(-1, null);
  // The first mount is over sooner (limits.statefsd mount_wait_ns), and nothing waits for it.
  for (let at = 0; at < requests; at += 7) {
    const { failures, slowest_ns } = liveWith(at, { kind: 'never' });
    if (at > 20 && at < lifeRequests) assert.ok(failures >= 1, `request ${at}`);
    assert.ok(slowest_ns < 2n * waitMax_ns + 5_000_000_000n, `request ${at}: ${slowest_ns} ns`);
  }
});
