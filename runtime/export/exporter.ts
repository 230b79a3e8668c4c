// SPDX-License-Identifier: Apache-2.0
// Owns: the exporter's pages: /metrics, /-/healthy, /-/ready, /health, and those that others add.
// Invariant: /metrics answers whatever the guest does, with the host's own series at least; every GPU series says its source. /-/healthy:
// this process serves. /-/ready and /health: 200 only while a fresh sample of the source is exported, else 503 with the reason: a dead
// engine is neither. Limits: loopback unless told otherwise; HTTP_LIMITS.
import { isIP } from 'node:net';
import type { PrometheusConfig } from '../config/schema.js';
import type { Agent } from './agent.js';
import { plain, startHttp, type Answer, type HttpServer, type Page } from './http/server.js';
import { OPEN_WEB_CONFIG, loadWebConfig } from './http/web-config.js';
import type { Reading } from './own-series.js';
import { dcgmFamilies } from './prometheus/dcgm-names.js';
import { buildFamilies } from './prometheus/families.js';
import type { Translation } from './prometheus/names.js';
import { CONTENT_TYPE, allowsUtf8, formatOf, renderPage, type Format } from './prometheus/render.js';

export interface Exporter extends HttpServer {
  /** where a browser finds it */
  readonly url: string;
}

export interface ExporterOptions { readonly log?: (line: string) => void }

export class ListenError extends Error {}

/** `host:port`, `[ipv6]:port` or `:port` (every interface). @throws ListenError */
export function parseListen(text: string): { host: string; port: number } {
  const [, bracketed, plainHost, portText] = /^(?:\[([^\]]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(portText);
  const host = bracketed ?? plainHost;
  if (host === undefined || !Number.isInteger(port) || port > 65_535) throw new ListenError(`"${text}" is not host:port`);
  if (bracketed !== undefined && isIP(bracketed) !== 6) throw new ListenError(`"${bracketed}" is no IPv6 address`);
  return { host: host === '' ? '::' : host, port };
}

const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || /^127\./.test(host);

/**
 * Names that are not escaped are for scrapers that say they take them; for the others they are escaped with `_`, as the exposition
 * formats' negotiation has it, with the suffixes that the operator chose.
 */
function negotiate(accept: string | undefined, wanted: Translation): { format: Format; translation: Translation } {
  if (wanted.startsWith('Underscore')) return { format: formatOf(accept), translation: wanted };
  if (allowsUtf8(accept)) return { format: 'utf8', translation: wanted };
  const escaped = wanted === 'NoTranslation' ? 'UnderscoreEscapingWithoutSuffixes' : 'UnderscoreEscapingWithSuffixes';
  return { format: formatOf(accept), translation: escaped };
}

function metricsPage(agent: Agent, { dcgmNames, translation: wanted }: PrometheusConfig, left: Map<string, number>): Page {
  return async ({ accept }) => {
    const { format, translation } = negotiate(accept, wanted);
    const resources = agent.resources();
    const { families, duplicates, conflicts } = buildFamilies(resources, { translation, promote: [] });
    left.set('duplicate', duplicates).set('type_conflict', conflicts);
    const body = await renderPage(dcgmNames ? [families, dcgmFamilies(resources)] : [families], format);
    return { status: 200, type: CONTENT_TYPE[format], body };
  };
}

/** Listens. Rejects with WebConfigError, ListenError, or what listening says (port in use). */
export async function startExporter(
  agent: Agent, config: PrometheusConfig, extraPages: ReadonlyMap<string, Page> = new Map(), options: ExporterOptions = {},
): Promise<Exporter> {
  const { log } = options;
  const web = config.webConfigFile === '' ? OPEN_WEB_CONFIG : loadWebConfig(config.webConfigFile);
  const { host, port } = parseListen(config.listen);
  const left = new Map<string, number>([['duplicate', 0], ['type_conflict', 0]]);
  const judged = (): Answer => {
    const { ready, why } = agent.ready();
    return plain(ready ? 200 : 503, why);
  };
  const pages = new Map<string, Page>([
    ['/', () => plain(200, 'Vigil exporter: /metrics /-/healthy /-/ready /health')],
    ...extraPages,
    ['/metrics', metricsPage(agent, config, left)],
    ['/-/healthy', () => plain(200, 'ok')],
    ['/-/ready', judged],
    ['/health', judged],
  ]);
  const server = await startHttp({ host, port, web, pages, ...(log === undefined ? {} : { log }) });
  agent.own.read('vigil.exporter.samples.dropped', () => [...left].map(([reason, count]): Reading => [{ reason }, count]));
  agent.own.read('vigil.http.requests', () => {
    const { requests, unauthorized, failed } = server.counters;
    const answered = requests - unauthorized - failed;
    return Object.entries({ answered, unauthorized, failed }).map(([outcome, count]): Reading => [{ outcome }, count]);
  });
  if (!isLoopback(host) && web.users === null && web.tls?.requestCert !== true) {
    log?.(`exporter: ${config.listen} is open to the network without authentication (exporters.prometheus.web_config_file)`);
  }
  const shown = host.includes(':') ? `[${host}]` : host;
  return Object.assign(server, { url: `${web.tls === null ? 'http' : 'https'}://${shown}:${server.port}/` });
}
