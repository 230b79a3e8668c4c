// SPDX-License-Identifier: Apache-2.0
// execd's half of a child's crash record, on the shipping module: what the kernel kept goes to init-lite once, whole and without waiting; an
// exit sends nothing; what the kernel does not give, or init-lite does not take, is not sent twice and keeps execd alive.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { buildModule, Host, type Peer } from '../../runtime/node/index.js';
import { RAW_BYTES } from '../../runtime/crash/record.js';
import { frame, id, named, policyd, readReply, request, u32, u64, u8 } from '../services/frames.js';

let wasm: Uint8Array;
before(async () => { wasm = await buildModule('execd'); });

const CHILD = 22;
const bundlemgrd: Peer = ({ bytes }) => {
  const at = Buffer.from(bytes);
  return frame(frame('BN', u8(1), u8(0x85), u8(0), at.subarray(4, 8)), u32(CHILD), u32(1), u32(9), u32(9), u32(1), u32(0), Buffer.alloc(64));
};
const samgrd: Peer = ({ bytes }) => {
  const at = Buffer.from(bytes);
  return { bytes: frame('SM', u8(1), u8(0x82), u8(0), at.subarray(4, 8)), movedPeer: at.toString('latin1', 9, 9 + at[8]!), movedRights: 1 };
};

interface Case { cause: number; kept?: bigint; full?: boolean }

/** Runs one child to its end; what init-lite was sent, and what was asked of the kernel. */
function ended({ cause, kept = BigInt(RAW_BYTES), full = false }: Case): { sent: Buffer[]; asked: [number, number][] } {
  const sent: Buffer[] = [];
  const asked: [number, number][] = [];
  let event = false;
  const init: Peer = ({ bytes, call }) => {
    assert.equal(call, false, 'execd never waits for init-lite');
    if (full) return { error: 'full' };
    sent.push(Buffer.from(bytes));
    return null;
  };
  const none: Peer = () => null;
  const host = new Host({
    name: 'execd', wasm,
    peers: { policyd: policyd(() => true), bundlemgrd, samgrd, logd: none, metricsd: none, child: none, 'init-lite': init },
    sys: {
      process_create: (io, index, meta) => {
        io.write(Number(meta), frame(u64(1n), u64(0n), u64(0n), u64(0n)));
        return BigInt(index);
      },
      process_grant: () => 0n,
      process_start: () => 0n,
      process_endpoint: (io) => BigInt(io.grantPeer('child', 1)),
      process_event: (io, meta) => {
        if (!event) return -15n;
        event = false;
        io.write(Number(meta), frame(u64(BigInt(cause)), u64(0x1234n), u64(0x99n), u64(1n)));
        return BigInt(CHILD);
      },
      process_crash: (io, index, ptr, cap) => {
        asked.push([Number(index), Number(cap)]);
        if (kept > 0n) io.write(Number(ptr), Buffer.alloc(RAW_BYTES, 0x5a));
        return kept;
      },
    },
  });
  host.run(function* () {
    const outcome = yield { kind: 'message', from: id('selftest'), bytes: request('EX', 1, 1, 7, named('crash')), call: true, moved: 0, badge: 1 };
    assert.equal(readReply(outcome.reply, 'EX', 1).status, 0);
    event = true;
    yield { kind: 'notify', bits: 2n };
    const again = yield { kind: 'message', from: id('selftest'), bytes: request('EX', 1, 2, 8), call: true, moved: 0, badge: 1 };
    assert.equal(readReply(again.reply, 'EX', 2).status, 2, 'it goes on serving');
  });
  return { sent, asked };
}

test('a fault and an order to end hand the kernel\'s part on, whole', () => {
  for (const cause of [8, 13]) {
    const { sent, asked } = ended({ cause });
    assert.deepEqual(asked, [[CHILD, RAW_BYTES]]);
    assert.equal(sent.length, 1);
    assert.equal(sent[0]!.length, 8 + RAW_BYTES);
    assert.deepEqual([...sent[0]!.subarray(0, 4)], [0x49, 0x4e, 1, 6], 'IN_CRASH');
    assert.ok(sent[0]!.subarray(8).every((byte) => byte === 0x5a));
  }
});

test('an exit hands nothing on', () => {
  assert.deepEqual(ended({ cause: 0 }), { sent: [], asked: [] });
});

test('what the kernel refuses, or init-lite has no room for, is dropped, not sent twice', () => {
  assert.deepEqual(ended({ cause: 8, kept: -10n }).sent, []);
  assert.deepEqual(ended({ cause: 8, full: true }).sent, []);
});
