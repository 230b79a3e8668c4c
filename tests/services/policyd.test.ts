// SPDX-License-Identifier: Apache-2.0
// policyd's shipping module under Node: the decision table, who may ask about whom, refusals, the audit trail and its
// counts, the recipe's limits and errors, and fuzzed frames.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { parse } from 'smol-toml';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { loadServices } from '../../scripts/lib/services.js';
import {
  buildModule, Host, type HostOptions, type Outcome, type PeerAnswer, type Script, type Step,
} from '../../runtime/node/index.js';
import { frame, fuzzed, id, named, readPolicy, request, u64, u8, type Part } from './frames.js';

const abi = loadAbi();
const [CAPS, ROUTES, EXECS] = ['caps_max', 'routes_max', 'execs_max'].map((key) => limit(abi, 'policyd', key)) as [number, number, number];
const PATH = 'recipes/policy/base.toml';
const BASE = readFileSync(join(ROOT, 'image', PATH));
const RECIPE = `version = 1
[[subject]]
name = "gate"
caps = ["policy.delegate"]
[[subject]]
name = "init-lite"
caps = []
[[subject]]
name = "alice"
caps = ["rng.entropy", "proc.spawn"]
routes = ["rngd", "logd"]
execs = ["child-hello"]
[[subject]]
name = "bob"
execs = ["child-hello"]
`;
const ALLOW = 0;
const DENY = 1;
const MALFORMED = 2;
const UNSUPPORTED = 3;
let wasm: Uint8Array;
before(async () => { wasm = await buildModule('policyd'); });

function policyd(script: (io: Host) => Script, options: Partial<HostOptions> = {}, recipe: string | Uint8Array = RECIPE): Host {
  const host = new Host({
    name: 'policyd', wasm, files: { [PATH]: Buffer.from(recipe) }, peers: { logd: () => null }, ...options,
  });
  host.run(script);
  return host;
}
let nonce = 7;
function* ask(io: Host, from: string, op: number, version: number, ...body: Part[]): Generator<Step, number, Outcome> {
  nonce++;
  const reply = readPolicy(yield* io.call(from, request('PO', version, op, nonce, ...body)), op, version);
  assert.equal(reply.nonce, nonce, 'the nonce is echoed');
  assert.deepEqual([...reply.body], [0], 'a decision ends in one zero byte');
  return reply.status;
}
const cap = (io: Host, from: string, subject: string, name: string): Generator<Step, number, Outcome> =>
  ask(io, from, 4, 2, u64(id(subject)), named(name));
const delegated = (io: Host, from: string, subject: string, name: string): Generator<Step, number, Outcome> =>
  ask(io, from, 5, 2, u64(id(subject)), named(name));
const route = (io: Host, from: string, requester: string, target: string): Generator<Step, number, Outcome> =>
  ask(io, from, 2, 3, u64(id(requester)), u64(id(target)));
const exec = (io: Host, from: string, requester: string, image: string): Generator<Step, number, Outcome> =>
  ask(io, from, 3, 3, u64(id(requester)), u64(id(image)));
interface Stats { decisions: bigint; allowed: bigint; denied: bigint; refused: bigint; sent: bigint; waiting: bigint; lost: bigint }
function* stats(io: Host): Generator<Step, Stats, Outcome> {
  const reply = readPolicy(yield* io.call('selftest', request('PO', 2, 6, ++nonce)), 6, 2);
  const [decisions, allowed, denied, refused, sent, waiting, lost] =
    Array.from({ length: 7 }, (_, i) => reply.body.readBigUInt64LE(8 * i)) as [bigint, bigint, bigint, bigint, bigint, bigint, bigint];
  assert.equal(reply.body.length, 56);
  assert.equal(decisions, allowed + denied);
  assert.equal(decisions, sent + waiting + lost, 'every decision is audited, waits to be, or is counted as lost');
  return { decisions, allowed, denied, refused, sent, waiting, lost };
}

