// SPDX-License-Identifier: Apache-2.0
// Owns: what a configuration's fields_file comes to, and with it the whole text that the guest gets.
// Invariant: an unknown name is said and never dropped in silence; a file of which nothing is left is a fault, because the receiver would
// emit nothing. Limits: counters-csv.ts.
import { CountersFileError, countersReport, loadCounters } from './counters-csv.js';
import { receiverFault, receiverLines } from './receiver.js';
import type { Config, ConfigError } from './schema.js';

const PATH = 'receivers.dcgm.fields_file';

/** Ids of the fields that a file names, and what is to be said about its other lines. */
export interface Listed { readonly ids: readonly number[]; readonly warnings: readonly ConfigError[] }

/** null: the configuration names no file. */
export function readListed(config: Config): Listed | { readonly errors: readonly ConfigError[] } | null {
  const file = config.receivers.dcgm.fieldsFile;
  if (file === '') return null;
  try {
    const read = loadCounters(file);
    const warnings = countersReport(read).map((message) => ({ path: PATH, message: `${file}, ${message}` }));
    if (read.fields.length > 0) return { ids: read.fields, warnings };
    return { errors: [{ path: PATH, message: `${file} names no field that a metric is made of` }, ...warnings] };
  } catch (error) {
    if (!(error instanceof CountersFileError)) throw error;
    return { errors: [{ path: PATH, message: error.message }] };
  }
}

export interface GuestConfig { readonly text: string; readonly warnings: readonly ConfigError[] }

/** What startBridge gets as `receiverConfig`, and what a person should be told; or every fault. */
export function guestConfig(config: Config): GuestConfig | { readonly errors: readonly ConfigError[] } {
  const listed = readListed(config);
  if (listed !== null && 'errors' in listed) return listed;
  const fault = receiverFault(config, listed?.ids);
  if (fault !== null) return { errors: [{ path: 'receivers.dcgm', message: fault }] };
  return { text: receiverLines(config, listed?.ids), warnings: listed?.warnings ?? [] };
}
