// SPDX-License-Identifier: Apache-2.0
// Owns: the attribution that a configuration asks for: Kubernetes, HPC jobs, both or none.
// Invariant: nothing is loaded, opened or asked before `start`. Limits: none of its own.
import type { Config } from '../config/schema.js';
import { combineAttributors, type RunningAttributor } from './attributor.js';
import { JobMappingAttributor } from './job-mapping.js';
import { KubernetesAttributor } from './kubernetes.js';
import { MigNames, askDriver } from './mig-names.js';
import type { RefreshOptions } from './refresh.js';

export type { AttributionState, Attributor, RunningAttributor } from './attributor.js';

/** `nvmlLibrary` instead of the driver's soname, for MIG UUIDs. Null when the configuration asks for no attribution. */
export function makeAttribution(
  config: Config['attribution'], options: RefreshOptions & { readonly nvmlLibrary?: string } = {},
): RunningAttributor | null {
  const { kubernetes, hpc } = config;
  const parts: RunningAttributor[] = [];
  if (kubernetes.enabled) {
    const mig = new MigNames(askDriver(options.nvmlLibrary), options.now);
    parts.push(new KubernetesAttributor({ ...options, socket: kubernetes.socket, prefixes: kubernetes.resourcePrefixes, mig }));
  }
  if (hpc.jobMappingDir !== '') parts.push(new JobMappingAttributor({ ...options, directory: hpc.jobMappingDir }));
  return parts.length === 0 ? null : parts.length === 1 ? parts[0]! : combineAttributors(parts);
}
