// SPDX-License-Identifier: Apache-2.0
// Test vectors of the redaction taxonomy (docs/redaction.md). Secrets here are made up; each is built from parts so that no
// scanner takes this file for a leak.

/** Text before, text after, and how many values were replaced. */
export interface Vector {
  why: string;
  before: string;
  after: string;
  count: number;
}

export const HEX64 = '0123456789abcdef'.repeat(4);
export const BASE64 = 'Zm9vYmFyYmF6' + 'Q0hBTkdFTUUx' + 'MjM0NTY3ODkw' + 'YWJjZA';
export const JWT = 'eyJhbGciOiJIUzI1NiJ9' + '.eyJzdWIiOiJ4In0.' + 'c2lnbmF0dXJl';
export const PEM = '-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc=\n-----END RSA PRIVATE KEY-----';

/** Keys that deny, in the spellings they are met in. */
export const DENIED_KEYS: string[] = [
  'password', 'Password', 'PASSWORD', 'user_password', 'passwordHash', 'db.password', 'db-password', 'passwd', 'pwd', 'pw',
  'passphrase', 'secret', 'client_secret', 'clientSecret', 'secrets', 'credential', 'credentials', 'aws_credentials',
  'api_key', 'apikey', 'API-KEY', 'x-api-key', 'apiKey', 'api key', 'access_key', 'aws_secret_access_key', 'private_key',
  'privateKey', 'signing_key', 'encryption-key', 'ssh_key', 'master_key', 'token', 'tokens', 'access_token', 'refreshToken',
  'token2', 'auth_token', 'id_token', 'bearer', 'authorization', 'Authorization', 'proxy-authorization', 'auth', 'cookie',
  'Set-Cookie', 'cookies', 'session', 'session_id', 'sessionId', 'sid', 'jwt', 'otp', 'pin', 'csrf', 'X-CSRF-Token', 'salt',
  'signature', 'connection_string', 'mnemonic',
  'k'.repeat(65),
];

/** Keys that look near and must not deny. */
export const PLAIN_KEYS: string[] = [
  'name', 'key', 'keys', 'keyboard', 'author', 'authored_by', 'tokenizer_version',
  'passive', 'bypass_mode', 'compass', 'monkey', 'spindle', 'pinned', 'cookiecutter', 'unit', 'value', 'kind', 'entity',
  'gpu', 'producer', 'result', 'phase', 'source', 'bucket', 'k'.repeat(64),
];

/** `key=value` lines. */
export const FIELD_VECTORS: Vector[] = [
  { why: 'nothing secret', before: 'a=1\nb=two', after: 'a=1\nb=two', count: 0 },
  { why: 'denied key', before: 'user=x\npassword=hunter2\nz=1', after: 'user=x\npassword=*\nz=1', count: 1 },
  { why: 'trailing newline stays', before: 'password=hunter2\n', after: 'password=*\n', count: 1 },
  { why: 'one character', before: 'pin=7', after: 'pin=*', count: 1 },
  { why: 'an empty value is no secret', before: 'password=\na=1', after: 'password=\na=1', count: 0 },
  { why: 'replaced before: not counted again', before: 'password=*', after: 'password=*', count: 0 },
  { why: 'value with = and blanks', before: 'authorization=Basic a=b c', after: 'authorization=*', count: 1 },
  { why: 'two secrets', before: 'token=a\nsecret=b', after: 'token=*\nsecret=*', count: 2 },
  { why: 'a number under a measuring name', before: 'token_count=12\nsession_bytes=4', after: 'token_count=12\nsession_bytes=4', count: 0 },
  { why: 'no number under a measuring name', before: 'token_count=abc', after: 'token_count=*', count: 1 },
  { why: 'a strong name never measures', before: 'password_len=12', after: 'password_len=*', count: 1 },
  { why: 'bearer by its shape', before: 'header=Bearer abcdef123456', after: 'header=Bearer *', count: 1 },
  { why: 'jwt under a plain key', before: `note=${JWT}`, after: 'note=*', count: 1 },
  { why: 'long hex under a plain key', before: `note=${HEX64}`, after: 'note=*', count: 1 },
  { why: 'a digest may be long hex', before: `wasm_sha256=${HEX64}`, after: `wasm_sha256=${HEX64}`, count: 0 },
  { why: 'a digest key hides no base64', before: `digest=${BASE64}`, after: 'digest=*', count: 1 },
  { why: 'base64 with padding', before: `blob=${BASE64}==\nn=1`, after: 'blob=*\nn=1', count: 1 },
  { why: 'span and trace ids pass', before: 'span=0011223344556677\ntrace=8899aabbccddeeff', after: 'span=0011223344556677\ntrace=8899aabbccddeeff', count: 0 },
  { why: 'GPU uuid passes', before: 'hw.id=GPU-8dc3b1a2-0a1b-4c2d-9e8f-001122334455', after: 'hw.id=GPU-8dc3b1a2-0a1b-4c2d-9e8f-001122334455', count: 0 },
  { why: 'PEM over lines', before: `a=1\ncert=${PEM}\nz=2`, after: 'a=1\ncert=*\nz=2', count: 1 },
  { why: 'PEM under a denied key', before: `private_key=${PEM}\nz=2`, after: 'private_key=*\nz=2', count: 1 },
  { why: 'PEM cut off takes the rest', before: `cert=${PEM.slice(0, 40)}\nz=2`, after: 'cert=*', count: 1 },
  { why: 'a line without =', before: `plain words\n${JWT}`, after: 'plain words\n*', count: 1 },
];

