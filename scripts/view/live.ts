// SPDX-License-Identifier: Apache-2.0
// One boot that stays: the gate's own matcher over the proof's lines, then the same guest goes on for a person to look at.
// Invariant: the proof is judged by scripts/gate/matcher.ts alone; lines after the last marker are shown, never judged.
// Limits: PROOF_LIMIT_MS of host time for the proof. Unlike the gate, waits take real time and there is no halt line, so a
//         ladder that came whole is called PROVED here and PASS only by `just test-os`.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { bootArgs, qemuArgv } from '../../boot/machines.js';
import { startReplayBridge } from '../../runtime/bridge/index.js';
import { RunFolder } from '../gate/evidence.js';
import { readLadder } from '../gate/ladder.js';
import { LineSplitter, splitPrefix, type ConsoleLine } from '../gate/line-splitter.js';
import { dropImage, findQemu, privateImage, Qemu } from '../gate/machine.js';
import { Matcher, type GateEvent } from '../gate/matcher.js';
import { failureTitle } from '../gate/report.js';
import { ROOT } from '../lib/paths.js';
import type { ViewEvent } from './model.js';

const PROOF_LIMIT_MS = 60_000;

/** How the proof went. */
export type Outcome = 'proved' | 'red' | 'ended';

export class Live {
  /** settles when the proof is decided */
  readonly decided: Promise<Outcome>;
  private decide: (outcome: Outcome) => void = () => undefined;
  private outcome: Outcome | null = null;
  private readonly startedMs = Date.now();
  private readonly splitter = new LineSplitter();

  private constructor(
    readonly controlSocket: string,
    private readonly matcher: Matcher,
    private readonly folder: RunFolder,
    private readonly say: (event: ViewEvent) => void,
  ) {
    this.decided = new Promise((resolve) => {
      this.decide = (outcome) => {
        this.outcome ??= outcome;
        resolve(outcome);
      };
    });
  }

  /** Ends the guest and everything that was started for it; safe to call twice. */
  stop: () => Promise<void> = () => Promise.resolve();

  /** Boots the shipping image. @throws Failure 2 or 3 when there is nothing to boot or to boot it with. */
  static async start(say: (event: ViewEvent) => void, root: string = ROOT): Promise<Live> {
    const ladder = readLadder('proof', 'modern', root);
    const qemu = findQemu();
    const image = privateImage('shipping', root);
    try {
      const nonce = randomBytes(8).toString('hex');
      const folder = new RunFolder(join(root, 'build', 'logs'), 'view', new Date());
      const append = bootArgs({ profile: 'proof', nonce, bundle: image.bundleIdentity, idle: 'sleep', stay: true });
      const argv = qemuArgv({
        transport: 'modern', mode: 'view', kernelPath: image.kernelPath, bundlePath: image.bundlePath, append,
        sockets: image.sockets, console: 'pty', devices: true,
      });
      say({ kind: 'starting', ladder, label: 'modern', runDir: relative(process.cwd(), folder.path) });
      const live = new Live(image.sockets.control, new Matcher(ladder, nonce), folder, say);
      const bridge = await startReplayBridge({ socketPath: image.sockets.dcgm });
      const machine = new Qemu(qemu.path, argv, folder.file('qemu.stderr.log'), (bytes) => live.data(bytes));
      const limit = setTimeout(() => live.late(), PROOF_LIMIT_MS);
      void live.decided.then(() => clearTimeout(limit));
      void machine.exited.then(({ status, ours }) => {
        if (!ours) live.ended(status);
      });
      let stopping: Promise<void> | null = null;
      live.stop = () => {
        stopping ??= (async () => {
          clearTimeout(limit);
          machine.stop();
          await machine.exited;
          await bridge.close();
          dropImage(image);
        })();
        return stopping;
      };
      return live;
    } catch (error) {
      dropImage(image);
      throw error;
    }
  }

  private data(bytes: Buffer): void {
    this.folder.raw(bytes);
    for (const raw of this.splitter.push(bytes)) this.line(splitPrefix(raw));
  }

  private line(line: ConsoleLine): void {
    if (this.outcome !== null) {
      this.folder.line(line.bytes);
      this.say({ kind: 'console', text: line.text });
      return;
    }
    const events = this.matcher.push(line);
    if (this.matcher.started) this.folder.line(line.bytes);
    for (const event of events) this.judge(event);
  }

  private judge(event: GateEvent): void {
    if (event.kind === 'red') {
      this.say({ kind: 'red', failure: event.failure, title: failureTitle(event.failure) });
      this.decide('red');
    }
    if (event.kind !== 'marker') return;
    const { marker, guestNs, uartLine } = event;
    this.say({ kind: 'marker', seen: { marker, guestNs, uartLine } });
    if (this.matcher.seen.length < this.matcher.ladder.markers.length) return;
    this.say({ kind: 'proved', wallMs: Date.now() - this.startedMs });
    this.decide('proved');
  }

  private late(): void {
    this.say({ kind: 'ended', how: `no verdict within ${PROOF_LIMIT_MS / 1000} s; see ${this.folder.path}` });
    this.decide('ended');
  }

  private ended(status: number): void {
    const stderr = readFileSync(this.folder.file('qemu.stderr.log'), 'utf8').trim().split('\n').at(-1) ?? '';
    this.say({ kind: 'ended', how: `QEMU ended with status ${status} ${stderr}`.trim() });
    this.decide('ended');
  }
}
