// SPDX-License-Identifier: Apache-2.0
// Owns: the file by which a running machine is found: `vigil up` writes it beside the guest's disk, `vigil logs`, `metrics`, `traces` and
// `dump` read it. Invariant: written whole or not at all (a rename), readable by its owner alone; a file whose process is gone, or whose
// pid another process has by now, is stale and never taken for a running machine. Limits: one machine a disk; FILE_BYTES_MAX.
import { chmodSync, closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import type { Config } from '../config/schema.js';

const FILE_BYTES_MAX = 65_536;
const VERSION = 1;

const schema = z.object({
  version: z.literal(VERSION), pid: z.int().min(1), startTicks: z.string(), control: z.string().min(1), metricsUrl: z.string(),
  startedUtc: z.string(), transcript: z.string(), source: z.string(), restarts: z.int().min(0),
});

/** What `vigil up` says about itself. Paths are absolute. */
export interface Run {
  readonly pid: number;
  /** the unix socket of the guest's control port */
  readonly control: string;
  /** where /metrics is served, '' while it is not */
  readonly metricsUrl: string;
  readonly startedUtc: string;
  /** the console of the boot that runs now, '' where none is kept */
  readonly transcript: string;
  /** the label of the source that the bridge chose */
  readonly source: string;
  /** how often the guest was started anew */
  readonly restarts: number;
}

export type Found =
  | { readonly state: 'running'; readonly run: Run }
  /** `why` is one line: no file, the process is gone, or the file is none of ours */
  | { readonly state: 'none' | 'stale' | 'bad'; readonly why: string };

/** The guest's disk: VIGIL_STATE, which wins over the file as OTEL_EXPORTER_OTLP_* do, or guest.state. */
export function statePathOf(config: Config, env: NodeJS.ProcessEnv = process.env): string {
  const named = env.VIGIL_STATE;
  return resolve(named === undefined || named === '' ? config.guest.state : named);
}

/** Where the run file of a configuration lies: beside the guest's disk, with its name in front unless that is state.img. */
export function runFileOf(config: Config, env: NodeJS.ProcessEnv = process.env): string {
  const disk = statePathOf(config, env);
  const name = basename(disk);
  return join(dirname(disk), name === 'state.img' ? 'run.json' : `${name}.run.json`);
}

/** When a process started, in the kernel's ticks; '' where the system does not say (then the pid alone is compared). */
function startTicksOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''; // field 22 of proc(5); the name may hold blanks
  } catch {
    return '';
  }
}

function alive(pid: number, startTicks: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' && startTicksOf(pid) === startTicks;
  }
  return startTicks === '' || startTicksOf(pid) === startTicks;
}

/** What the file says, and whether it still holds. Never throws for what may lie there. */
export function readRunFile(path: string): Found {
  let text: string;
  try {
    if (statSync(path).size > FILE_BYTES_MAX) return { state: 'bad', why: `${path} is no run file: too long` };
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return code === 'ENOENT' || code === 'ENOTDIR' ? { state: 'none', why: `no machine runs here (${path} is not there)` }
      : { state: 'bad', why: `${path} cannot be read: ${(error as Error).message}` };
  }
  let read;
  try {
    read = schema.safeParse(JSON.parse(text));
  } catch {
    return { state: 'bad', why: `${path} is no run file: not JSON` };
  }
  if (!read.success) {
    const [issue] = read.error.issues;
    return { state: 'bad', why: `${path} is no run file: ${issue!.path.join('.')}: ${issue!.message}` };
  }
  const { version, startTicks, ...run } = read.data;
  void version;
  const ended = `no machine runs here (${path} is of process ${run.pid}, which has ended)`;
  if (!alive(run.pid, startTicks)) return { state: 'stale', why: ended };
  return { state: 'running', run };
}

/** Another machine has the disk. */
export class RunFileTaken extends Error {}

/**
 * Writes the file, atomically; called again by the same process, it replaces it (the guest was started anew).
 * @throws RunFileTaken when another living process has it; Error when the folder cannot be written.
 */
export function writeRunFile(path: string, run: Run): void {
  const found = readRunFile(path);
  if (found.state === 'running' && found.run.pid !== run.pid) {
    throw new RunFileTaken(`process ${found.run.pid} runs a machine here already (${path})`);
  }
  mkdirSync(dirname(path), { recursive: true });
  const fresh = `${path}.${process.pid}.new`;
  const file = openSync(fresh, 'w', 0o600);
  try {
    chmodSync(fresh, 0o600); // a left-over of a crashed writer may have other rights
    writeSync(file, `${JSON.stringify({ version: VERSION, startTicks: startTicksOf(run.pid), ...run }, null, 2)}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(fresh, path);
}

/** Removes the file if it is of this process; what another wrote meanwhile stays. */
export function removeRunFile(path: string, pid: number): void {
  const found = readRunFile(path);
  if (found.state === 'running' && found.run.pid === pid) rmSync(path, { force: true });
}
