// SPDX-License-Identifier: Apache-2.0
// The HTTP server and the web configuration file: pages, methods, basic authentication, TLS, refusals that name the key.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { get } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import bcrypt from 'bcryptjs';
import { plain, startHttp, type HttpServer, type Page } from '../../runtime/export/http/server.js';
import { OPEN_WEB_CONFIG, WebConfigError, loadWebConfig, type WebConfig } from '../../runtime/export/http/web-config.js';

const dir = mkdtempSync(join(tmpdir(), 'vigil-web-'));
after(() => { rmSync(dir, { recursive: true, force: true }); });
const file = (name: string, text: string): string => {
  writeFileSync(join(dir, name), text);
  return join(dir, name);
};
const pages = new Map<string, Page>([
  ['/metrics', ({ accept, query }) => plain(200, `${accept ?? ''} ${query.get('a') ?? ''}`)],
  ['/broken', () => { throw new Error('on purpose'); }],
]);
const start = (web: WebConfig = OPEN_WEB_CONFIG, log?: (line: string) => void): Promise<HttpServer> => startHttp({ host: '127.0.0.1', port: 0, web, pages, log });

test('pages, methods, a page that is not there, and one that fails', async () => {
  const lines: string[] = [];
  const server = await start(OPEN_WEB_CONFIG, (line) => lines.push(line));
  const at = `http://127.0.0.1:${server.port}`;
  const ok = await fetch(`${at}/metrics?a=1`, { headers: { accept: 'text/plain' } });
  assert.deepEqual([ok.status, await ok.text()], [200, 'text/plain 1\n']);
  assert.match(ok.headers.get('content-security-policy') ?? '', /default-src 'none'/);
  assert.equal((await fetch(`${at}/nothing`)).status, 404);
  const post = await fetch(`${at}/metrics`, { method: 'POST', body: 'x' });
  assert.deepEqual([post.status, post.headers.get('allow')], [405, 'GET, HEAD']);
  const head = await fetch(`${at}/metrics`, { method: 'HEAD' });
  assert.deepEqual([head.status, await head.text()], [200, '']);
  assert.equal((await fetch(`${at}/broken`)).status, 500);
  assert.deepEqual(lines, ['http: /broken: on purpose']);
  const socket = connect(server.port, '127.0.0.1');
  await new Promise<void>((resolve) => { socket.resume().on('close', () => { resolve(); }).on('error', () => undefined).write('\x00garbage\r\n\r\n'); });
  assert.equal((await fetch(`${at}/metrics`)).status, 200);
  await assert.rejects(startHttp({ host: '127.0.0.1', port: server.port, web: OPEN_WEB_CONFIG, pages }), { code: 'EADDRINUSE' });
  await server.close();
});

/** What comes back for these bytes until the connection ends. */
const rawly = (port: number, text: string): Promise<string> => new Promise((resolve) => {
  let got = '';
  connect(port, '127.0.0.1').on('data', (bytes) => { got += bytes.toString('latin1'); }).on('error', () => undefined)
    .on('close', () => { resolve(got); }).write(text);
});

