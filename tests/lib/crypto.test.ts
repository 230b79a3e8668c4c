// SPDX-License-Identifier: Apache-2.0
// lib/crypto in its compiled form: the vectors of the RFCs, then the same functions of node:crypto on random inputs of every length near an
// edge. A random test prints its seed; CRYPTO_SEED=n repeats it.
import assert from 'node:assert/strict';
import {
  createCipheriv, createHash, createHmac, createPrivateKey, createPublicKey, hkdfSync, sign, verify,
} from 'node:crypto';
import { before, test } from 'node:test';
import { buildEntry, Host } from '../../runtime/node/index.js';
import { randomBelow } from '../random.js';

const SEED = Number(process.env.CRYPTO_SEED ?? 20261121);
const AGAIN = `CRYPTO_SEED=${SEED} npx tsx --test tests/lib/crypto.test.ts`;
let wasm: Uint8Array;
before(async () => { wasm = await buildEntry('tests/lib/guest-crypto.ts'); });

/** One instance with named places in its scratch memory, 1 KiB apart. */
class Crypto {
  private readonly host = new Host({ name: 'test', wasm });
  private readonly base = Number(this.host.fn('address')());
  private next = 0;
  reset(): this { this.next = 0; return this; }
  room(bytes: number): number { const at = this.next; this.next += Math.ceil((bytes + 16) / 64) * 64; assert.ok(this.next <= 16384); return at; }
  put(bytes: Uint8Array): number { const at = this.room(bytes.length); this.host.write(this.base + at, bytes); return at; }
  get(at: number, bytes: number): Buffer { return Buffer.from(this.host.bytes(this.base + at, bytes)); }
  call(name: string, ...args: (number | bigint)[]): number | bigint { return this.host.fn(name)(...args); }
  /** Whether the bytes are anywhere in the module's memory outside the scratch that the test itself wrote. */
  holds(bytes: Uint8Array): boolean {
    const all = Buffer.from(this.host.bytes(0, this.host.memory.buffer.byteLength));
    all.fill(0, this.base, this.base + 16384);
    return all.includes(bytes);
  }

  sha512(data: Buffer, piece = data.length || 1): string {
    const at = this.reset().put(data);
    const to = this.room(64);
    this.call('sha512', at, data.length, piece, to);
    return this.get(to, 64).toString('hex');
  }
  hmac(key: Buffer, data: Buffer): string {
    const k = this.reset().put(key);
    const at = this.put(data);
    const to = this.room(32);
    this.call('hmac', k, key.length, at, data.length, to);
    return this.get(to, 32).toString('hex');
  }
  hkdf(secret: Buffer, salt: Buffer, info: Buffer, bytes: number): string {
    const [s, a, i] = [this.reset().put(secret), this.put(salt), this.put(info)];
    const to = this.room(bytes);
    this.call('hkdf', s, secret.length, a, salt.length, i, info.length, to, bytes);
    return this.get(to, bytes).toString('hex');
  }
  seal(key: Buffer, nonce: Buffer, ad: Buffer, text: Buffer): { sealed: Buffer; tag: Buffer } {
    const [k, n, a, at] = [this.reset().put(key), this.put(nonce), this.put(ad), this.put(text)];
    const [to, tag] = [this.room(text.length), this.room(16)];
    this.call('seal', k, n, a, ad.length, at, text.length, to, tag);
    return { sealed: this.get(to, text.length), tag: this.get(tag, 16) };
  }
  /** The plaintext, or null; `to` must stay as it was when it does not open. */
  open(key: Buffer, nonce: Buffer, ad: Buffer, sealed: Buffer, tag: Buffer): Buffer | null {
    const [k, n, a, at, t] = [this.reset().put(key), this.put(nonce), this.put(ad), this.put(sealed), this.put(tag)];
    const marker = Buffer.alloc(sealed.length, 0xa5);
    const to = this.put(marker);
    const held = this.call('open', k, n, a, ad.length, at, sealed.length, t, to);
    const text = this.get(to, sealed.length);
    if (held) return text;
    assert.deepEqual(text, marker, 'bytes were written although the tag does not hold');
    return null;
  }
  publicKey(seed: Buffer): Buffer {
    const at = this.reset().put(seed);
    const to = this.room(32);
    this.call('publicKey', to, at);
    return this.get(to, 32);
  }
  sign(seed: Buffer, key: Buffer, message: Buffer): Buffer {
    const [s, k, at] = [this.reset().put(seed), this.put(key), this.put(message)];
    const to = this.room(64);
    this.call('sign', to, s, k, at, message.length);
    return this.get(to, 64);
  }
  verify(signature: Buffer, key: Buffer, message: Buffer): boolean {
    const [s, k, at] = [this.reset().put(signature), this.put(key), this.put(message)];
    return this.call('verify', s, k, at, message.length) === 1;
  }
}
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const noise = (next: (n: number) => number, bytes: number): Buffer => Buffer.from(Array.from({ length: bytes }, () => next(256)));
const keyOf = (seed: Buffer): ReturnType<typeof createPrivateKey> =>
  createPrivateKey({ key: Buffer.concat([hex('302e020100300506032b657004220420'), seed]), format: 'der', type: 'pkcs8' });