test('decides by the table, and denies what it does not grant', () => {
  policyd(function* (io) {
    assert.equal(yield* cap(io, 'alice', 'alice', 'rng.entropy'), ALLOW);
    assert.equal(yield* cap(io, 'alice', 'alice', 'rng.entrop'), DENY);
    assert.equal(yield* cap(io, 'alice', 'alice', 'rng.entropy2'), DENY);
    assert.equal(yield* cap(io, 'bob', 'bob', 'rng.entropy'), DENY);
    assert.equal(yield* cap(io, 'carol', 'carol', 'rng.entropy'), DENY, 'a subject without a row');
    assert.equal(yield* route(io, 'alice', 'alice', 'rngd'), ALLOW);
    assert.equal(yield* route(io, 'alice', 'alice', 'execd'), DENY);
    assert.equal(yield* route(io, 'bob', 'bob', 'rngd'), DENY);
    assert.equal(yield* exec(io, 'alice', 'alice', 'child-hello'), ALLOW);
    assert.equal(yield* exec(io, 'alice', 'alice', 'child-exit42'), DENY);
    assert.equal(yield* exec(io, 'bob', 'bob', 'child-hello'), DENY, 'the image alone, without proc.spawn');
  });
});

test('lets only a delegate speak for another, and takes nobody by its word', () => {
  policyd(function* (io) {
    assert.equal(yield* delegated(io, 'gate', 'alice', 'rng.entropy'), ALLOW);
    assert.equal(yield* delegated(io, 'gate', 'bob', 'rng.entropy'), DENY);
    assert.equal(yield* delegated(io, 'alice', 'alice', 'rng.entropy'), DENY, 'delegated op without policy.delegate');
    assert.equal(yield* delegated(io, 'bob', 'alice', 'rng.entropy'), DENY);
    assert.equal(yield* cap(io, 'bob', 'alice', 'rng.entropy'), DENY, 'a spoofed subject');
    assert.equal(yield* cap(io, 'gate', 'alice', 'rng.entropy'), DENY, 'the plain op is about oneself, delegates included');
    assert.equal(yield* route(io, 'bob', 'alice', 'rngd'), DENY);
    assert.equal(yield* route(io, 'gate', 'alice', 'rngd'), ALLOW);
    assert.equal(yield* exec(io, 'bob', 'alice', 'child-hello'), DENY);
    assert.equal(yield* exec(io, 'gate', 'alice', 'child-hello'), ALLOW);
  });
});

test('refuses malformed and unsupported frames without deciding', () => {
  policyd(function* (io) {
    const check = (...body: Part[]): Generator<Step, number, Outcome> => ask(io, 'alice', 4, 2, ...body);
    assert.equal(yield* check(), MALFORMED);
    assert.equal(yield* check(u64(id('alice')), u8(0)), MALFORMED, 'an empty capability');
    assert.equal(yield* check(u64(id('alice')), u8(5), 'rng'), MALFORMED, 'shorter than it says');
    assert.equal(yield* check(u64(id('alice')), named('rng.entropy'), u8(0)), MALFORMED, 'a trailing byte');
    assert.equal(yield* check(u64(id('alice')), named('rng entropy')), MALFORMED, 'a byte outside the alphabet');
    assert.equal(yield* check(u64(id('alice')), named('rng\nop=x')), MALFORMED, 'a line break for the audit record');
    assert.equal(yield* check(u64(id('alice')), named('a'.repeat(48))), DENY, '48 bytes are a capability');
    assert.equal(yield* check(u64(id('alice')), named('a'.repeat(49))), MALFORMED, '49 are not');
    assert.equal(yield* ask(io, 'alice', 2, 3, u64(1)), MALFORMED);
    assert.equal(yield* ask(io, 'alice', 2, 2, u64(id('alice')), u64(id('rngd'))), UNSUPPORTED, 'ROUTE in version 2');
    assert.equal(yield* ask(io, 'alice', 4, 3, u64(id('alice')), named('rng.entropy')), UNSUPPORTED, 'CHECK_CAP in version 3');
    const counted = yield* stats(io);
    assert.deepEqual([counted.decisions, counted.refused], [1n, 10n]);
    for (const [bytes, status] of [[frame('PO', u8(2), u8(60), [4, 5]), UNSUPPORTED], [frame('PO'), MALFORMED], [frame('XX', u8(2), u8(4), [4, 5]), MALFORMED]] as const) {
      const reply = Buffer.from((yield* io.call('alice', bytes))!);
      assert.equal(reply[8], status);
    }
  });
});

