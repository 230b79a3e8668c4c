// SPDX-License-Identifier: Apache-2.0
// Owns: an OTLP/HTTP receiver built on the published definitions: takes gzip, decodes strictly, keeps what it was sent, and answers as told.
// Invariant: what does not decode is a 400, as a collector says; nothing of our schema is used. Limits: a test's worth of requests.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { targetsFrom, type Targets } from '../../runtime/export/otlp/env.js';
import { published } from './requests.js';

const SIGNALS = {
  '/v1/metrics': ['metrics', 'ExportMetricsServiceRequest'], '/v1/traces': ['trace', 'ExportTraceServiceRequest'],
  '/v1/logs': ['logs', 'ExportLogsServiceRequest'],
} as const;
type Path = keyof typeof SIGNALS;

export interface Received { readonly path: string; readonly headers: IncomingMessage['headers']; readonly message: Record<string, unknown> }
/** Answers the nth request (1-based); returning false: the usual 200. */
export type Reply = (nth: number, response: ServerResponse, request: IncomingMessage) => boolean | Promise<boolean>;

export class Collector {
  readonly received: Received[] = [];
  /** requests that came, taken or not */
  requests = 0;
  reply: Reply = () => false;
  private readonly server = createServer((request, response) => { void this.take(request, response); });

  /** Listens; `port` 0: any. */
  async listen(port = 0): Promise<void> {
    await new Promise<void>((resolve, reject) => { this.server.once('error', reject).listen(port, '127.0.0.1', resolve); });
  }
  get port(): number { return (this.server.address() as AddressInfo).port; }
  targets(env: Record<string, string> = {}): Targets {
    return targetsFrom({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${this.port}`, ...env });
  }
  of(path: Path): Record<string, unknown>[] { return this.received.filter((row) => row.path === path).map(({ message }) => message); }
  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => { this.server.close(resolve); });
  }

  private async take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (await this.reply(++this.requests, response, request)) return;
    const body = Buffer.concat(chunks);
    const known = SIGNALS[request.url as Path];
    try {
      const type = published(known[0], known[1]);
      const message = type.toObject(type.decode(request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body), { longs: String, bytes: String });
      this.received.push({ path: request.url!, headers: request.headers, message });
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    } catch {
      response.writeHead(known === undefined ? 404 : 400).end();
    }
  }
}

interface Keyed { key: string; value: Record<string, unknown> }
type Raw = Record<string, never[] & { dataPoints: never[] }>;
export interface FlatPoint { name: string; value: number; attributes: Record<string, string>; resource: Record<string, string> }

const plain = (rows: Keyed[] = []): Record<string, string> => Object.fromEntries(rows.map(({ key, value }) => [key, String(Object.values(value)[0])]));

/** Every number of decoded metrics requests, with the attributes of point and resource. */
export function flatten(messages: readonly Record<string, unknown>[]): FlatPoint[] {
  const list = (value: unknown): Raw[] => (value ?? []) as Raw[];
  return messages.flatMap((message) => list(message.resourceMetrics).flatMap((holder) => {
    const resource = plain((holder.resource as unknown as { attributes: Keyed[] } | undefined)?.attributes);
    return list(holder.scopeMetrics).flatMap((scope) => list(scope.metrics).flatMap((metric) => {
      const data = (metric.gauge ?? metric.sum) as unknown as { dataPoints: Record<string, unknown>[] } | undefined;
      return (data?.dataPoints ?? []).map((point): FlatPoint => ({
        name: metric.name as unknown as string, value: Number(point.asDouble ?? point.asInt), attributes: plain(point.attributes as Keyed[]), resource,
      }));
    }));
  }));
}

/** Waits until `done`, looking often. @throws Error naming `what` after `patienceMs`. */
export async function until(what: string, done: () => boolean | Promise<boolean>, patienceMs = 10_000): Promise<void> {
  for (const end = Date.now() + patienceMs; Date.now() < end; await sleep(10)) if (await done()) return;
  throw new Error(`${what}: not in ${patienceMs} ms`);
}
