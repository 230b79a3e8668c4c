// SPDX-License-Identifier: Apache-2.0
// The web configuration file that Prometheus exporters share (exporter-toolkit's web-config.yml): TLS, basic authentication, headers.
// Invariant: an unknown key, an unreadable file or a hash that is not bcrypt is an error that names the key; nothing is ignored, so a
// server never starts with less protection than the file asks for.
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { SecureVersion, TlsOptions } from 'node:tls';
import { parse } from 'yaml';
import { z } from 'zod';

export class WebConfigError extends Error {}

const CLIENT_AUTH = [
  'NoClientCert', 'RequestClientCert', 'RequireAnyClientCert', 'VerifyClientCertIfGiven', 'RequireAndVerifyClientCert',
] as const;
const VERSIONS = { TLS12: 'TLSv1.2', TLS13: 'TLSv1.3' } as const satisfies Record<string, SecureVersion>;
const USERS_MAX = 64;

const schema = z.strictObject({
  tls_server_config: z.strictObject({
    cert_file: z.string().min(1),
    key_file: z.string().min(1),
    client_auth_type: z.enum(CLIENT_AUTH).default('NoClientCert'),
    client_ca_file: z.string().min(1).optional(),
    min_version: z.enum(['TLS12', 'TLS13']).default('TLS12'),
    max_version: z.enum(['TLS12', 'TLS13']).default('TLS13'),
  }).optional(),
  http_server_config: z.strictObject({ headers: z.record(z.string(), z.string()).default({}) }).optional(),
  basic_auth_users: z.record(z.string().min(1), z.string().regex(/^\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}$/, 'is not a bcrypt hash')).optional(),
}).nullable();

export interface WebConfig {
  readonly tls: TlsOptions | null;
  /** bcrypt hash by user; null: no authentication */
  readonly users: ReadonlyMap<string, string> | null;
  readonly headers: Readonly<Record<string, string>>;
}

export const OPEN_WEB_CONFIG: WebConfig = { tls: null, users: null, headers: {} };

function read(path: string, base: string, key: string): Buffer {
  try {
    return readFileSync(resolve(base, path));
  } catch (error) {
    throw new WebConfigError(`${key}: ${(error as Error).message}`);
  }
}

/** Reads the file; paths in it are relative to it. @throws WebConfigError with every fault of the file, one a line. */
export function loadWebConfig(path: string): WebConfig {
  let raw: unknown;
  try {
    raw = parse(readFileSync(path, 'utf8')) ?? null;
  } catch (error) {
    throw new WebConfigError(`${path}: ${(error as Error).message.split('\n')[0]}`);
  }
  const checked = schema.safeParse(raw);
  if (!checked.success) {
    const faults = checked.error.issues.map(({ path: at, message }) => `${path}: ${at.join('.') || 'file'}: ${message}`);
    throw new WebConfigError(faults.join('\n'));
  }
  const config = checked.data ?? {};
  const users = config.basic_auth_users === undefined ? null : new Map(Object.entries(config.basic_auth_users));
  if (users !== null && users.size > USERS_MAX) throw new WebConfigError(`${path}: basic_auth_users: more than ${USERS_MAX} users`);
  return { tls: tlsOf(config.tls_server_config, dirname(path)), users, headers: config.http_server_config?.headers ?? {} };
}

type TlsPart = NonNullable<NonNullable<z.infer<typeof schema>>['tls_server_config']>;

function tlsOf(part: TlsPart | undefined, base: string): TlsOptions | null {
  if (part === undefined) return null;
  const verifies = part.client_auth_type === 'VerifyClientCertIfGiven' || part.client_auth_type === 'RequireAndVerifyClientCert';
  if (verifies && part.client_ca_file === undefined) {
    throw new WebConfigError(`tls_server_config.client_ca_file: ${part.client_auth_type} needs it`);
  }
  return {
    cert: read(part.cert_file, base, 'tls_server_config.cert_file'),
    key: read(part.key_file, base, 'tls_server_config.key_file'),
    ...(part.client_ca_file === undefined ? {} : { ca: read(part.client_ca_file, base, 'tls_server_config.client_ca_file') }),
    requestCert: part.client_auth_type !== 'NoClientCert',
    rejectUnauthorized: part.client_auth_type === 'RequireAndVerifyClientCert',
    minVersion: VERSIONS[part.min_version], maxVersion: VERSIONS[part.max_version],
  };
}
