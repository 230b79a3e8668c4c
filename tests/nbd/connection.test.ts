// SPDX-License-Identifier: Apache-2.0
// The NBD server's state machine: handshake and requests byte for byte, every refusal, hostile and broken clients, pieces of any size.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Connection } from '../../runtime/nbd/connection.js';
import type { Device, DiskRequest, Respond } from '../../runtime/nbd/device.js';
import { OPTIONS_MAX, OPTION_BYTES_MAX, REQUEST_BYTES_MAX } from '../../runtime/nbd/protocol.js';
import { Random } from '../random.js';
import { FLAGS, GO, infoData, option, replyHead, request } from './client.js';

const BYTES = 8192;

/** A device that keeps what it was asked and answers reads with their offset. */
class Recorder implements Device {
  readonly bytes = BYTES;
  readonly asked: DiskRequest[] = [];
  held: Respond | null = null;
  hold = false;
  constructor(readonly readOnly = false, readonly flush = true) {}
  request(asked: DiskRequest, respond: Respond): void {
    this.asked.push(asked);
    if (this.hold) this.held = respond;
    else respond(0, asked.kind === 'read' ? Buffer.alloc(asked.length, asked.offset / 512) : undefined);
  }
}

function connect(device: Device = new Recorder()): { connection: Connection; sent: () => string; closed: () => number } {
  let out = Buffer.alloc(0);
  let closes = 0;
  const connection = new Connection(device, (bytes) => { out = Buffer.concat([out, bytes]); }, () => { closes++; });
  return { connection, sent: () => { const hex = out.toString('hex'); out = Buffer.alloc(0); return hex; }, closed: () => closes };
}

/** A client that is past the handshake; what was sent so far is taken off. */
function ready(device: Device = new Recorder()): ReturnType<typeof connect> {
  const client = connect(device);
  client.connection.push(Buffer.concat([FLAGS, GO]));
  client.sent();
  return client;
}

test('the handshake that QEMU makes, byte for byte', () => {
  const { connection, sent } = connect();
  assert.equal(sent(), '4e42444d41474943' + '49484156454f5054' + '0003');
  connection.push(FLAGS);
  connection.push(option(8)); // structured replies
  assert.equal(sent(), '0003e889045565a9' + '00000008' + '80000001' + '00000000');
  connection.push(GO);
  const info = '0003e889045565a9' + '00000007' + '00000003' + '0000000c' + '0000' + '0000000000002000' + '0005';
  const block = '0003e889045565a9' + '00000007' + '00000003' + '0000000e' + '0003' + '00000200' + '00001000' + '00100000';
  assert.equal(sent(), info + block + '0003e889045565a9' + '00000007' + '00000001' + '00000000');
});

test('INFO tells the same and stays in the options; LIST names the export; ABORT is answered and ends', () => {
  const { connection, sent, closed } = connect();
  connection.push(FLAGS);
  sent();
  connection.push(option(6, infoData('', [])));
  assert.equal(sent(), '0003e889045565a9' + '00000006' + '00000003' + '0000000c' + '0000' + '0000000000002000' + '0005'
    + '0003e889045565a9' + '00000006' + '00000001' + '00000000');
  connection.push(option(3));
  assert.equal(sent(), '0003e889045565a9' + '00000003' + '00000002' + '00000009' + '00000005' + Buffer.from('state').toString('hex')
    + '0003e889045565a9' + '00000003' + '00000001' + '00000000');
  connection.push(option(2));
  assert.equal(sent(), '0003e889045565a9' + '00000002' + '00000001' + '00000000');
  assert.deepEqual([closed(), connection.broken, connection.open], [1, null, false]);
});

test('EXPORT_NAME: with and without the padding, and what a device without FLUSH or writes says', () => {
  for (const [flags, pad] of [['00000003', 0], ['00000001', 124]] as const) {
    const { connection, sent } = connect();
    sent();
    connection.push(Buffer.concat([Buffer.from(flags, 'hex'), option(1, Buffer.from('state'))]));
    assert.equal(sent(), '0000000000002000' + '0005' + '00'.repeat(pad));
  }
  const { connection, sent } = connect(new Recorder(true, false));
  sent();
  connection.push(Buffer.concat([FLAGS, option(1)]));
  assert.equal(sent(), '0000000000002000' + '0003');
});

