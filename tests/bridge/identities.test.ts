// SPDX-License-Identifier: Apache-2.0
// Hashed identities: what a client of the bridge sees has no UUID and no bus address, page by page; the host can tell whom a name stands for.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LocalAnswerer, type Answerer } from '../../runtime/bridge/answerer.js';
import { BridgeClient } from '../../runtime/bridge/client.js';
import { PAYLOAD_BYTES_MAX, type Frame } from '../../runtime/bridge/codec.js';
import { withHashedIdentities } from '../../runtime/bridge/identities.js';
import { statusCode, typeCode } from '../../runtime/bridge/protocol.js';
import { ScriptedSource } from '../../runtime/bridge/sources/scripted.js';
import { StubSource } from '../../runtime/bridge/sources/stub.js';

const node = (): Answerer => new LocalAnswerer(new ScriptedSource('a100-mig', 'steady'));

test('the same entities under other names, over several pages, the same for the same salt', async () => {
  const plain = await listed(node());
  const answerer = withHashedIdentities(node(), 'salt');
  const pages: Frame[] = [];
  const entities = await listed({ ...answerer, answer: async (request) => {
    const reply = await answerer.answer(request);
    if (request.type === typeCode('enumerate')) pages.push(reply);
    return reply;
  } });
  assert.ok(pages.length > 1, 'more than one page');
  for (const { payload } of pages) {
    assert.ok(payload.length <= PAYLOAD_BYTES_MAX);
    assert.doesNotMatch(payload.toString('latin1'), /GPU-|0{8}:[0-9A-F]{2}:/);
  }
  assert.deepEqual(entities.map(({ uuid: _, bdf: __, ...rest }) => rest), plain.map(({ uuid: _, bdf: __, ...rest }) => rest));
  for (const [i, { uuid, bdf }] of entities.entries()) {
    assert.match(uuid, /^hashed-[0-9a-f]{24}(\/|$)/);
    assert.equal(answerer.rawIdentity(uuid), plain[i]!.uuid);
    if (bdf !== '') assert.equal(answerer.rawIdentity(bdf), plain[i]!.bdf);
  }
  assert.equal(answerer.rawIdentity(plain[0]!.uuid), undefined);
  assert.deepEqual(await listed(withHashedIdentities(node(), 'salt')), entities);
  assert.notDeepEqual(await listed(withHashedIdentities(node(), 'pepper')), entities);
});

test('what the source refuses, and what is malformed, is refused as before; the rest passes through', async () => {
  const stub = withHashedIdentities(new LocalAnswerer(new StubSource()), 'salt');
  const ask = async (answerer: Answerer, payload: Buffer): Promise<Frame> => answerer.answer({ type: typeCode('enumerate'), nonce: 7, wallNs: 0n, monoNs: 0n, payload });
  const refused = await ask(stub, Buffer.alloc(4));
  assert.deepEqual([refused.nonce, refused.payload], [7, (await ask(new LocalAnswerer(new StubSource()), Buffer.alloc(4))).payload]);
  const short = await ask(withHashedIdentities(node(), 'salt'), Buffer.alloc(3));
  assert.deepEqual(short.payload, Buffer.from([statusCode('bad_request')]));
  assert.deepEqual([stub.label, stub.state().name], ['stub', 'unavailable']);
  const client = new BridgeClient(withHashedIdentities(node(), 'salt'));
  assert.equal(await client.connect(), 'replay');
  assert.match(await client.version(), /fleet:a100-mig/);
});

async function listed(answerer: Answerer): Promise<Awaited<ReturnType<BridgeClient['enumerate']>>> {
  const client = new BridgeClient(answerer);
  await client.connect();
  return client.enumerate();
}
