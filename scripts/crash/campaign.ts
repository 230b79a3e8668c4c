// SPDX-License-Identifier: Apache-2.0
// A campaign of power cuts on one disk: boot, write, cut, boot on what survived, compare, write on. Owns the order of these and the count
// of what was lost; the disk is runtime/nbd, the judgement is model.ts.
// Invariant: each boot's contents are compared with the model before its own workload counts; a boot that was cut before it came to that
// point changes nothing in the model. The campaign ends with a whole boot of profile crash-check under the gate.
// Limits: DISK_BYTES; one boot's wall limit; a boot that fails ends the campaign.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FaultyDisk, startNbd, type CutReport, type Plan } from '../../runtime/nbd/index.js';
import { privateFolder } from '../gate/private-image.js';
import { boot, type BootResult, type ProfileArgs } from '../gate/session.js';
import { runWhole } from '../gate/stop.js';
import { infra } from '../lib/fail.js';
import { randomBelow } from '../lib/random.js';
import { readSaid, type Said } from './lines.js';
import { baseOf, judge, type Contents, type Judgement } from './model.js';
import { fateSeed, planCut, type CutPlan } from './plan.js';
import { StageWatch, type Stage } from './stage.js';

/** Small, so that the journal wraps into its other region every few boots. */
export const DISK_BYTES = 2 * 1024 * 1024;
const BOOT_LIMIT_MS = 60_000;

export interface CampaignOptions {
  runs: number;
  seed: number;
  mutant?: string;
  /** where images of a loss (or of every cut) are written */
  folder: string;
  keepAll: boolean;
  signal: AbortSignal;
}

/** One cut, told when it happened. */
export interface CutEvent {
  cut: number;
  plan: CutPlan;
  report: CutReport;
  stage: Stage;
  acknowledged: number;
  /** how the contents that this boot found compare with the boots before it; null when it was cut too early to say */
  judgement: Judgement | null;
}

export interface Outcome {
  cuts: number;
  acknowledged: number;
  lost: number;
  stages: Record<Stage, number>;
  /** lines that say what went wrong, in order */
  trouble: string[];
}

/** A workload whose outcome no boot has seen yet. */
interface Open {
  cut: number;
  before: Contents;
  base: number;
  /** highest operation that was acknowledged */
  highest: number;
  acknowledged: number;
  images: { before: Buffer; survived: Buffer };
}

const hex = (n: number): string => (n >>> 0).toString(16).padStart(8, '0');

class Campaign {
  readonly outcome: Outcome = { cuts: 0, acknowledged: 0, lost: 0, stages: { recovery: 0, compaction: 0, work: 0, idle: 0 }, trouble: [] };
  private medium = Buffer.alloc(DISK_BYTES);
  private contents: Contents = new Map();
  private open: Open | null = null;

  constructor(private readonly dir: string, private readonly options: CampaignOptions) {}

  async run(say: (event: CutEvent) => void): Promise<Outcome> {
    for (let cut = 0; cut < this.options.runs; cut++) {
      const event = await this.cut(cut);
      if (event === null) return this.outcome;
      say(event);
    }
    await this.last();
    return this.outcome;
  }

  private async bootOn(disk: FaultyDisk, profile: string, power: AbortSignal | undefined, args: ProfileArgs): Promise<BootResult> {
    const socketPath = join(this.dir, 'disk.sock');
    const server = await startNbd(socketPath, disk);
    try {
      const { mutant, signal } = this.options;
      const result = await boot({
        transport: 'modern', profile, stop: () => runWhole(BOOT_LIMIT_MS), disk: { kind: 'nbd', socketPath }, mutant, signal, power, args,
      });
      if (result.result === 'infra') infra(result.report[0] ?? result.verdict);
      if (server.broken.length > 0) infra(`QEMU's NBD client was closed: ${server.broken.join('; ')}`);
      return result;
    } finally {
      await server.close();
    }
  }

