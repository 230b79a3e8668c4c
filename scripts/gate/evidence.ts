// SPDX-License-Identifier: Apache-2.0
// The folder of one run: build/logs/<utc>-<profile>-<pid>/ with uart.log, uart.raw.log, ledger.json, junit.xml, run.json, and
// `latest` pointing at the newest. Invariant: two runs never share a folder; `latest` is replaced whole, never half-written.
import { appendFileSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { PHASES } from './ladder.js';
import type { Seen } from './matcher.js';

export const RESULTS = ['pass', 'fail', 'stopped', 'infra'] as const;
export type Result = (typeof RESULTS)[number];

const hex64 = z.string().regex(/^[0-9a-f]{64}$/);

/** ledger.json */
export const ledgerSchema = z.strictObject({
  /** what the verdict line names: `modern`, `legacy (debug only)`, `modern invalid-only` */
  profile: z.string(),
  nonce: z.string().regex(/^[0-9a-f]{16}$/),
  result: z.enum(RESULTS),
  markers: z.array(
    z.strictObject({
      text: z.string(),
      phase: z.enum(PHASES),
      /** line number in uart.log, from 1 */
      line: z.int().positive(),
      guest_ns: z.int().nonnegative(),
    }),
  ),
  /** SHA-256 over the kernel's lines up to the halt line or the first deviation, each with a line feed */
  digest: hex64,
});
export type Ledger = z.infer<typeof ledgerSchema>;

/** run.json */
export const runSchema = z.strictObject({
  result: z.enum(RESULTS),
  exit_code: z.int().min(0).max(3),
  verdict: z.string(),
  transport: z.enum(['modern', 'legacy']),
  boot_profile: z.string(),
  nonce: z.string(),
  mutant: z.string().nullable(),
  recipe: z.string().nullable(),
  run_until_marker: z.string().nullable(),
  run_phase: z.string().nullable(),
  run_timeout_ms: z.int(),
  started_utc: z.string(),
  wall_ms: z.int(),
  qemu: z.strictObject({ path: z.string(), version: z.string(), argv: z.array(z.string()), exit_status: z.int().nullable() }),
  image: z.strictObject({ kernel_sha256: hex64, bundle_sha256: hex64, bundle_identity: hex64 }),
  firmware: z.strictObject({ lines: z.int(), sha256: hex64 }),
  commit: z.string().nullable(),
  /** true when the working tree differed from the commit; null outside a git checkout */
  dirty: z.boolean().nullable(),
});
export type RunRecord = z.infer<typeof runSchema>;

/** `20260102T030405Z` and milliseconds, so that folders sort by time. */
export function utcStamp(date: Date): string {
  return date.toISOString().replace(/[-:]/g, '').replace('.', '');
}

/** Every byte of the console, as QEMU wrote it. */
export const RAW_LOG = 'uart.raw.log';
/** Every frame that the guest exported and the gate took, one after the other (docs/format/export.md). */
export const EXPORTED = 'exported.bin';

let runsOfThisProcess = 0;

/** Runs kept under build/logs; the oldest go first. Three whole canary runs fit. */
export const RUNS_KEPT = 400;
const RUN_NAME = /^\d{8}T\d{9}Z-/;

/** Removes the oldest run folders beyond RUNS_KEPT. */
export function pruneRuns(logs: string, kept: number = RUNS_KEPT): void {
  const names = readdirSync(logs).filter((name) => RUN_NAME.test(name)).sort();
  for (const name of names.slice(0, Math.max(0, names.length - kept))) rmSync(join(logs, name), { recursive: true, force: true });
}

/** Writes one run's folder. */
export class RunFolder {
  readonly path: string;

  /** @param label goes into the folder's name: letters, digits and dashes */
  constructor(readonly logs: string, label: string, started: Date) {
    const nth = runsOfThisProcess++;
    const name = `${utcStamp(started)}-${label}-${process.pid}${nth === 0 ? '' : `-${nth}`}`;
    this.path = join(logs, name);
    mkdirSync(this.path, { recursive: true });
    pruneRuns(logs);
    const link = join(logs, `.latest-${process.pid}-${nth}`);
    symlinkSync(name, link);
    renameSync(link, join(logs, 'latest'));
    for (const file of ['uart.log', RAW_LOG]) writeFileSync(this.file(file), '');
  }

  file(name: string): string {
    return join(this.path, name);
  }

  raw(bytes: Buffer): void {
    appendFileSync(this.file('uart.raw.log'), bytes);
  }

  line(bytes: Buffer): void {
    appendFileSync(this.file('uart.log'), Buffer.concat([bytes, Buffer.from('\n')]));
  }

  write(name: string, text: string): void {
    writeFileSync(this.file(name), text);
  }

  ledger(ledger: Ledger): void {
    this.write('ledger.json', `${JSON.stringify(ledgerSchema.parse(ledger), null, 2)}\n`);
  }

  run(record: RunRecord): void {
    this.write('run.json', `${JSON.stringify(runSchema.parse(record), null, 2)}\n`);
  }
}

/** The ledger's rows from what the matcher saw. */
export function ledgerRows(seen: Seen[]): Ledger['markers'] {
  return seen.map(({ marker, guestNs, uartLine }) => ({
    text: marker.text,
    phase: marker.phase,
    line: uartLine,
    guest_ns: guestNs,
  }));
}

const RECENT_RUNS_MAX = 200;

/** Commit of the newest clean run that passed the proof on this transport; null when the logs hold none. */
export function lastGoodCommit(logs: string, transport: string): string | null {
  let names: string[];
  try {
    names = readdirSync(logs).sort().reverse().slice(0, RECENT_RUNS_MAX);
  } catch {
    return null;
  }
  for (const name of names) {
    try {
      const run = runSchema.parse(JSON.parse(readFileSync(join(logs, name, 'run.json'), 'utf8')));
      const whole = run.result === 'pass' && run.boot_profile === 'proof' && run.transport === transport;
      if (whole && run.dirty === false && run.commit !== null && run.mutant === null) return run.commit;
    } catch {
      // a run in progress, or one of an older format
    }
  }
  return null;
}
