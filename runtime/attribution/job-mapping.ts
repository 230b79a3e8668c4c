// SPDX-License-Identifier: Apache-2.0
// Owns: the job mapping directory of HPC schedulers, by dcgm-exporter's convention: a file for each GPU, named by its index (`0`), or by
// index and GPU instance (`0.7`), with a job id a line; a prolog writes it, an epilog removes it.
// Invariant: only plain files with such a name are read, and never more of one than the limit; what is odd is counted and left out, the
// rest counts. Limits: ATTRIBUTION_LIMITS job*. A file being written may lack its last line: an unfinished last line is counted and
// taken all the same, because many prologs write no newline.
import { constants } from 'node:fs';
import { open, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Value } from '../export/otlp/model.js';
import { cleanValue, prefixed, type RunningAttributor } from './attributor.js';
import { keysOfEntity } from './devices.js';
import { ATTRIBUTION_LIMITS } from './limits.js';
import { AttributionFailure, Refresher, type RefreshOptions } from './refresh.js';

export interface JobMappingOptions extends RefreshOptions { readonly directory: string }

export const JOB_MAPPING_STATES = {
  directory_absent: 'no such directory: the prolog has not made it yet, or the path is wrong',
  permission_denied: 'this user may not read the directory',
  not_a_directory: 'the path is not a directory',
  failed: 'any other failure',
} as const;

/** Counted over one reading: gauges, not sums. `garbage`: lines that are no job id; `skipped`: entries that are not ours. */
export interface JobTable {
  readonly jobs: ReadonlyMap<string, readonly string[]>;
  readonly files: number; readonly skipped: number; readonly unreadable: number; readonly oversized: number; readonly garbage: number;
  readonly unfinished: number; readonly cut: number;
}

const NAME = /^(0|[1-9]\d{0,2})(?:\.(0|[1-9]\d{0,2}))?$/;
/** What schedulers use as ids: Slurm's array and heterogeneous jobs (`123_4`, `123+1`), PBS (`123[4].host`), LSF, Kubernetes-like names. */
const JOB_ID = /^[A-Za-z0-9][A-Za-z0-9._:@/+[\]-]*$/;

/** The job ids of one file's bytes. Pure. */
export function parseJobs(text: string): { jobs: string[]; garbage: number; cut: number; unfinished: boolean } {
  const jobs = new Set<string>();
  let garbage = 0;
  let cut = 0;
  for (const line of text.split('\n').map((raw) => raw.trim()).filter((raw) => raw !== '')) {
    if (!JOB_ID.test(line) || line.length > ATTRIBUTION_LIMITS.jobIdBytes) garbage++;
    else if (jobs.has(line) || jobs.size < ATTRIBUTION_LIMITS.jobsPerFile) jobs.add(line);
    else cut++;
  }
  return { jobs: [...jobs], garbage, cut, unfinished: text !== '' && !text.endsWith('\n') };
}

/** Reads the directory once. Rejects with an AttributionFailure. */
export async function readJobMapping(directory: string): Promise<JobTable> {
  const jobs = new Map<string, readonly string[]>();
  const tally = { files: 0, skipped: 0, unreadable: 0, oversized: 0, garbage: 0, unfinished: 0, cut: 0 };
  let seen = 0;
  try {
    for await (const entry of await opendir(directory)) {
      if (++seen > ATTRIBUTION_LIMITS.jobFiles) { tally.cut++; break; }
      const [, index, instance] = NAME.exec(entry.name) ?? [];
      if (index === undefined) { tally.skipped++; continue; }
      const text = await readBounded(join(directory, entry.name));
      if (typeof text !== 'string') { tally[text.fault]++; continue; }
      tally.files++;
      const parsed = parseJobs(text);
      tally.garbage += parsed.garbage;
      tally.cut += parsed.cut;
      if (parsed.unfinished) tally.unfinished++;
      const key = `index:${Number(index)}${instance === undefined ? '' : `/gi${Number(instance)}`}`;
      if (parsed.jobs.length > 0) jobs.set(key, parsed.jobs.map(cleanValue));
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new AttributionFailure('directory_absent', `${directory}: no such directory`);
    if (code === 'EACCES' || code === 'EPERM') throw new AttributionFailure('permission_denied', `${directory}: permission denied`);
    if (code === 'ENOTDIR') throw new AttributionFailure('not_a_directory', `${directory}: not a directory`);
    throw new AttributionFailure('failed', `${directory}: ${(error as Error).message}`);
  }
  return { jobs, ...tally };
}

/** A plain file's text. Opened without following links and without waiting for a pipe's writer. */
async function readBounded(path: string): Promise<string | { fault: 'unreadable' | 'oversized' | 'skipped' }> {
  let file;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch {
    return { fault: 'unreadable' };
  }
  try {
    if (!(await file.stat()).isFile()) return { fault: 'skipped' };
    const buffer = Buffer.alloc(ATTRIBUTION_LIMITS.jobFileBytes + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
      length += bytesRead;
      if (length > ATTRIBUTION_LIMITS.jobFileBytes) return { fault: 'oversized' };
      if (bytesRead === 0) return buffer.subarray(0, length).toString('latin1');
    }
  } catch {
    return { fault: 'unreadable' };
  } finally {
    await file.close();
  }
}

export class JobMappingAttributor implements RunningAttributor {
  private readonly refresher: Refresher<JobTable>;

  constructor(options: JobMappingOptions) {
    this.refresher = new Refresher('hpc', () => readJobMapping(options.directory), options);
  }

  /** A GPU instance has the jobs of its own file, else those of its whole GPU. */
  attributes(entity: ReadonlyMap<string, Value>): readonly ReadonlyMap<string, string>[] {
    const jobs = this.refresher.value()?.jobs;
    const index = entity.get('hw.gpu.index');
    if (jobs === undefined || index === undefined || keysOfEntity(entity).length === 0) return [];
    const gi = entity.get('hw.gpu.mig.instance_id');
    const own = gi === undefined ? undefined : jobs.get(`index:${index}/gi${gi}`);
    return (own ?? jobs.get(`index:${index}`) ?? []).map((job) => new Map([['hpc.job.id', job]]));
  }

  get counters(): Readonly<Record<string, number>> {
    return { ...prefixed('hpc', this.refresher.counters), ...prefixed('hpc_failures', this.refresher.failuresByState()) };
  }
  get seen(): Readonly<Record<string, number>> {
    const { jobs: _, ...tally } = this.refresher.value() ?? { jobs: null };
    return prefixed('hpc', tally);
  }
  states() { return [this.refresher.state()]; }
  start(): Promise<void> { return this.refresher.start(); }
  close(): Promise<void> { return this.refresher.close(); }
  refresh(): Promise<void> { return this.refresher.once(); }
}
