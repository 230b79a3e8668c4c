// SPDX-License-Identifier: Apache-2.0
// Owns: the rules between keys of vigil.toml: what does not go together although each key is right by itself.
// Invariant: nothing is said about a key whose value was refused already.
import { formatDuration } from './durations.js';
import { quote } from './rules.js';
import type { Config } from './schema.js';

/** Says every pair that does not go together. */
export function checkTogether(config: Config, refused: (path: string) => boolean, say: (path: string, message: string) => void): void {
  const fine = (...paths: string[]): boolean => !paths.some(refused);
  const { source, guest, receivers: { dcgm } } = config;
  if (fine('source.kind')) {
    const replay = source.kind === 'replay' || source.kind === 'auto';
    for (const key of ['capture', 'fleet', 'scenario'] as const) {
      if (source[key] !== '' && !replay)
        say(`source.${key}`, `${quote(source[key])} is for a replay; source.kind is ${quote(source.kind)}`);
    }
    const library = source.kind === 'dcgm' || source.kind === 'nvml';
    if (source.library !== '' && !library) {
      say('source.library',
        `${quote(source.library)}: which library this is, source.kind must say: dcgm or nvml; it is ${quote(source.kind)}`);
    }
  }
  if (source.capture !== '' && (source.fleet !== '' || source.scenario !== '')) {
    say('source.capture', `${quote(source.capture)}: a replay is a capture file or a scripted node (fleet, scenario), not both`);
  }
  if (dcgm.identity.hash && dcgm.identity.saltFile === '' && fine('receivers.dcgm.identity.salt_file')) {
    say('receivers.dcgm.identity.salt_file', '"" names no file; hash = true needs the secret that it hashes with');
  }
  for (const name of dcgm.metrics.exclude.filter((one) => dcgm.metrics.include.includes(one))) {
    say('receivers.dcgm.metrics.exclude', `${quote(name)} is in include as well`);
  }
  if (guest.heartbeatTimeoutMs < guest.heartbeatIntervalMs && fine('guest.heartbeat_timeout', 'guest.heartbeat_interval')) {
    const [timeout, interval] = [guest.heartbeatTimeoutMs, guest.heartbeatIntervalMs].map(formatDuration);
    say('guest.heartbeat_timeout', `"${timeout}" is shorter than heartbeat_interval, "${interval}"`);
  }
  if (guest.restartBackoffMaxMs < guest.restartBackoffFirstMs && fine('guest.restart_backoff_max', 'guest.restart_backoff_first')) {
    const [max, first] = [guest.restartBackoffMaxMs, guest.restartBackoffFirstMs].map(formatDuration);
    say('guest.restart_backoff_max', `"${max}" is shorter than restart_backoff_first, "${first}"`);
  }
}