/** Free text. */
export const TEXT_VECTORS: Vector[] = [
  { why: 'plain', before: 'metrics snapshot counter name=selftest.counter value=7', after: 'metrics snapshot counter name=selftest.counter value=7', count: 0 },
  { why: 'assignment', before: 'login password=hunter2 failed', after: 'login password=* failed', count: 1 },
  { why: 'colon', before: 'password: hunter2, user: bob', after: 'password: *, user: bob', count: 1 },
  { why: 'json', before: '{"user":"bob","password":"hunter 2","n":1}', after: '{"user":"bob","password":"*","n":1}', count: 1 },
  { why: 'single quotes', before: "api_key = 'abc def' done", after: "api_key = '*' done", count: 1 },
  { why: 'two words', before: 'the api key: abc123 was used', after: 'the api key: * was used', count: 1 },
  { why: 'query string', before: 'GET /x?token=abc&page=2', after: 'GET /x?token=*&page=2', count: 1 },
  { why: 'header to the end of the line', before: 'Authorization: Bearer abc def\nnext line', after: 'Authorization: *\nnext line', count: 1 },
  { why: 'cookie header', before: 'Cookie: a=1; b=2', after: 'Cookie: *', count: 1 },
  { why: 'bearer alone', before: 'got bearer abcdefgh1 from peer', after: 'got bearer * from peer', count: 1 },
  { why: 'bearer as a word', before: 'the bearer was here', after: 'the bearer was here', count: 0 },
  { why: 'basic with credentials', before: 'Basic dXNlcjpwYXNz seen', after: 'Basic * seen', count: 1 },
  { why: 'basic as a word', before: 'basic functionality works', after: 'basic functionality works', count: 0 },
  { why: 'option', before: 'run --password hunter2 --verbose', after: 'run --password * --verbose', count: 1 },
  { why: 'option with =', before: 'run --api-key=abc', after: 'run --api-key=*', count: 1 },
  { why: 'option without value', before: 'run --token --verbose', after: 'run --token --verbose', count: 0 },
  { why: 'url user info', before: 'clone https://bob:pw@host/x now', after: 'clone https://*@host/x now', count: 1 },
  { why: 'url without', before: 'see https://host/a@b', after: 'see https://host/a@b', count: 0 },
  { why: 'time of day', before: 'at 12:30:45 session opened', after: 'at 12:30:45 session opened', count: 0 },
  { why: 'cloud key', before: 'id AKIA' + 'IOSFODNN7EXAMPLE end', after: 'id * end', count: 1 },
  { why: 'source forge key', before: 'x gh' + 'p_0123456789abcdefABCDEF0123456789abcd y', after: 'x * y', count: 1 },
  { why: 'gpu cloud key', before: 'use nvapi' + '-abcDEF0123456789_xyz please', after: 'use * please', count: 1 },
  { why: 'key at the very end', before: `last ${JWT}`, after: 'last *', count: 1 },
  { why: 'path', before: 'open /usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin', after: 'open /usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin', count: 0 },
  { why: 'sha256 in text', before: `sha256:${HEX64} loaded`, after: `sha256:${HEX64} loaded`, count: 0 },
  { why: 'sha256 with =', before: `bundle sha256=${HEX64} loaded`, after: `bundle sha256=${HEX64} loaded`, count: 0 },
  { why: 'pem in text', before: `got ${PEM} here`, after: 'got * here', count: 1 },
  { why: 'empty', before: '', after: '', count: 0 },
];
