// SPDX-License-Identifier: Apache-2.0
// What `vigil up` runs with: the configuration under the options of the command line, and the guest's part of it.
// Invariant: an option is checked as the key that it stands for; every fault is said at once, warnings are kept for the person.
// Limits: those of runtime/config.
import { guestConfig } from '../../runtime/config/fields.js';
import { checkFiles } from '../../runtime/config/files.js';
import { renderError } from '../../runtime/config/load.js';
import type { Config, SourceConfig } from '../../runtime/config/schema.js';
import { ListenError, parseListen } from '../../runtime/export/exporter.js';
import { faultLines, readConfig } from '../command/config.js';
import { usage, wrong } from '../lib/fail.js';

export interface Choices {
  readonly config?: string; readonly source?: SourceConfig['kind']; readonly fleet?: string; readonly scenario?: string;
  readonly fields?: string; readonly listen?: string; readonly once?: boolean;
}
export interface Settings { readonly config: Config; readonly receiverLines: string; readonly warnings: readonly string[] }

/** A named node is a replay, and takes the place of a capture. */
function sourceOf(source: SourceConfig, { source: kind, fleet, scenario }: Choices): SourceConfig {
  const scripted = fleet !== undefined || scenario !== undefined;
  if (scripted && kind !== undefined && kind !== 'replay') usage(`--fleet and --scenario are of a replay; --source ${kind} has none`);
  return {
    ...source,
    ...(kind === undefined ? {} : { kind }),
    ...(scripted ? { kind: 'replay' as const, capture: '', fleet: fleet ?? source.fleet, scenario: scenario ?? source.scenario } : {}),
  };
}

/** @throws Failure 1 for a wrong configuration, 2 for a wrong option, 3 for a file that cannot be read */
export function settingsOf(choices: Choices): Settings {
  const file = readConfig(choices.config);
  const { fields, listen } = choices;
  try {
    if (listen !== undefined) parseListen(listen);
  } catch (error) {
    if (error instanceof ListenError) usage(`--listen: ${error.message}`);
    throw error;
  }
  // One scrape needs no known port: the one of a machine that runs stays free.
  const address = listen ?? (choices.once === true ? '127.0.0.1:0' : file.exporters.prometheus.listen);
  const config: Config = {
    ...file,
    source: sourceOf(file.source, choices),
    receivers: { dcgm: { ...file.receivers.dcgm, ...(fields === undefined ? {} : { fieldsFile: fields }) } },
    exporters: { ...file.exporters, prometheus: { ...file.exporters.prometheus, listen: address } },
  };
  const capture = checkFiles(config).errors.filter(({ path }) => path === 'source.capture');
  if (capture.length > 0) return wrong(faultLines(choices.config ?? 'the defaults', capture).join('\n'));
  const guest = guestConfig(config);
  if ('errors' in guest) return wrong(faultLines(choices.config ?? 'the defaults', guest.errors).join('\n'));
  return { config, receiverLines: guest.text, warnings: guest.warnings.map(renderError) };
}
