// SPDX-License-Identifier: Apache-2.0
// The configuration that a subcommand was given. Invariant: a wrong one ends the command with every fault on stderr and exit code 1, one
// that cannot be read with 3; a file that a configuration names (fields_file, salt_file) is read here and nowhere else in the command.
import { readSalt } from '../../runtime/config/files.js';
import { loadConfig, renderError } from '../../runtime/config/load.js';
import type { Config, ConfigError } from '../../runtime/config/schema.js';
import { Failure, infra } from '../lib/fail.js';

export const CONFIG_OPTION = ['--config <file>', 'a vigil.toml; without one every key has its default'] as const;

/** The faults of a file as they are said: a head line, then one line each. */
export function faultLines(path: string, errors: readonly ConfigError[]): string[] {
  if (errors.length === 1 && errors[0]!.path === '') return [errors[0]!.message];
  return [`${path}: ${errors.length} ${errors.length === 1 ? 'fault' : 'faults'}`, ...errors.map((error) => `  ${renderError(error)}`)];
}

/** The configuration. @throws Failure 1 with every fault, 3 when the file cannot be read */
export function readConfig(path: string | undefined): Config {
  const loaded = loadConfig(path);
  if ('config' in loaded) return loaded.config;
  throw new Failure(loaded.unreadable === true ? 3 : 1, faultLines(path ?? 'the defaults', loaded.errors).join('\n'));
}

/** The secret that identities are hashed with, or undefined where they are not. @throws Failure 3 when its file cannot be used */
export function saltOf({ receivers: { dcgm: { identity } } }: Config): string | undefined {
  if (!identity.hash) return undefined;
  try {
    return readSalt(identity.saltFile);
  } catch (error) {
    return infra(`receivers.dcgm.identity.salt_file: ${(error as Error).message}`);
  }
}