  private async cut(cut: number): Promise<CutEvent | null> {
    const { seed } = this.options;
    const plan = planCut(seed, cut);
    const before = Buffer.from(this.medium);
    const power = new AbortController();
    const watch = new StageWatch(before);
    const { at, aim, moment, mode } = plan;
    const disk = new FaultyDisk(this.medium, { cut: { at: aim === 'boot' ? at : null, moment, mode } } satisfies Plan, {
      below: randomBelow(fateSeed(seed, cut)),
      onCut: () => power.abort(),
      onRequest: (request) => {
        watch.request(request);
        if (aim === 'compaction' && watch.compacting) disk.aimAt(disk.mutations + at);
      },
    });
    const result = await this.bootOn(disk, 'crash', power.signal, { seed: hex(seed), round: hex(cut) });
    const said = this.said(result, cut);
    if (said === null) return null;
    const report = disk.cutNow(plan.mode); // the workload ended before the planned request: the power goes on an idle machine
    const judgement = said.found === null ? null : this.compare(said.found);
    if (said.found !== null) {
      const highest = said.acknowledged.length === 0 ? -1 : Math.max(...said.acknowledged);
      const images = { before, survived: Buffer.from(this.medium) };
      const acknowledged = said.acknowledged.length;
      this.open = { cut, before: this.contents, base: baseOf(seed, cut), highest, acknowledged, images };
      this.outcome.acknowledged += acknowledged;
    }
    this.outcome.cuts++;
    const stage = said.idle ? 'idle' : watch.compacting ? 'compaction' : said.found === null ? 'recovery' : 'work';
    this.outcome.stages[stage]++;
    if (this.options.keepAll) this.keep(cut, { before, survived: this.medium });
    return { cut, plan, report, stage, acknowledged: said.acknowledged.length, judgement };
  }

  private async last(): Promise<void> {
    const disk = new FaultyDisk(this.medium, {}, { below: () => 0 });
    const result = await this.bootOn(disk, 'crash-check', undefined, {});
    const said = this.said(result, this.options.runs);
    if (said === null) return;
    if (said.found === null) this.outcome.trouble.push('the last boot printed no contents');
    else this.compare(said.found);
  }

  /** What a boot said; null, with the reason noted, when the guest failed. */
  private said(result: BootResult, cut: number): Said | null {
    if (result.result !== 'fail') return readSaid(result.lines);
    this.outcome.trouble.push(...result.report, `the boot after cut ${cut} failed: ${result.verdict}`);
    // What cannot be read is lost: everything that the model says is there.
    this.outcome.lost += Math.max(1, this.open?.acknowledged ?? 0);
    if (this.open !== null) this.keep(this.open.cut, this.open.images);
    return null;
  }

  private compare(found: Map<string, string>): Judgement {
    const { open } = this;
    const judgement: Judgement = open === null
      ? judge(this.contents, 0, -1, found, 0)
      : judge(open.before, open.base, open.highest, found);
    if (judgement.kind !== 'kept') {
      this.outcome.lost += judgement.lost;
      const what = judgement.kind === 'lost' ? 'the store went back in time' : 'no order of the operations gives this store';
      this.outcome.trouble.push(`cut ${open?.cut ?? 0}: lost ${judgement.lost}, ${what}; ${namesOf(judgement.keys)}`);
      if (open !== null) this.keep(open.cut, open.images);
    }
    this.contents = found;
    this.open = null;
    return judgement;
  }

  private keep(cut: number, images: { before: Buffer; survived: Buffer }): void {
    mkdirSync(this.options.folder, { recursive: true });
    for (const [name, image] of Object.entries(images)) writeFileSync(join(this.options.folder, `cut-${cut}-${name}.img`), image);
  }
}

const NAMED_MAX = 8;

/** The first keys by name, the rest counted. */
function namesOf(keys: readonly string[]): string {
  const more = keys.length > NAMED_MAX ? ` and ${keys.length - NAMED_MAX} more` : '';
  return `${keys.length === 1 ? 'key' : 'keys'} ${keys.slice(0, NAMED_MAX).join(' ')}${more}`;
}

/** @throws Failure 3 when the host, not the guest, is to blame. */
export async function campaign(options: CampaignOptions, say: (event: CutEvent) => void): Promise<Outcome> {
  const dir = privateFolder();
  try {
    return await new Campaign(dir, options).run(say);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
