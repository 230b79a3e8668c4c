// SPDX-License-Identifier: Apache-2.0
// The standard OTEL_EXPORTER_OTLP_* variables (OpenTelemetry specification, "OpenTelemetry Protocol Exporter"), for HTTP with protobuf.
// Invariant: a signal's own variable wins over the common one; what cannot be honoured is an error that names the variable, never ignored.
import { SIGNALS, type Signal } from './schema.js';

type Environment = Readonly<Record<string, string | undefined>>;

export interface Target {
  readonly url: string; readonly headers: Readonly<Record<string, string>>; readonly timeoutMs: number; readonly gzip: boolean;
}
/** null: this signal is not exported (no endpoint is set for it). */
export type Targets = Readonly<Record<Signal, Target | null>>;

export class EnvError extends Error {}

const HEADERS_MAX = 32;
const TIMEOUT_MAX_MS = 60_000;

/** `key=value` pairs, comma separated, percent-encoded values (W3C Baggage form). */
function headers(name: string, text: string | undefined): Record<string, string> {
  if (text === undefined || text.trim() === '') return {};
  const pairs = text.split(',');
  if (pairs.length > HEADERS_MAX) throw new EnvError(`${name}: more than ${HEADERS_MAX} headers`);
  return Object.fromEntries(pairs.map((pair) => {
    const at = pair.indexOf('=');
    const key = pair.slice(0, at).trim().toLowerCase();
    const legal = at > 0 && /^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(key);
    if (!legal) throw new EnvError(`${name}: "${pair.slice(0, Math.max(at, 0))}" is no header name`);
    try {
      return [key, decodeURIComponent(pair.slice(at + 1).trim())];
    } catch {
      throw new EnvError(`${name}: the value of "${key}" is not percent-encoded`);
    }
  }));
}

function urlOf(name: string, text: string, path: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new EnvError(`${name}: "${text}" is no URL`);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new EnvError(`${name}: scheme "${url.protocol}" is not http or https`);
  if (url.username !== '' || url.password !== '') throw new EnvError(`${name}: user and password belong into OTEL_EXPORTER_OTLP_HEADERS`);
  if (path !== '') url.pathname = `${url.pathname.replace(/\/+$/, '')}${path}`;
  return url.href;
}

/** Where each signal goes. @throws EnvError naming the variable at fault. */
export function targetsFrom(env: Environment): Targets {
  const target = (signal: Signal): Target | null => {
    const own = (key: string): readonly [string, string | undefined] => {
      const mine = `OTEL_EXPORTER_OTLP_${signal.toUpperCase()}_${key}`;
      const name = env[mine] !== undefined && env[mine] !== '' ? mine : `OTEL_EXPORTER_OTLP_${key}`;
      return [name, env[name]];
    };
    const [endpointName, endpoint] = own('ENDPOINT');
    if (endpoint === undefined || endpoint === '') return null;
    const [protocolName, protocol] = own('PROTOCOL');
    if (protocol !== undefined && protocol !== '' && protocol !== 'http/protobuf') {
      throw new EnvError(`${protocolName}: "${protocol}" is not supported; http/protobuf is`);
    }
    const [compressionName, compression] = own('COMPRESSION');
    if (compression !== undefined && !['', 'gzip', 'none'].includes(compression)) {
      throw new EnvError(`${compressionName}: "${compression}" is not gzip or none`);
    }
    const [timeoutName, timeout] = own('TIMEOUT');
    const timeoutMs = timeout === undefined || timeout === '' ? 10_000 : Number(timeout);
    if (!Number.isInteger(timeoutMs) || timeoutMs < 1 || timeoutMs > TIMEOUT_MAX_MS) {
      throw new EnvError(`${timeoutName}: "${timeout}" is not 1 to ${TIMEOUT_MAX_MS} ms`);
    }
    const [headersName, headersText] = own('HEADERS');
    const path = endpointName === 'OTEL_EXPORTER_OTLP_ENDPOINT' ? SIGNALS[signal].path : '';
    return {
      url: urlOf(endpointName, endpoint, path), headers: headers(headersName, headersText), timeoutMs, gzip: compression !== 'none',
    };
  };
  return { metrics: target('metrics'), traces: target('traces'), logs: target('logs') };
}
