// SPDX-License-Identifier: Apache-2.0
// Owns: every bound of the attribution: how often it looks, how long it waits, how much it takes.
// Invariant: nothing that a kubelet, a job script or a library says can make this process wait longer or hold more than this.
// Limits: these are the limits. Times in ms, sizes in bytes.
export const ATTRIBUTION_LIMITS = {
  /** time between two readings, from the end of one to the start of the next */
  refreshMs: 10_000,
  /** an answer that could not be renewed counts this long, then nothing is attributed */
  holdMs: 60_000,
  /** one question to the kubelet */
  callMs: 2_000,
  /** one answer of the kubelet: 250 pods with a full node of devices are below 1 MiB */
  messageBytes: 8 << 20,
  /** (container, device) pairs that are kept of one answer */
  entries: 4_096,
  /** attribute sets of one entity: more pods than this on one GPU are counted, not exported */
  setsPerEntity: 64,
  /** an attribute's value */
  textBytes: 256,
  /** MIG UUIDs asked of the driver in one go, and remembered */
  migNames: 512,
  migLookupMs: 5_000,
  /** a name that the driver did not know is asked again after this */
  migRetryMs: 60_000,
  /** job mapping directory: entries looked at, bytes of one file, jobs of one file, bytes of one job id */
  jobFiles: 1_024,
  jobFileBytes: 16_384,
  jobsPerFile: 64,
  jobIdBytes: 128,
} as const;
