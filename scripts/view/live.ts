// SPDX-License-Identifier: Apache-2.0
// The image that passed, booted once more in real time (profile=run), for a person to look at until he stops it.
// Invariant: it is the very bundle that passed, or it does not start; its bring-up is judged by the gate's matcher, line by line; what
// comes after `init: ready` is shown, never judged.
// Limits: UP_LIMIT_MS of host time until `init: ready`.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { bootArgs, qemuArgv } from '../../boot/machines.js';
import { startBridge } from '../../runtime/bridge/index.js';
import { RunFolder } from '../gate/evidence.js';
import { lastOfPhase, readLadder } from '../gate/ladder.js';
import { LineSplitter, splitPrefix, type ConsoleLine } from '../gate/line-splitter.js';
import { dropImage, findQemu, privateImage, Qemu, type Exit } from '../gate/machine.js';
import { Matcher } from '../gate/matcher.js';
import { failureTitle } from '../gate/report.js';
import { keptPath, openKept, type KeptDisk } from '../lib/disk.js';
import { wrong } from '../lib/fail.js';
import { ROOT } from '../lib/paths.js';
import type { ViewEvent } from './model.js';

const UP_LIMIT_MS = 30_000;

export class Live {
  /** settles with true once `init: ready` came, with false when the image went wrong before */
  readonly up: Promise<boolean>;
  private settle: (up: boolean) => void = () => undefined;
  private judging = true;
  private readonly splitter = new LineSplitter();

  private constructor(
    readonly controlSocket: string,
    private readonly matcher: Matcher,
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

  /** Ends the guest and everything that was started for it; safe to call twice. */
  stop: () => Promise<void> = () => Promise.resolve();

  /**
   * Boots the shipping image in real time.
   * @param bundle the identity that passed @throws Failure 1 when the image is another one by now, 3 when it cannot be booted
   */
  static async start(bundle: string, say: (event: ViewEvent) => void, root: string = ROOT): Promise<Live> {
    const ladder = readLadder('proof', 'modern', root);
    const qemu = findQemu();
    const image = privateImage('shipping', root);
    let disk: KeptDisk | null = null;
    try {
      if (image.bundleIdentity !== bundle) wrong('the image was built anew while it was proving itself; run npm start again');
      const nonce = randomBytes(8).toString('hex');
      const folder = new RunFolder(join(root, 'build', 'logs'), 'view', new Date());
      const kept = openKept(keptPath(process.env, root));
      disk = kept;
      const append = bootArgs({ profile: 'run', nonce, bundle, idle: 'sleep' });
      const argv = qemuArgv({
        transport: 'modern', mode: 'run', kernelPath: image.kernelPath, bundlePath: image.bundlePath, append,
        sockets: image.sockets, console: 'pty', devices: true, drive: kept.drive,
      });
      const live = new Live(image.sockets.control, new Matcher(ladder, nonce), folder, say);
      const bridge = await startBridge({ socketPath: image.sockets.dcgm });
      const machine = new Qemu(qemu.path, argv, folder.file('qemu.stderr.log'), (bytes) => live.data(bytes));
      const limit = setTimeout(() => live.fail(`no \`init: ready\` within ${UP_LIMIT_MS / 1000} s`), UP_LIMIT_MS);
      void live.up.then(() => clearTimeout(limit));
      void machine.exited.then((exit) => {
        if (!exit.ours) live.ended(exit);
      });
      let stopping: Promise<void> | null = null;
      live.stop = () => {
        stopping ??= (async () => {
          clearTimeout(limit);
          machine.stop();
          await machine.exited;
          await bridge.close();
          kept.release();
          dropImage(image);
        })();
        return stopping;
      };
      return live;
    } catch (error) {
      disk?.release();
      dropImage(image);
      throw error;
    }
  }

  private data(bytes: Buffer): void {
    this.folder.raw(bytes);
    for (const raw of this.splitter.push(bytes)) this.line(splitPrefix(raw));
  }

  private line(line: ConsoleLine): void {
    if (!this.judging) {
      this.folder.line(line.bytes);
      this.say({ kind: 'console', text: line.text });
      return;
    }
    const events = this.matcher.push(line);
    if (this.matcher.started) this.folder.line(line.bytes);
    for (const event of events) {
      if (event.kind === 'red') this.fail(failureTitle(event.failure));
      else if (event.kind === 'marker' && event.marker.index === lastOfPhase(this.matcher.ladder, 'bring-up')) this.settle(true);
    }
  }

  private fail(how: string): void {
    this.say({ kind: 'ended', how: `${how}; see ${relative(process.cwd(), this.folder.path)}` });
    this.settle(false);
  }

  private ended({ status, signal }: Exit): void {
    const stderr = readFileSync(this.folder.file('qemu.stderr.log'), 'utf8').trim().split('\n').at(-1) ?? '';
    this.fail(`QEMU ${signal === 0 ? `ended with status ${status}` : `was ended by signal ${signal}`} ${stderr}`.trim());
  }
}
