// SPDX-License-Identifier: Apache-2.0
// Owns: which GPU instance a MIG UUID is. A kubelet names MIG devices by UUID, DCGM by GPU and instance; only the driver knows both.
// Invariant: the driver's library runs in a process of its own for one question, and is killed when it is late; a UUID that it cannot
// place stays unknown and is asked again later, because instances come and go. Limits: ATTRIBUTION_LIMITS.migNames and the two times.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import type { Device } from './devices.js';
import { ATTRIBUTION_LIMITS } from './limits.js';

const FROM_SOURCE = import.meta.url.endsWith('.ts');
/** A checkout's child is TypeScript and needs tsx; a distribution's is not. */
const CHILD = [
  ...(FROM_SOURCE ? ['--import', import.meta.resolve('tsx')] : []),
  fileURLToPath(new URL(FROM_SOURCE ? './mig-child.ts' : './mig-child.js', import.meta.url)),
];
const OUTPUT_BYTES_MAX = 1 << 20;

const place = z.strictObject({ gpu: z.string().max(96), instance: z.int().min(0).max(999), compute: z.int().min(0).max(999) });
const answer = z.record(z.string(), z.union([place, z.string()]));
/** By UUID: its place, or the driver's reason for not having one. */
export type MigAnswer = z.infer<typeof answer>;
export type MigQuestion = (uuids: readonly string[], signal: AbortSignal) => Promise<MigAnswer>;

/** Asks the driver in a child process. Rejects when it cannot be loaded, crashes or is late. */
export const askDriver = (library?: string, waitMs: number = ATTRIBUTION_LIMITS.migLookupMs): MigQuestion => (uuids, signal) =>
  new Promise((resolve, reject) => {
    const config = JSON.stringify({ ...(library === undefined ? {} : { library }), uuids });
    const child = spawn(process.execPath, [...CHILD, config], { stdio: ['ignore', 'pipe', 'ignore'] });
    let output = '';
    let why = 'the process ended without an answer';
    const kill = (reason: string): void => { why = reason; child.kill('SIGKILL'); };
    const timer = setTimeout(() => { kill(`no answer in ${waitMs} ms`); }, waitMs);
    const cancel = (): void => { kill('cancelled'); };
    signal.addEventListener('abort', cancel, { once: true });
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString('latin1');
      if (output.length > OUTPUT_BYTES_MAX) kill('an answer larger than the limit');
    });
    child.once('error', (error) => { why = error.message; });
    child.once('close', (code) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', cancel);
      try {
        if (code !== 0) throw new Error(output === '' ? why : output.slice(0, 200).trim());
        resolve(answer.parse(JSON.parse(output)));
      } catch (error) {
        reject(error as Error);
      }
    });
  });

export class MigNames {
  readonly counters = { questions: 0, failures: 0 };
  /** UUIDs that are held now: with a place, and without */
  readonly seen = { placed: 0, unplaced: 0 };
  private readonly known = new Map<string, { readonly device: Device | null; readonly atMs: number }>();
  private last = '';

  constructor(private readonly ask: MigQuestion = askDriver(), private readonly now: () => number = () => performance.now()) {}

  /** The last failure's text, empty when there was none. */
  get why(): string { return this.last; }
  place(uuid: string): Device | null { return this.known.get(uuid)?.device ?? null; }

  /** Asks for what is not known; forgets what is not asked for any more. Never rejects. */
  async learn(uuids: readonly string[], signal: AbortSignal): Promise<void> {
    const wanted = new Set(uuids.slice(0, ATTRIBUTION_LIMITS.migNames));
    for (const uuid of this.known.keys()) if (!wanted.has(uuid)) this.known.delete(uuid);
    const due = [...wanted].filter((uuid) => {
      const entry = this.known.get(uuid);
      return entry === undefined || (entry.device === null && this.now() - entry.atMs >= ATTRIBUTION_LIMITS.migRetryMs);
    });
    if (due.length > 0) {
      this.counters.questions++;
      let found: MigAnswer = {};
      try {
        found = await this.ask(due, signal);
      } catch (error) {
        this.counters.failures++;
        this.last = (error as Error).message;
      }
      for (const uuid of due) {
        const said = found[uuid];
        if (typeof said === 'string') this.last = `${uuid}: ${said}`;
        const device = said === undefined || typeof said === 'string' ? null
          : { gpu: { uuid: said.gpu }, instance: said.instance, compute: said.compute };
        this.known.set(uuid, { device, atMs: this.now() });
      }
    }
    const devices = [...this.known.values()];
    this.seen.placed = devices.filter(({ device }) => device !== null).length;
    this.seen.unplaced = devices.length - this.seen.placed;
  }

  /** Nothing is held between questions; a question under way is cancelled by its signal. */
  async close(): Promise<void> { this.known.clear(); }
}