test('odd addresses, what cannot be read, and requests before the answer: each ends in a status or a closed connection', async () => {
  const lines: string[] = [];
  const server = await start(OPEN_WEB_CONFIG, (line) => lines.push(line));
  const status = async (target: string): Promise<string> =>
    (await rawly(server.port, `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)).slice(9, 12);
  for (const target of ['//', '///', '//metrics', '//:99999/', '//evil/metrics', '/\\metrics', '/%', '/../x']) assert.equal(await status(target), '404', target);
  for (const target of ['http://[/', '*']) assert.equal(await status(target), '400', target);
  for (const target of ['/metrics?a=1', 'http://other/metrics', '/x/../metrics']) assert.equal(await status(target), '200', target);
  assert.match(await rawly(server.port, 'nonsense\r\n\r\n'), /^HTTP\/1.1 400 /);
  assert.match(await rawly(server.port, `GET / HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(40_000)}\r\n\r\n`), /^HTTP\/1.1 431 /);
  assert.deepEqual([server.counters.failed, lines], [0, []]);
  const { requests } = server.counters;
  await rawly(server.port, 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(500));
  assert.deepEqual([server.counters.requests - requests, server.counters.failed], [2, 1], 'one page was made, one request refused');
  assert.equal((await fetch(`http://127.0.0.1:${server.port}/metrics`)).status, 200);
  assert.equal((await fetch(`http://127.0.0.1:${server.port}/metrics`)).status, 200, 'again on a kept connection');
  await server.close();
});

test('basic authentication: right, wrong, unknown user, malformed, and again from memory', async () => {
  const path = file('users.yml', `basic_auth_users:\n  ann: ${bcrypt.hashSync('secret', 4)}\nhttp_server_config:\n  headers:\n    X-Extra: yes\n`);
  const server = await start(loadWebConfig(path));
  const ask = (pair: string | null): Promise<Response> =>
    fetch(`http://127.0.0.1:${server.port}/metrics`, { headers: pair === null ? {} : { authorization: `Basic ${Buffer.from(pair).toString('base64')}` } });
  const none = await ask(null);
  assert.deepEqual([none.status, none.headers.get('www-authenticate')], [401, 'Basic realm="vigil"']);
  for (const pair of ['ann:wrong', 'bob:secret', 'annsecret', `ann:${'x'.repeat(2000)}`]) assert.equal((await ask(pair)).status, 401, pair.slice(0, 20));
  for (let i = 0; i < 3; i++) {
    const right = await ask('ann:secret');
    assert.deepEqual([right.status, right.headers.get('x-extra')], [200, 'yes']);
  }
  assert.equal(server.counters.unauthorized, 5);
  await server.close();
});

test('TLS as the file says, plain HTTP refused there', async () => {
  const made = spawnSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=localhost',
    '-keyout', join(dir, 'key.pem'), '-out', join(dir, 'cert.pem'),
  ]);
  assert.equal(made.status, 0, String(made.stderr));
  const server = await start(loadWebConfig(file('tls.yml', 'tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n  min_version: TLS13\n')));
  const status = await new Promise<number | undefined>((resolve, reject) => {
    get({ host: '127.0.0.1', port: server.port, path: '/metrics', rejectUnauthorized: false }, (response) => { response.resume(); resolve(response.statusCode); }).on('error', reject);
  });
  assert.equal(status, 200);
  await assert.rejects(fetch(`http://127.0.0.1:${server.port}/metrics`));
  await server.close();
});

test('a web configuration that cannot be honoured is refused with the key at fault', () => {
  const refused = (text: string, message: RegExp): void => {
    assert.throws(() => loadWebConfig(file('bad.yml', text)), (error: unknown) => error instanceof WebConfigError && message.test(error.message), text);
  };
  refused('tls_server_config:\n  cert_file: no.pem\n  key_file: no.key\n', /tls_server_config\.cert_file: ENOENT/);
  refused('tls_server_config:\n  cert_file: cert.pem\n', /tls_server_config\.key_file/);
  refused('tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_auth_type: RequireAndVerifyClientCert}\n', /client_ca_file/);
  refused('basic_auth_users: {ann: plain}\n', /basic_auth_users\.ann: .*bcrypt/);
  refused('rate_limit: {}\n', /rate_limit/);
  refused('tls_server_config: [1\n', /bad\.yml/);
  refused('basic_auth_users: {a: x}\nunknown: 1\n', /basic_auth_users\.a[^]*unknown/);
  assert.throws(() => loadWebConfig(join(dir, 'absent.yml')), WebConfigError);
  assert.deepEqual(loadWebConfig(file('empty.yml', '')), OPEN_WEB_CONFIG);
});