test('reads, writes and flushes reach the device once, and are answered by handle', () => {
  const device = new Recorder();
  const { connection, sent } = ready(device);
  const data = Buffer.alloc(512, 7);
  connection.push(request(1, 1, 512n, 512, data));
  connection.push(request(3, 2, 0n, 0));
  connection.push(request(0, 3, 1024n, 512));
  assert.equal(sent(), replyHead(0, 1) + replyHead(0, 2) + replyHead(0, 3) + '02'.repeat(512));
  assert.deepEqual(device.asked.map(({ kind, offset, length }) => [kind, offset, length]), [['write', 512, 512], ['flush', 0, 0], ['read', 1024, 512]]);
  assert.deepEqual(device.asked[0]!.data, data);
});

test('an answer that comes late is sent; one that comes after the end is not', () => {
  const device = new Recorder();
  device.hold = true;
  const { connection, sent } = ready(device);
  connection.push(request(3, 9, 0n, 0));
  assert.equal(sent(), '');
  device.held!(5);
  assert.equal(sent(), replyHead(5, 9));
  connection.push(request(3, 10, 0n, 0));
  connection.push(request(2, 11, 0n, 0));
  device.held!(0);
  assert.equal(sent(), '');
});

const PERM = 1, INVAL = 22, NOSPC = 28, NOTSUP = 95;
const refused: [string, Buffer, number, Device?][] = [
  ['a read behind the end', request(0, 1, BigInt(BYTES), 512), INVAL],
  ['a read over the end', request(0, 1, BigInt(BYTES - 512), 1024), INVAL],
  ['a write over the end', request(1, 1, BigInt(BYTES - 512), 1024, Buffer.alloc(1024)), NOSPC],
  ['an offset of 2^64 - 512', request(0, 1, 0xfffffffffffffe00n, 512), INVAL],
  ['half a sector', request(0, 1, 0n, 256), INVAL],
  ['an offset inside a sector', request(1, 1, 1n, 512, Buffer.alloc(512)), INVAL],
  ['nothing to read', request(0, 1, 0n, 0), INVAL],
  ['a read that is too long', request(0, 1, 0n, REQUEST_BYTES_MAX + 512), INVAL],
  ['a forced write', request(1, 1, 0n, 512, Buffer.alloc(512), 1), INVAL],
  ['a flush with a length', request(3, 1, 0n, 512), INVAL],
  ['trim', request(4, 1, 0n, 512), NOTSUP],
  ['write zeroes', request(6, 1, 0n, 512), NOTSUP],
  ['an unknown command', request(77, 1, 0n, 512), NOTSUP],
  ['a write to a disk that is read-only', request(1, 1, 0n, 512, Buffer.alloc(512)), PERM, new Recorder(true)],
  ['a flush of a disk that has none', request(3, 1, 0n, 0), NOTSUP, new Recorder(false, false)],
];
for (const [name, bytes, error, device = new Recorder()] of refused) {
  test(`refused with ${error}, never shown to the device: ${name}`, () => {
    const { connection, sent } = ready(device);
    connection.push(bytes);
    assert.equal(sent(), replyHead(error, 1));
    assert.equal((device as Recorder).asked.length, 0);
    assert.equal(connection.counters.refusedRequests, 1);
    connection.push(request(0, 2, 0n, 512));
    assert.equal(sent().slice(0, 32), replyHead(0, 2), 'the stream is still in step');
  });
}

test('options that cannot be met are answered and the talk goes on', () => {
  const { connection, sent } = connect();
  connection.push(FLAGS);
  sent();
  const cases: [Buffer, string][] = [
    [option(5), '80000001'], [option(99, Buffer.alloc(12)), '80000001'], [option(3, Buffer.alloc(1)), '80000003'],
    [option(7, infoData('other', [])), '80000006'], [option(7, Buffer.alloc(5)), '80000003'], [option(7, infoData('state', [3], 2)), '80000003'],
    [option(6, Buffer.from('ffffffff0000', 'hex')), '80000003'],
  ];
  for (const [bytes, reply] of cases) {
    connection.push(bytes);
    assert.equal(sent().slice(24, 32), reply);
  }
  assert.equal(connection.counters.refusedOptions, cases.length);
  connection.push(GO);
  connection.push(request(0, 1, 0n, 512));
  assert.ok(sent().endsWith('00'.repeat(512)));
});

