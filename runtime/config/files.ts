// SPDX-License-Identifier: Apache-2.0
// Owns: what only the files behind a valid configuration can show to be wrong: fields_file, capture, salt_file, web_config_file.
// Invariant: every fault of all of them at once, each under the path of the key that names the file; nothing of a secret is said.
// Limits: sockets and folders that come and go (kubelet, jobs), and the environment, are `vigil doctor`'s.
import { readFileSync } from 'node:fs';
import { loadCapture } from '../bridge/sources/replay.js';
import { WebConfigError, loadWebConfig } from '../export/http/web-config.js';
import { readListed, type Listed } from './fields.js';
import { receiverFault } from './receiver.js';
import type { Config, ConfigError } from './schema.js';

const SALT_BYTES_MAX = 4096;

/** The secret that identities are hashed with. @throws Error with the path and the reason, never with what is in it */
export function readSalt(path: string): string {
  let salt: string;
  try {
    salt = readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw new Error(`${path} cannot be read: ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}`);
  }
  if (salt === '' || salt.length > SALT_BYTES_MAX) throw new Error(`${path} holds no secret of 1 to ${SALT_BYTES_MAX} bytes`);
  return salt;
}

function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof WebConfigError) return message;
  if (code !== undefined) return message.replace(/^(E[A-Z]+): ([^,]+),.*/, '$1: $2');
  return error instanceof TypeError ? 'the file is none of this kind: parts of it are missing' : message.split('\n')[0]!;
}

/** Every fault of the files; `listed`: what the fields_file names, null without one. */
export function checkFiles(config: Config): { readonly errors: readonly ConfigError[]; readonly listed: Listed | null } {
  const { source, receivers: { dcgm }, exporters: { prometheus } } = config;
  const errors: ConfigError[] = [];
  const attempt = (path: string, use: () => unknown): void => {
    try {
      use();
    } catch (error) {
      for (const message of reason(error).split('\n')) errors.push({ path, message });
    }
  };
  if (source.capture !== '') attempt('source.capture', () => loadCapture(source.capture));
  const read = readListed(config);
  const listed = read !== null && !('errors' in read) ? read : null;
  if (read !== null && 'errors' in read) errors.push(...read.errors);
  const fault = receiverFault(config, listed?.ids);
  if (fault !== null) errors.push({ path: 'receivers.dcgm', message: fault });
  if (dcgm.identity.hash) attempt('receivers.dcgm.identity.salt_file', () => readSalt(dcgm.identity.saltFile));
  if (prometheus.webConfigFile !== '') attempt('exporters.prometheus.web_config_file', () => loadWebConfig(prometheus.webConfigFile));
  return { errors, listed };
}
