// SPDX-License-Identifier: Apache-2.0
// Owns: a whole machine as `vigil up` runs it: the kept disk, the bridge to the GPUs, the guest and its supervision, the relay of the
// control port, the export with its pages, the run file.
// Invariant: what startMachine() started is gone when stop() resolved or when it threw; the claim on the disk names this process for as
// long as it runs, also while no QEMU does; every boot is of the same private copy of the image and of the same disk.
// Limits: runtime/up/limits.ts and the configuration's own.
import { dirname, join } from 'node:path';
import { bootArgs, qemuArgv } from '../../boot/machines.js';
import { makeAttribution } from '../attribution/index.js';
import { startBridge, type Bridge } from '../bridge/index.js';
import { sourceOptions } from '../config/source.js';
import { bridgeSource, startAgent, type Agent } from '../export/agent.js';
import { startExporter, type Exporter } from '../export/exporter.js';
import type { Page } from '../export/http/server.js';
import { findQemu, type QemuBinary } from '../../scripts/gate/find-qemu.js';
import { dropImage, privateImage, type PrivateImage } from '../../scripts/gate/private-image.js';
import { openKept, type KeptDisk } from '../../scripts/lib/disk.js';
import { wrong } from '../../scripts/lib/fail.js';
import { ROOT } from '../../scripts/lib/paths.js';
import type { GuestStatus } from '../bridge/control.js';
import type { Config } from '../config/schema.js';
import { ControlLine } from './control-line.js';
import { startRelay, type Relay } from './control-relay.js';
import { Guest } from './guest.js';
import { askStatus, firstDead, lastingServices } from './heartbeat.js';
import type { Rules } from './lifecycle.js';
import { UP } from './limits.js';
import { removeRunFile, runFileOf, statePathOf, writeRunFile } from './run-file.js';
import { readSupervisor } from './self-series.js';
import { Supervisor, type SupervisorEvent } from './supervisor.js';
import { targetsOf } from './targets.js';
import { Transcripts } from './transcripts.js';
import { historyAt, webPages } from '../web/index.js';

/** What a machine tells while it runs. */
export type MachineEvent =
  | SupervisorEvent
  /** a line of the bridge, the exporter or this file */
  | { readonly kind: 'log'; readonly line: string };

export interface MachineOptions {
  readonly say?: (event: MachineEvent) => void;
  /** the guest's part of the configuration (runtime/config/receiver.ts) */
  readonly receiverLines: string;
  /** the secret of receivers.dcgm.identity; absent: identities are not hashed */
  readonly identitySalt?: string;
  /** pages beside the exporter's own, made of what runs; absent: the page at / (runtime/web) */
  readonly pages?: (machine: Parts) => ReadonlyMap<string, Page>;
  /** the checkout or the unpacked distribution */
  readonly root?: string;
  /** the identity of the bundle that must be booted; absent: whatever was built */
  readonly bundle?: string;
  /** take any free port where the configured one is taken */
  readonly anyPort?: boolean;
  /** every byte of the guest's console */
  readonly console?: (bytes: Buffer) => void;
}

/** What runs from the beginning to the end, whatever the guest does. */
export interface Parts {
  readonly config: Config; readonly bridge: Bridge; readonly agent: Agent; readonly relay: Relay; readonly transcripts: Transcripts;
  readonly qemu: QemuBinary; readonly image: PrivateImage;
  /** the guest's last answer to a heartbeat; null while it is not up */
  status(): GuestStatus | null;
}

export interface Machine extends Parts {
  readonly supervisor: Supervisor;
  readonly exporter: Exporter;
  readonly startedAt: Date;
  /** ends everything; safe to call twice */
  stop(): Promise<void>;
}

const rulesOf = ({ guest }: Config): Rules => ({
  heartbeatIntervalMs: guest.heartbeatIntervalMs, heartbeatTimeoutMs: guest.heartbeatTimeoutMs,
  backoffFirstMs: guest.restartBackoffFirstMs, backoffMaxMs: guest.restartBackoffMaxMs,
  bootLimitMs: UP.bootLimitMs, panicGraceMs: UP.panicGraceMs, steadyMs: UP.steadyMs,
});

/** Undoes what was started, newest first; goes on past an error and throws the first at the end. */
class CleanUp {
  private readonly ends: (() => void | Promise<void>)[] = [];
  private done: Promise<void> | null = null;

  add(end: () => void | Promise<void>): void {
    this.ends.push(end);
  }

  run(): Promise<void> {
    this.done ??= this.all();
    return this.done;
  }