const rawPublic = (seed: Buffer): Buffer => Buffer.from(createPublicKey(keyOf(seed)).export({ format: 'der', type: 'spki' }).subarray(-32));
const publicOf = (raw: Buffer): ReturnType<typeof createPublicKey> =>
  createPublicKey({ key: Buffer.concat([hex('302a300506032b6570032100'), raw]), format: 'der', type: 'spki' });

test('SHA-512: the empty text, FIPS 180-4 examples, every length over two blocks, in pieces', () => {
  const c = new Crypto();
  assert.equal(c.sha512(Buffer.alloc(0)), createHash('sha512').update('').digest('hex'));
  assert.equal(c.sha512(Buffer.from('abc')), 'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f');
  const next = randomBelow(SEED);
  for (let bytes = 0; bytes <= 260; bytes++) {
    const data = noise(next, bytes);
    assert.equal(c.sha512(data, 1 + next(140)), createHash('sha512').update(data).digest('hex'), `${bytes} bytes; ${AGAIN}`);
  }
});

test('HMAC-SHA-256 (RFC 4231) and HKDF-SHA-256 (RFC 5869): vectors, then node:crypto', () => {
  const c = new Crypto();
  assert.equal(c.hmac(Buffer.alloc(20, 0x0b), Buffer.from('Hi There')), 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7');
  assert.equal(c.hmac(Buffer.from('Jefe'), Buffer.from('what do ya want for nothing?')), '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843');
  const salt = hex('000102030405060708090a0b0c');
  const info = hex('f0f1f2f3f4f5f6f7f8f9');
  assert.equal(c.hkdf(Buffer.alloc(22, 0x0b), salt, info, 42), '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865');
  assert.equal(c.hkdf(Buffer.alloc(22, 0x0b), Buffer.alloc(0), Buffer.alloc(0), 42), '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8');
  const next = randomBelow(SEED + 1);
  for (let n = 0; n < 200; n++) {
    const [key, data] = [noise(next, 1 + next(64)), noise(next, next(200))];
    assert.equal(c.hmac(key, data), createHmac('sha256', key).update(data).digest('hex'), AGAIN);
    const [secret, s, i, bytes] = [noise(next, 1 + next(80)), noise(next, next(65)), noise(next, next(129)), 1 + next(64)];
    assert.equal(c.hkdf(secret, s, i, bytes), Buffer.from(hkdfSync('sha256', secret, s, i, bytes)).toString('hex'), AGAIN);
  }
});

test('ChaCha20 and Poly1305: RFC 8439 sections 2.4.2 and 2.5.2, and the sums that wrap at 2^130 - 5 (A.3)', () => {
  const c = new Crypto();
  const text = Buffer.from("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.");
  const key = Buffer.from(Array.from({ length: 32 }, (_, i) => i));
  const [k, n, at] = [c.reset().put(key), c.put(hex('000000000000004a00000000')), c.put(text)];
  const to = c.room(text.length);
  c.call('stream', k, n, 1, at, text.length, to);
  assert.equal(c.get(to, 32).toString('hex'), '6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0b');
  const poly = (oneTime: Buffer, message: Buffer, piece = 16): string => {
    const [kk, m] = [c.reset().put(oneTime), c.put(message)];
    const tag = c.room(16);
    c.call('poly', kk, m, message.length, piece, tag);
    return c.get(tag, 16).toString('hex');
  };
  const oneTime = hex('85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b');
  for (const piece of [1, 7, 16, 40]) assert.equal(poly(oneTime, Buffer.from('Cryptographic Forum Research Group'), piece), 'a8061dc1305136c6c22b8baf0c0127a9');
  const zero16 = '00000000000000000000000000000000';
  assert.equal(poly(hex(`02${zero16.slice(2)}${zero16}`), hex('ff'.repeat(16))), `03${zero16.slice(2)}`);
  assert.equal(poly(hex(`02${zero16.slice(2)}${'ff'.repeat(16)}`), hex(`02${zero16.slice(2)}`)), `03${zero16.slice(2)}`);
  assert.equal(poly(hex(`01${zero16.slice(2)}${zero16}`), hex(`${'ff'.repeat(16)}f0${'ff'.repeat(15)}11${zero16.slice(2)}`)), `05${zero16.slice(2)}`);
  assert.equal(poly(hex(`01${zero16.slice(2)}${zero16}`), hex(`${'ff'.repeat(16)}fb${'fe'.repeat(15)}${'01'.repeat(16)}`)), zero16);
  assert.equal(poly(hex(`02${zero16.slice(2)}${zero16}`), hex(`fd${'ff'.repeat(15)}`)), `fa${'ff'.repeat(15)}`);
});

test('ChaCha20-Poly1305: RFC 8439 section 2.8.2, every length near a block against node:crypto, each changed bit refused', () => {
  const c = new Crypto();
  const key = Buffer.from(Array.from({ length: 32 }, (_, i) => 0x80 + i));
  const nonce = hex('070000004041424344454647');
  const ad = hex('50515253c0c1c2c3c4c5c6c7');
  const text = Buffer.from("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.");
  assert.equal(c.seal(key, nonce, ad, text).tag.toString('hex'), '1ae10b594f09e26a7e902ecbd0600691');
  const next = randomBelow(SEED + 2);
  for (let n = 0; n < 300; n++) {
    const [k, i, a, t] = [noise(next, 32), noise(next, 12), noise(next, next(70)), noise(next, n < 140 ? n : next(700))];
    const cipher = createCipheriv('chacha20-poly1305', k, i, { authTagLength: 16 });
    cipher.setAAD(a, { plaintextLength: t.length });
    const sealed = Buffer.concat([cipher.update(t), cipher.final()]);
    const mine = c.seal(k, i, a, t);
    assert.deepEqual([mine.sealed, mine.tag], [sealed, cipher.getAuthTag()], AGAIN);
    assert.deepEqual(c.open(k, i, a, sealed, mine.tag), t, AGAIN);
    assert.equal(c.holds(k), false, 'the key stayed in memory');
    const places: [Buffer, number][] = [[mine.tag, 16], [sealed, t.length], [a, a.length], [i, 12], [k, 32]];
    for (const [bytes, length] of places) {
      if (length === 0) continue;
      const bit = next(8 * length);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      assert.equal(c.open(k, i, a, sealed, mine.tag), null, `one bit changed; ${AGAIN}`);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
    }
  }
});

test('numbers modulo L and the masks: against BigInt, at the edges and at random', () => {
  const c = new Crypto();
  const L = 2n ** 252n + 27742317777372353535851937790883648493n;
  const little = (value: bigint, bytes: number): Buffer => Buffer.from(Array.from({ length: bytes }, (_, i) => Number((value >> BigInt(8 * i)) & 255n)));
  const big = (bytes: Buffer): bigint => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
  const reduce = (value: bigint): bigint => { const at = c.reset().put(little(value, 64)); const to = c.room(32); c.call('reduce', to, at); return big(c.get(to, 32)); };
  for (const value of [0n, 1n, L - 1n, L, L + 1n, 2n * L - 1n, 2n ** 256n - 1n, 2n ** 512n - 1n, L * L, L << 250n]) assert.equal(reduce(value), value % L);
  const next = randomBelow(SEED + 3);
  for (let n = 0; n < 100; n++) {
    const value = big(noise(next, 64));
    assert.equal(reduce(value), value % L, AGAIN);
    const [a, b, d] = n === 0 ? Array<bigint>(3).fill(2n ** 256n - 1n) as [bigint, bigint, bigint] : [big(noise(next, 32)), big(noise(next, 32)), big(noise(next, 32))];
    const at = [a, b, d].map((v, i) => (i === 0 ? c.reset().put(little(v, 32)) : c.put(little(v, 32))));
    const to = c.room(32);
    c.call('mulAdd', to, ...at);
    assert.equal(big(c.get(to, 32)), (a * b + d) % L, AGAIN);
  }
  for (const [value, below] of [[0n, 1], [L - 1n, 1], [L, 0], [L + 1n, 0], [2n ** 256n - 1n, 0]] as const) {
    assert.equal(c.call('isReduced', c.reset().put(little(value, 32))), below);
  }
  const ones = -1n;
  for (const [a, b] of [[0n, 0n], [0n, 1n], [1n, 0n], [15n, 15n], [2n ** 63n, 0n], [2n ** 63n, 2n ** 63n], [2n ** 64n - 1n, 1n]] as const) {
    assert.equal(BigInt.asIntN(64, BigInt(c.call('mask', BigInt.asIntN(64, a), BigInt.asIntN(64, b)))), a === b ? ones : 0n);
  }
  const one = c.reset().put(hex('00112233'));
  const two = c.put(hex('00112233'));
  const three = c.put(hex('00112232'));
  assert.deepEqual([c.call('equals', one, two, 4), c.call('equals', one, three, 4), c.call('equals', one, three, 3), c.call('equals', one, three, 0)], [1, 0, 1, 1]);
});

// RFC 8032 section 7.1: seed, public key, message, signature.
const VECTORS: [string, string, string, string][] = [
  ['9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', '',
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b'],
  ['4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb', '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c', '72',
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00'],
  ['c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7', 'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025', 'af82',
    '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a'],
];

test('Ed25519: the vectors of RFC 8032 section 7.1', () => {
  const c = new Crypto();
  for (const [seed, key, message, signature] of VECTORS) {
    assert.equal(c.publicKey(hex(seed)).toString('hex'), key);
    assert.equal(c.sign(hex(seed), hex(key), hex(message)).toString('hex'), signature);
    assert.equal(c.verify(hex(signature), hex(key), hex(message)), true);
  }
});

test('Ed25519 against node:crypto: the same keys and signatures, both verify, nothing secret stays, each changed bit is refused', () => {
  const c = new Crypto();
  const next = randomBelow(SEED + 4);
  for (let n = 0; n < 60; n++) {
    const seed = noise(next, 32);
    const message = noise(next, next(600));
    const key = c.publicKey(seed);
    assert.deepEqual(key, rawPublic(seed), AGAIN);
    const signature = c.sign(seed, key, message);
    assert.deepEqual(signature, sign(null, message, keyOf(seed)), AGAIN);
    assert.ok(verify(null, message, publicOf(key), signature));
    const expanded = createHash('sha512').update(seed).digest();
    expanded[0]! &= 0xf8;
    expanded[31] = (expanded[31]! & 0x7f) | 0x40;
    for (const secret of [seed, expanded.subarray(0, 32), expanded.subarray(32)]) assert.equal(c.holds(secret), false, `a secret stayed in memory; ${AGAIN}`);
    assert.equal(c.verify(signature, key, message), true, AGAIN);
    const places: Buffer[] = [signature, key, ...(message.length ? [message] : [])];
    for (const bytes of places) {
      const bit = next(8 * bytes.length);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      assert.equal(c.verify(signature, key, message), false, `one bit changed; ${AGAIN}`);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
    }
  }
});

test('Ed25519 is strict: a second half at or over L, a key not on the curve, not in its one encoding, or with a sign on x = 0', () => {
  const c = new Crypto();
  const [seed, key, message, signature] = VECTORS[2]!.map(hex) as [Buffer, Buffer, Buffer, Buffer];
  const L = 2n ** 252n + 27742317777372353535851937790883648493n;
  const half = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString('hex')}`) + L;
  const grown = Buffer.concat([signature.subarray(0, 32), Buffer.from(half.toString(16).padStart(64, '0'), 'hex').reverse()]);
  assert.equal(c.verify(grown, key, message), false, 'the same signature with s + L');
  // The neutral element (y = 1, x = 0): with R = sB any s would hold, in its one encoding; its other two encodings are refused.
  const one = Buffer.alloc(32); one[0] = 1;
  const scalar = Buffer.alloc(32); scalar[0] = 5;
  const p = 2n ** 255n - 19n;
  const encode = (y: bigint): Buffer => Buffer.from(y.toString(16).padStart(64, '0'), 'hex').reverse();
  const signed = Buffer.from(one); signed[31]! |= 0x80;
  // R = 0 B: s = 0 and R the neutral element hold for the neutral key.
  const trivial = Buffer.concat([one, Buffer.alloc(32)]);
  assert.equal(c.verify(trivial, one, message), true, 'the one encoding opens');
  assert.equal(c.verify(trivial, signed, message), false, 'x = 0 with its sign set');
  assert.equal(c.verify(trivial, encode(p + 1n), message), false, 'y over p');
  assert.equal(c.verify(Buffer.concat([encode(p + 1n), Buffer.alloc(32)]), one, message), false, 'R in another encoding');
  let off = 0;
  for (let y = 2; y < 40; y++) {
    const candidate = Buffer.alloc(32); candidate[0] = y;
    if (!c.verify(trivial, candidate, message)) off++;
  }
  assert.equal(off, 38, 'no small y is a key of this signature, on the curve or off');
  assert.equal(c.verify(c.sign(seed, key, message), key, message), true, 'and a good one still holds');
});
