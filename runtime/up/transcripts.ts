// SPDX-License-Identifier: Apache-2.0
// Owns: the folder where the consoles of ended guests are kept: one file an end, `TIME-CAUSE.log`.
// Invariant: a file appears whole (written beside, then renamed); what cannot be written is counted and said, and stops nothing; only files
// of this pattern are ever removed. Limits: `files` files, the oldest go first; the caller bounds the bytes of each.
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Cause } from './lifecycle.js';

const PARTIAL = '.partial';
const KEPT = /^\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}\.\d{3}Z-[a-z_]+\.log$/;

export interface Ended {
  readonly at: Date; readonly cause: Cause; readonly detail: string; readonly boot: number;
  /** what ran: QEMU's version line and the bundle's identity */
  readonly about: string;
  readonly console: Buffer;
}

export class Transcripts {
  readonly counters = { kept: 0, lost: 0 };

  constructor(readonly folder: string, private readonly files: number) {}

  /** Keeps one console. @returns its path, or why it is lost */
  keep(ended: Ended): { path: string } | { lost: string } {
    const path = join(this.folder, `${ended.at.toISOString().replaceAll(':', '-')}-${ended.cause}.log`);
    const head = `# ${ended.at.toISOString()} boot ${ended.boot}: ${ended.cause}: ${oneLine(ended.detail)}\n# ${oneLine(ended.about)}\n`;
    const partial = join(this.folder, PARTIAL);
    try {
      mkdirSync(this.folder, { recursive: true, mode: 0o700 });
      writeFileSync(partial, Buffer.concat([Buffer.from(head), ended.console]), { mode: 0o600 });
      renameSync(partial, path);
      this.counters.kept++;
      this.trim();
      return { path };
    } catch (error) {
      this.counters.lost++;
      return { lost: (error as Error).message };
    }
  }

  /** Paths of what is kept, oldest first: the names sort by time. */
  list(): string[] {
    return readdirSync(this.folder).filter((name) => KEPT.test(name)).sort().map((name) => join(this.folder, name));
  }

  private trim(): void {
    for (const path of this.list().slice(0, -this.files)) rmSync(path, { force: true });
  }
}

const oneLine = (text: string): string => text.replace(/[^\x20-\x7e]+/g, ' ').slice(0, 500);
