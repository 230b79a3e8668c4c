// SPDX-License-Identifier: Apache-2.0
// The HTTP side: /metrics, /-/healthy, /-/ready, /health and pages that others add. Loopback unless told otherwise.
// Invariant: health and readiness are asked of the caller each time, never remembered; a page that fails is a 500 with its reason logged,
// not a half page; a connection has one request at a time. Limits: HTTP_LIMITS; a request body is never read; a connection on which nothing
// moved for requestMs is closed, as is one that sends a request before it has read the answer. A page of GZIP_BYTES_MIN and more is
// compressed for whoever asks.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { Authenticator } from './auth.js';
import type { WebConfig } from './web-config.js';

/** `checkMs`: how often the connections are looked through for one that takes too long */
export const HTTP_LIMITS = { headersMs: 10_000, requestMs: 30_000, checkMs: 1_000, connections: 64, headerBytes: 16 << 10 } as const;

const GZIP_BYTES_MIN = 1024;
const compress = promisify(gzip);

/** What a request that cannot be read is told, by the parser's code; anything else is a 400. */
const UNREADABLE: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large', ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

/** Path and query of a request line, in whichever form it came; null: it is none. */
function targetOf(text: string): URL | null {
  // A base of its own for a path: `//x` would else be read as a host.
  const whole = text.startsWith('/') ? `http://localhost${text}` : text;
  return URL.canParse(whole) ? new URL(whole) : null;
}

/** Whether an Accept-Encoding header takes gzip. */
export function acceptsGzip(header: string | undefined): boolean {
  const ranges = (header ?? '').split(',').map((range) => range.trim().split(/\s*;\s*/));
  const found = ranges.find(([name]) => name?.toLowerCase() === 'gzip');
  return found !== undefined && !found.some((part) => /^q=0(\.0*)?$/.test(part));
}

export interface Answer { readonly status: number; readonly type: string; readonly body: string }
/** A page by its path; `query` and headers as they came. */
export type Page = (request: { readonly query: URLSearchParams; readonly accept: string | undefined }) => Answer | Promise<Answer>;

export interface HttpOptions {
  readonly host: string; readonly port: number; readonly web: WebConfig;
  readonly pages: ReadonlyMap<string, Page>;
  readonly log?: (line: string) => void;
}

export interface HttpServer {
  readonly port: number; readonly host: string;
  readonly counters: { requests: number; unauthorized: number; failed: number };
  close(): Promise<void>;
}

const SECURITY: Readonly<Record<string, string>> = {
  'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY', 'referrer-policy': 'no-referrer', 'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'",
};

/** Plain text. */
export const plain = (status: number, body: string): Answer => ({ status, type: 'text/plain; charset=utf-8', body: `${body}\n` });

/** Listens. Rejects with the listen error (port in use, no permission). */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  const log = options.log ?? (() => undefined);
  const counters = { requests: 0, unauthorized: 0, failed: 0 };
  const authenticator = options.web.users === null ? null : new Authenticator(options.web.users);

  const handle = async (request: IncomingMessage): Promise<[Answer, Record<string, string>]> => {
    counters.requests++;
    if (authenticator !== null && !(await authenticator.allows(request.headers.authorization))) {
      counters.unauthorized++;
      return [plain(401, 'Unauthorized'), { 'www-authenticate': 'Basic realm="vigil"' }];
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') return [plain(405, 'only GET and HEAD'), { allow: 'GET, HEAD' }];
    const url = targetOf(request.url ?? '/');
    if (url === null) return [plain(400, 'no address of a page'), {}];
    const page = options.pages.get(url.pathname);
    if (page === undefined) return [plain(404, `no page ${url.pathname}`), {}];
    return [await page({ query: url.searchParams, accept: request.headers.accept }), {}];
  };

  const busy = new WeakSet<Socket>();
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request;
    if (socket.destroyed) return;
    if (busy.has(socket)) {
      // Pipelined: thousands of answers that nobody reads would be made at once.
      counters.requests++;
      counters.failed++;
      socket.destroy();
      return;
    }
    busy.add(socket);
    response.on('finish', () => { busy.delete(socket); });
    handle(request)
      .catch((error: unknown): [Answer, Record<string, string>] => {
        counters.failed++;
        log(`http: ${request.url ?? ''}: ${(error as Error).message}`);
        return [plain(500, 'this page failed; see the log'), {}];
      })
      .then(async ([answer, more]) => {
        const whole = Buffer.from(answer.body);
        const zipped = whole.length >= GZIP_BYTES_MIN && acceptsGzip(String(request.headers['accept-encoding'] ?? ''));
        const body = zipped ? await compress(whole) : whole;
        response.writeHead(answer.status, {
          ...SECURITY, ...options.web.headers, ...more, 'content-type': answer.type, 'content-length': body.length,
          vary: 'accept, accept-encoding', ...(zipped ? { 'content-encoding': 'gzip' } : {}),
        });
        response.end(request.method === 'HEAD' ? undefined : body);
      })
      .catch((error: unknown) => { log(`http: ${(error as Error).message}`); response.destroy(); });
  };

  const limits = {
    headersTimeout: HTTP_LIMITS.headersMs, requestTimeout: HTTP_LIMITS.requestMs, connectionsCheckingInterval: HTTP_LIMITS.checkMs,
    maxHeaderSize: HTTP_LIMITS.headerBytes,
  };
  const { tls } = options.web;
  const server: Server = tls === null ? createServer(limits, listener) : createTlsServer({ ...limits, ...tls }, listener);
  server.maxConnections = HTTP_LIMITS.connections;
  server.timeout = HTTP_LIMITS.requestMs;
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (!socket.writable || error.code === 'ECONNRESET') {
      socket.destroy();
      return;
    }
    const says = UNREADABLE[error.code ?? ''] ?? '400 Bad Request';
    socket.end(`HTTP/1.1 ${says}\r\nConnection: close\r\n\r\n`, () => { socket.destroy(); });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, () => { server.off('error', reject); resolve(); });
  });
  return {
    host: options.host, port: (server.address() as AddressInfo).port, counters,
    close: () => new Promise((resolve) => {
      server.close(() => { resolve(); });
      server.closeAllConnections();
    }),
  };
}