test('audits each decision once, in order, with who asked, about whom and why', () => {
  const records: { number: bigint; level: number; scope: string; message: string; fields: string }[] = [];
  const logd = ({ bytes }: { bytes: Uint8Array }): PeerAnswer => {
    const at = Buffer.from(bytes);
    assert.equal(at.toString('latin1', 0, 2) + at[2] + at[3], 'LO21');
    const [scope, message, fields] = [at[13]!, at.readUInt16LE(14), at.readUInt16LE(16)];
    assert.equal(at.length, 18 + scope + message + fields);
    records.push({
      number: at.readBigUInt64LE(4),
      level: at[12]!,
      scope: at.toString('latin1', 18, 18 + scope),
      message: at.toString('latin1', 18 + scope, 18 + scope + message),
      fields: at.toString('latin1', 18 + scope + message),
    });
    return null;
  };
  policyd(function* (io) {
    yield* cap(io, 'alice', 'alice', 'rng.entropy');
    yield* delegated(io, 'bob', 'alice', 'rng.entropy');
    yield* route(io, 'gate', 'carol', 'rngd');
    yield* exec(io, 'alice', 'alice', 'child-exit42');
    assert.equal(yield* ask(io, 'alice', 4, 2), MALFORMED);
    assert.deepEqual(yield* stats(io), { decisions: 4n, allowed: 1n, denied: 3n, refused: 1n, sent: 4n, waiting: 0n, lost: 0n });
  }, { peers: { logd } });
  const hex = (name: string): string => id(name).toString(16).padStart(16, '0');
  assert.deepEqual(records.map(({ number, level, scope }) => [number, level, scope]), [1n, 2n, 3n, 4n].map((n) => [n, n === 1n ? 2 : 1, 'policyd.audit']));
  assert.equal(records[0]!.message, `audit v1 op=check_cap decision=allow subject=0x${hex('alice')}`);
  assert.equal(records[0]!.fields, `caller=${hex('alice')}\ncap=rng.entropy\ndecision=allow\nnumber=1\nop=check_cap\nreason=granted\nsubject=${hex('alice')}`);
  assert.match(records[1]!.fields, new RegExp(`caller=${hex('bob')}\n.*decision=deny\n.*reason=not_delegate\nsubject=${hex('alice')}$`, 's'));
  assert.match(records[2]!.fields, new RegExp(`reason=unknown_subject\nsubject=${hex('carol')}\ntarget=${hex('rngd')}$`));
  assert.match(records[3]!.fields, new RegExp(`op=exec\nreason=not_granted\nsubject=${hex('alice')}\ntarget=${hex('child-exit42')}$`));
});

test('keeps audits that logd does not take, loses the oldest past the ring and counts them, and catches up', () => {
  const ring = limit(abi, 'policyd', 'audit_ring');
  const taken: bigint[] = [];
  let open = false;
  const logd = ({ bytes }: { bytes: Uint8Array }): PeerAnswer => {
    if (!open) return { error: 'full' };
    taken.push(Buffer.from(bytes).readBigUInt64LE(4));
    return null;
  };
  policyd(function* (io) {
    for (let n = 0; n < ring; n++) yield* cap(io, 'alice', 'alice', 'rng.entropy');
    assert.deepEqual({ ...(yield* stats(io)) }, { decisions: BigInt(ring), allowed: BigInt(ring), denied: 0n, refused: 0n, sent: 0n, waiting: BigInt(ring), lost: 0n });
    yield* cap(io, 'alice', 'alice', 'rng.entropy');
    const over = yield* stats(io);
    assert.deepEqual([over.waiting, over.lost], [BigInt(ring), 1n]);
    open = true;
    for (let n = 0; n < 2 + ring / limit(abi, 'policyd', 'audit_burst'); n++) yield* io.idle();
    const after = yield* stats(io);
    assert.deepEqual([after.sent, after.waiting, after.lost], [BigInt(ring), 0n, 1n]);
  }, { peers: { logd } });
  assert.deepEqual(taken, Array.from({ length: ring }, (_, i) => BigInt(i + 2)), 'the oldest was lost, the order is kept');
});