const broken: [string, Buffer, RegExp][] = [
  ['old newstyle', Buffer.from('00000000', 'hex'), /fixed newstyle/],
  ['unknown client flags', Buffer.from('00000007', 'hex'), /flags/],
  ['an option without its magic', Buffer.concat([FLAGS, Buffer.alloc(16)]), /magic/],
  ['an option that announces too much', Buffer.concat([FLAGS, option(7, Buffer.alloc(0), OPTION_BYTES_MAX + 1)]), /option of 4097/],
  ['EXPORT_NAME of another', Buffer.concat([FLAGS, option(1, Buffer.from('other'))]), /no export/],
  ['a request without its magic', Buffer.concat([FLAGS, GO, Buffer.alloc(28)]), /magic/],
  ['a write that announces too much', Buffer.concat([FLAGS, GO, request(1, 1, 0n, REQUEST_BYTES_MAX + 512)]), /write of/],
  ['options without end', Buffer.concat([FLAGS, ...Array.from({ length: OPTIONS_MAX + 1 }, () => option(3))]), /more than/],
];
for (const [name, bytes, why] of broken) {
  test(`closed, with a reason: ${name}`, () => {
    const device = new Recorder();
    const { connection, closed } = connect(device);
    connection.push(bytes);
    assert.match(connection.broken ?? '', why);
    assert.deepEqual([closed(), connection.open, device.asked.length], [1, false, 0]);
    connection.push(request(0, 1, 0n, 512));
    assert.equal(device.asked.length, 0, 'nothing is heard after the end');
  });
}

test('limits at their edge: the longest option and the most options pass', () => {
  const { connection, sent } = connect();
  connection.push(FLAGS);
  sent();
  connection.push(option(99, Buffer.alloc(OPTION_BYTES_MAX)));
  for (let n = 1; n < OPTIONS_MAX - 1; n++) connection.push(option(3));
  sent();
  connection.push(GO);
  assert.ok(connection.open && sent().length > 0);
});

test('the answers do not depend on how the bytes are cut up', () => {
  const stream = Buffer.concat([
    FLAGS, option(8), option(99, Buffer.alloc(40)), GO, request(1, 1, 0n, 1024, Buffer.alloc(1024, 3)), request(3, 2, 0n, 0), request(0, 3, 512n, 1024),
    request(4, 4, 0n, 512), request(0, 5, 1n, 512), request(2, 6, 0n, 0),
  ]);
  const whole = connect();
  whole.connection.push(stream);
  const expected = whole.sent();
  for (let seed = 0; seed < 200; seed++) {
    const random = new Random(seed);
    const { connection, sent } = connect();
    for (let at = 0; at < stream.length;) {
      const bytes = 1 + random.below(random.chance(50) ? 5 : 600);
      connection.push(stream.subarray(at, at + bytes));
      at += bytes;
    }
    assert.equal(sent(), expected, `seed ${seed}`);
  }
});

test('random bytes after any step never reach the device outside its bounds and never throw', () => {
  for (let seed = 0; seed < 300; seed++) {
    const random = new Random(seed);
    const device = new Recorder();
    const { connection } = connect(device);
    const start = [[], [FLAGS], [FLAGS, GO], [FLAGS, option(1)]][random.below(4)]!;
    connection.push(Buffer.concat(start));
    for (let n = 0; n < 20; n++) {
      const head = random.chance(50) ? request(random.below(8), n, BigInt(random.below(2 * BYTES)), random.below(4096)) : Buffer.alloc(0);
      connection.push(Buffer.concat([head, Buffer.from(Array.from({ length: random.below(64) }, () => random.below(256)))]));
    }
    for (const { kind, offset, length } of device.asked) {
      assert.ok(offset + length <= BYTES && (kind === 'flush') === (length === 0) && offset % 512 === 0 && length % 512 === 0, `seed ${seed}`);
    }
  }
});