  private async all(): Promise<void> {
    const errors: unknown[] = [];
    for (const end of this.ends.reverse()) {
      try {
        await end();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }
}

/** The kernel's and QEMU's arguments for one boot. */
function argvOf(image: PrivateImage, disk: KeptDisk, nonce: string, exportMs: number): string[] {
  const append = bootArgs({ profile: 'run', nonce, bundle: image.bundleIdentity, idle: 'sleep', recipe: 'gpu', exportMs });
  return qemuArgv({
    transport: 'modern', mode: 'run', kernelPath: image.kernelPath, bundlePath: image.bundlePath, append,
    sockets: image.sockets, console: 'pty', devices: true, drive: disk.drive,
  });
}

/** The page at / with the history that this guest keeps. */
const thePage = ({ agent, relay }: Parts): ReadonlyMap<string, Page> => webPages({ agent, history: historyAt(relay.socketPath) });

/** Starts the agent, with whom it attributes to. */
async function startExport(
  config: Config, image: PrivateImage, bridge: Bridge, cleanUp: CleanUp, log: (line: string) => void,
): Promise<Agent> {
  const { source, receivers: { dcgm }, guest } = config;
  const nvmlLibrary = source.kind === 'nvml' && source.library !== '' ? { nvmlLibrary: source.library } : {};
  const attribution = makeAttribution(config.attribution, { ...nvmlLibrary, say: log });
  if (attribution !== null) {
    await attribution.start();
    cleanUp.add(() => attribution.close());
  }
  const agent = startAgent({
    exportSocket: image.sockets.exports, otlp: targetsOf(config.exporters.otlp), source: () => bridgeSource(bridge), log,
    intervalMs: dcgm.collectionIntervalMs, selfIntervalMs: guest.exportIntervalMs, seriesMax: dcgm.maxSeriesPerScrape,
    ...(attribution === null ? {} : { attribution, rawIdentity: (name: string) => bridge.rawIdentity(name) }),
  });
  cleanUp.add(() => agent.close(UP.closeGraceMs));
  agent.hold('it has not answered yet');
  return agent;
}

/** The exporter where it is configured, or with `anyPort` elsewhere on that address. */
async function listen(
  parts: Parts, pages: ReadonlyMap<string, Page> | undefined, anyPort: boolean, log: (line: string) => void,
): Promise<Exporter> {
  const { agent, config: { exporters: { prometheus } } } = parts;
  try {
    return await startExporter(agent, prometheus, pages, { log });
  } catch (error) {
    if (!anyPort || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    log(`exporter: ${prometheus.listen} is taken; another port is used`);
    return startExporter(agent, { ...prometheus, listen: prometheus.listen.replace(/\d+$/, '0') }, pages, { log });
  }
}

/**
 * Starts everything; resolves when the first guest is booting.
 * @throws Failure 3 when QEMU, the image or the disk cannot be had, or another process has the disk; what the exporter's start throws
 */
export async function startMachine(config: Config, options: MachineOptions): Promise<Machine> {
  const { say = () => undefined, root = ROOT } = options;
  const log = (line: string): void => { say({ kind: 'log', line }); };
  const startedAt = new Date();
  const cleanUp = new CleanUp();
  try {
    const qemu = findQemu();
    const image = privateImage('shipping', root);
    cleanUp.add(() => { dropImage(image); });
    if ((options.bundle ?? image.bundleIdentity) !== image.bundleIdentity) wrong('the image was built anew meanwhile; start again');
    const disk = openKept(statePathOf(config));
    cleanUp.add(disk.release);
    const transcripts = new Transcripts(join(dirname(disk.path), 'transcripts'), UP.transcriptsMax);
    const bridge = await startBridge({
      ...sourceOptions(config), socketPath: image.sockets.dcgm, receiverConfig: options.receiverLines,
      identitySalt: options.identitySalt, log,
    });
    cleanUp.add(() => bridge.close());
    const line = new ControlLine(image.sockets.control, UP.relayReplyWaitMs);
    const relay = await startRelay(join(image.dir, 'ask.sock'), line, UP.relayClientsMax);
    cleanUp.add(() => relay.close());
    const agent = await startExport(config, image, bridge, cleanUp, log);
    let status: GuestStatus | null = null;
    const parts: Parts = { config, bridge, agent, relay, transcripts, qemu, image, status: () => status };
    const exporter = await listen(parts, (options.pages ?? thePage)(parts), options.anyPort === true, log);
    cleanUp.add(() => exporter.close());
    const runFile = runFileOf(config);
    const writeRun = (restarts: number): void => {
      const [metricsUrl, startedUtc] = [`${exporter.url}metrics`, startedAt.toISOString()];
      const run = { pid: process.pid, control: relay.socketPath, metricsUrl, startedUtc };
      try {
        writeRunFile(runFile, { ...run, transcript: '', source: bridge.source, restarts });
      } catch (error) {
        log(`up: the run file cannot be written: ${(error as Error).message}`);
      }
    };
    writeRun(0);
    cleanUp.add(() => { removeRunFile(runFile, process.pid); });
    const names = lastingServices(root);
    let bootMs: number | null = null;
    const supervisor = new Supervisor({
      rules: rulesOf(config), stopGraceMs: UP.stopGraceMs,
      boot: (nonce, heard) => {
        const argv = argvOf(image, disk, nonce, config.guest.exportIntervalMs);
        const guest = new Guest({
          qemuPath: qemu.path, argv, stderrPath: join(image.dir, 'qemu.stderr.log'),
          transcriptBytes: UP.transcriptBytesMax, say: heard, ...(options.console === undefined ? {} : { raw: options.console }),
        });
        line.setOpen(true);
        return guest;
      },
      ask: async () => {
        status = await askStatus(line, names);
        return firstDead(status);
      },
      keep: (guest, boot, cause, detail) => {
        line.setOpen(false);
        status = null;
        const console = guest?.transcript.bytes() ?? Buffer.alloc(0);
        return transcripts.keep({ at: new Date(), cause, detail, boot, about: `${qemu.banner}; bundle ${image.bundleIdentity}`, console });
      },
      say: (event) => {
        if (event.kind === 'up') {
          bootMs = event.tookMs;
          agent.hold(null);
          if (event.boot > 1) writeRun(event.boot - 1);
        } else if (event.kind === 'ended') agent.hold(`${event.cause}: ${event.detail}`);
        say(event);
      },
    });
    cleanUp.add(async () => {
      await supervisor.stop();
      line.setOpen(false);
    });
    readSupervisor(agent.own, { supervisor, transcripts, relay, status: () => status, bootMs: () => bootMs });
    return { ...parts, supervisor, exporter, startedAt, stop: () => cleanUp.run() };
  } catch (error) {
    await cleanUp.run();
    throw error;
  }
}