test('never waits: no audit is a call, and a dead logd costs nothing but the ring', () => {
  const host = policyd(function* (io) {
    io.tracing = true;
    io.killPeer('logd');
    assert.equal(yield* cap(io, 'alice', 'alice', 'rng.entropy'), ALLOW);
    assert.equal((yield* stats(io)).waiting, 1n);
    const fresh = io.grantPeer('logd2', 1);
    assert.equal((yield* io.call('init-lite', frame('IN', u8(1), u8(5), [4, 9]), { moved: fresh }))![8], 0);
    const after = yield* stats(io);
    assert.deepEqual([after.sent, after.waiting], [1n, 0n]);
    const again = io.grantPeer('logd2', 1);
    const before = io.handles.size;
    yield* io.call('init-lite', frame('IN', u8(1), u8(5), [4, 9]), { moved: again });
    assert.equal(io.handles.size, before - 1, 'the replaced capability was closed');
    const stranger = io.grantPeer('logd2', 1);
    yield* io.call('alice', frame('IN', u8(1), u8(5), [4, 9]), { moved: stranger });
    assert.equal(io.handles.has(stranger), false, 'only init-lite hands one out');
  }, { peers: { logd: () => null, logd2: () => null } });
  assert.equal(host.trace.includes('call'), false);
});

test('is ready with a good recipe alone, and says what is wrong with a bad one', () => {
  const ping = frame('IN', u8(1), u8(2), [4, 1]);
  policyd(function* (io) {
    assert.equal((yield* io.call('init-lite', ping))![8], 0);
    assert.deepEqual(io.console, ['policyd: ready']);
  });
  const subject = (n: number): string => `[[subject]]\nname = "s${n}"\n`;
  const list = (count: number, prefix: string): string => JSON.stringify(Array.from({ length: count }, (_, i) => `${prefix}${i}`));
  const bad: [string, string | undefined][] = [
    ['line 0 file_missing', undefined],
    ['line 1 unknown_version', 'version = 2\n'],
    ['line 3 version_missing', subject(1)],
    ['line 2 no_subject', 'version = 1\n'],
    ['line 2 unknown_key', 'version = 1\nmode = 1\n'],
    ['line 2 unknown_table', 'version = 1\n[subject]\n'],
    ['line 3 unknown_key', `version = 1\n[[subject]]\ncaptions = []\n`],
    ['line 3 unknown_key', `version = 1\n[[subject]]\nname = 7\n`],
    ['line 4 unknown_key', `version = 1\n${subject(1)}caps = "policy.delegate"\n`],
    ['line 4 unknown_key', `version = 1\n${subject(1)}caps = [1]\n`],
    ['line 3 name_missing', `version = 1\n[[subject]]\n[[subject]]\nname = "b"\n`],
    ['line 5 subject_twice', `version = 1\n${subject(1)}${subject(1)}`],
    ['line 3 bad_name', 'version = 1\n[[subject]]\nname = "Alice"\n'],
    ['line 3 bad_name', `version = 1\n[[subject]]\nname = "${'a'.repeat(33)}"\n`],
    ['line 4 bad_cap', `version = 1\n${subject(1)}caps = ["a b"]\n`],
    ['line 4 bad_cap', `version = 1\n${subject(1)}caps = ["${'c'.repeat(49)}"]\n`],
    ['line 4 cap_twice', `version = 1\n${subject(1)}caps = ["a", "a"]\n`],
    ['line 4 name_twice', `version = 1\n${subject(1)}routes = ["a", "a"]\n`],
    ['line 4 too_many_caps', `version = 1\n${subject(1)}caps = ${list(CAPS + 1, 'c')}\n`],
    ['line 4 too_many_names', `version = 1\n${subject(1)}routes = ${list(ROUTES + 1, 'r')}\n`],
    ['line 4 too_many_names', `version = 1\n${subject(1)}execs = ${list(EXECS + 1, 'x')}\n`],
    ['line 98 too_many_subjects', `version = 1\n${Array.from({ length: 49 }, (_, n) => subject(n)).join('')}`],
    ['line 4 duplicate_name', `version = 1\n${subject(1)}name = "b"\n`],
    ['line 0 file_too_long', `version = 1\n${'#'.repeat(limit(abi, 'policyd', 'recipe_bytes_max'))}`],
  ];
  for (const [reason, recipe] of bad) {
    policyd(function* (io) {
      assert.deepEqual(io.console, [`policyd: FAIL recipe ${reason}`], recipe ?? 'no file');
      assert.equal((yield* io.call('init-lite', ping))![8], 1, 'not ready');
      assert.equal(yield* cap(io, 's1', 's1', 'a'), DENY, 'denies everything');
    }, recipe === undefined ? { files: {} } : {}, recipe ?? '');
  }
  policyd(function* (io) {
    assert.deepEqual(io.console, [], 'each list at its limit');
    assert.equal(yield* cap(io, 's47', 's47', `c${CAPS - 1}`), ALLOW);
    assert.equal(yield* route(io, 's47', 's47', `r${ROUTES - 1}`), ALLOW);
  }, {}, `version = 1\n${Array.from({ length: 48 }, (_, n) => subject(n)).join('')}caps = ${list(CAPS, 'c')}\nroutes = ${list(ROUTES, 'r')}\nexecs = ${list(EXECS, 'x')}\n`);
});

