// SPDX-License-Identifier: Apache-2.0
// The image that passed, run once more in real time (profile=run) as `vigil up` runs it, for a person to look at until he stops it.
// Invariant: it is the very bundle that passed, or it does not start; its bring-up is judged by the gate's matcher, line by line; what
// comes after `init: ready` is shown, never judged. A guest that ends is not booted again here: that it ended is the news.
// Limits: UP_LIMIT_MS of host time until `init: ready`; a glance at the machine every GLANCE_MS.
import { join, relative } from 'node:path';
import { loadConfig } from '../../runtime/config/load.js';
import { receiverLines } from '../../runtime/config/receiver.js';
import type { Config } from '../../runtime/config/schema.js';
import { startMachine, type Machine, type MachineEvent } from '../../runtime/up/machine.js';
import { RunFolder } from '../gate/evidence.js';
import { lastOfPhase, readLadder, type Ladder } from '../gate/ladder.js';
import { LineSplitter, splitPrefix, type ConsoleLine } from '../gate/line-splitter.js';
import { Matcher } from '../gate/matcher.js';
import { failureTitle } from '../gate/report.js';
import { keptPath } from '../lib/disk.js';
import { wrong } from '../lib/fail.js';
import { ROOT } from '../lib/paths.js';
import type { ViewEvent } from './model.js';
import { glanceOf } from './up-glance.js';

const UP_LIMIT_MS = 30_000;
const GLANCE_MS = 1_000;
const EXPORT_MS = 2_000;

/** Every default, but a scrape a second, the first at once, and the disk of this checkout. */
function viewConfig(root: string): Config {
  const loaded = loadConfig(undefined);
  if (!('config' in loaded)) return wrong('the default configuration is refused');
  const { config } = loaded;
  return {
    ...config,
    receivers: { dcgm: { ...config.receivers.dcgm, collectionIntervalMs: 1_000, initialDelayMs: 0 } },
    guest: { ...config.guest, state: keptPath(process.env, root), exportIntervalMs: EXPORT_MS },
  };
}

export class Live {
  /** settles with true once `init: ready` came, with false when the image went wrong before */
  readonly up: Promise<boolean>;
  private settle: (up: boolean) => void = () => undefined;
  private judging = true;
  private stopped: Promise<void> | null = null;
  private matcher: Matcher | null = null;
  private machine: Machine | null = null;
  private readonly splitter = new LineSplitter();
  private readonly timers: NodeJS.Timeout[] = [];

  private constructor(
    private readonly ladder: Ladder,
    private readonly folder: RunFolder,
    private readonly say: (event: ViewEvent) => void,
  ) {
    this.up = new Promise((resolve) => {
      this.settle = (up) => {
        this.judging = false;
        resolve(up);
      };
    });
  }

  /** where the guest is asked */
  get controlSocket(): string {
    return this.machine!.relay.socketPath;
  }

  /**
   * Boots the shipping image in real time.
   * @param bundle the identity that passed @throws Failure 1 when the image is another one by now, 3 when it cannot be booted
   */
  static async start(bundle: string, say: (event: ViewEvent) => void, root: string = ROOT): Promise<Live> {
    const live = new Live(readLadder('proof', 'modern', root), new RunFolder(join(root, 'build', 'logs'), 'view', new Date()), say);
    const config = viewConfig(root);
    const machine = await startMachine(config, {
      receiverLines: receiverLines(config), bundle, root, anyPort: true,
      say: (event) => { live.heard(event); }, console: (bytes) => { live.data(bytes); },
    });
    live.machine = machine;
    live.timers.push(setInterval(() => { live.glance(); }, GLANCE_MS));
    live.timers.push(setTimeout(() => { if (live.judging) live.fail(`no \`init: ready\` within ${UP_LIMIT_MS / 1000} s`); }, UP_LIMIT_MS));
    return live;
  }

  /** Ends the guest and everything that was started for it; safe to call twice. */
  stop(): Promise<void> {
    this.stopped ??= (async () => {
      for (const timer of this.timers) clearTimeout(timer);
      await this.machine?.stop();
    })();
    return this.stopped;
  }

  private glance(): void {
    if (this.machine !== null && this.stopped === null) this.say({ kind: 'up', event: { kind: 'glance', glance: glanceOf(this.machine) } });
  }

  private heard(event: MachineEvent): void {
    if (event.kind === 'booting') this.matcher = new Matcher(this.ladder, event.nonce);
    else if (event.kind === 'ended') this.fail(event.detail);
  }

  private data(bytes: Buffer): void {
    this.folder.raw(bytes);
    for (const raw of this.splitter.push(bytes)) this.line(splitPrefix(raw));
  }

  private line(line: ConsoleLine): void {
    const { matcher } = this;
    if (!this.judging || matcher === null) {
      this.folder.line(line.bytes);
      this.say({ kind: 'console', text: line.text });
      return;
    }
    const events = matcher.push(line);
    if (matcher.started) this.folder.line(line.bytes);
    for (const event of events) {
      if (event.kind === 'red') this.fail(failureTitle(event.failure));
      else if (event.kind === 'marker' && event.marker.index === lastOfPhase(matcher.ladder, 'bring-up')) this.settle(true);
    }
  }

  /** It is over: nothing is booted again. */
  private fail(how: string): void {
    if (this.stopped !== null) return;
    this.say({ kind: 'ended', how: `${how}; see ${relative(process.cwd(), this.folder.path)}` });
    this.settle(false);
    // Not at once: a boot that ended inside startMachine() has no machine to stop yet.
    setImmediate(() => { void this.stop(); });
  }
}