test('the shipped recipe loads, names only what is in the image, and every grant in it holds', () => {
  const table = parse(BASE.toString()) as unknown as { subject: { name: string; caps?: string[]; routes?: string[]; execs?: string[] }[] };
  const services = loadServices();
  const known = new Set(services.map(({ name }) => name));
  policyd(function* (io) {
    assert.deepEqual(io.console, []);
    for (const { name, caps = [], routes = [], execs = [] } of table.subject) {
      assert.ok(known.has(name), `${name} is not in the image`);
      for (const one of caps) assert.equal(yield* cap(io, name, name, one), ALLOW, `${name} ${one}`);
      for (const one of routes) assert.equal(yield* route(io, name, name, one), ALLOW, `${name} to ${one}`);
      for (const one of [...routes, ...execs]) assert.ok(known.has(one), `${name}: ${one} is not in the image`);
      for (const one of execs) {
        assert.equal(yield* exec(io, name, name, one), caps.includes('proc.spawn') ? ALLOW : DENY);
        assert.ok(services.find((s) => s.name === one)!.exec, `${one} is not an exec entry`);
      }
      assert.equal(yield* cap(io, name, name, 'no.such'), DENY);
    }
    const execd = services.filter((s) => s.calls.some((c) => services[c]!.name === 'policyd')).map((s) => s.name);
    for (const name of execd.filter((n) => n !== 'init-lite' && n !== 'selftest')) {
      assert.equal(yield* cap(io, name, name, 'policy.delegate'), ALLOW, `${name} asks policyd about others`);
    }
    assert.equal(yield* cap(io, 'selftest', 'selftest', 'policy.delegate'), DENY, 'the proofs need a sender that may not delegate');
  }, {}, BASE);
});

test('survives fuzzed frames: always one reply, never an allow that the table does not grant', () => {
  const seed = 20260211;
  const valid = request('PO', 2, 5, 1, u64(id('alice')), named('rng.entropy'));
  policyd(function* (io) {
    for (const bytes of fuzzed(valid, 3000, seed)) {
      const reply = yield* io.call('mallory', bytes);
      assert.ok(reply && reply.length >= 9, `seed ${seed}: ${bytes.toString('hex')}`);
      if (bytes[3] !== 6) assert.notEqual(reply[8], ALLOW, `seed ${seed}: ${bytes.toString('hex')}`);
    }
    yield* stats(io);
  });
});
