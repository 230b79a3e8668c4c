// SPDX-License-Identifier: Apache-2.0
// One boot under the gate, end to end: private image, bridge, QEMU, matcher, stop conditions, evidence. Everything that boots a
// proof (test-os, canary, determinism, bench, the view) calls boot() and listens to its events.
// Invariant: every resource made here is gone when boot() returns; the outcome is decided by the matcher, a stop condition or
// the host, whichever came first. Limits: one wall timeout a boot, at most TRAILING_MS of listening after a red line.
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { bootArgs, partsOf, qemuArgv, type BootArgs, type Transport } from '../../boot/machines.js';
import { refuseContradictions } from '../../boot/topology.js';
import { startReplayBridge } from '../../runtime/bridge/index.js';
import { startExportWitness } from './export-witness.js';
import { diskOf, prepareDrive, startDisk, type DiskRequest } from '../lib/disk.js';
import { ROOT, type Flavour } from '../lib/paths.js';
import { usage } from '../lib/fail.js';
import { loadMarkers } from '../lib/markers.js';
import { EXPORTED, RAW_LOG, RunFolder, lastGoodCommit, ledgerRows, type Result } from './evidence.js';
import { commitOf } from './git.js';
import { junitXml } from './junit.js';
import { readLadder, type Ladder } from './ladder.js';
import { LineSplitter, splitPrefix, type RawLine } from './line-splitter.js';
import { findQemu, type QemuBinary } from './find-qemu.js';
import { dropImage, privateImage, type PrivateImage } from './private-image.js';
import { Qemu, type Exit } from './machine.js';
import { Matcher, type Failure, type GateEvent } from './matcher.js';
import { failLine, failureTitle, folderLabel, labelOf, passLine, redReport, stoppedLine } from './report.js';
import type { StopConditions } from './stop.js';

/** How long the console is still read after a red line, so that the report can show what followed. */
const TRAILING_MS = 250;

/** Where a run ended that its `power` signal ended. */
export const POWER_CUT = 'power cut';

/** Boot arguments of some profiles. */
export type ProfileArgs = Pick<BootArgs, 'seed' | 'round' | 'minutes'>;

/** What to boot. */
export interface BootRequest {
  transport: Transport;
  profile: string;
  stop: (ladder: Ladder) => StopConditions;
  /** 16 hex digits; a fresh one when absent */
  nonce?: string;
  recipe?: string;
  /** name of a mutant: boots the mutant image */
  mutant?: string;
  /** `mutant` without a mutant's name boots the mutant image with none on */
  flavour?: Flavour;
  /** the disk of /state; absent: the profile's own, or a blank private one for this boot */
  disk?: DiskRequest;
  root?: string;
  env?: NodeJS.ProcessEnv;
  /** ends the boot as an infra failure */
  signal?: AbortSignal;
  /** the power goes when this fires: QEMU is killed at once, and the run counts as stopped */
  power?: AbortSignal;
  /** more keys of the kernel's command line */
  args?: ProfileArgs;
}

/** What a boot says while it runs. */
export type SessionEvent =
  | GateEvent
  | { kind: 'starting'; label: string; runDir: string; nonce: string; ladder: Ladder; qemu: QemuBinary }
  | { kind: 'stop'; text: string };

export interface BootResult {
  result: Result;
  exitCode: 0 | 1 | 2 | 3;
  /** the last line to print */
  verdict: string;
  label: string;
  ladder: Ladder;
  matcher: Matcher;
  failure: Failure | null;
  /** absolute; reports name it relative to the checkout */
  runDir: string;
  /** the red report, or the reason of an infra failure */
  report: string[];
  nonce: string;
  /** the kernel's lines without prefix, the halt line included */
  lines: string[];
  wallMs: number;
}

type End =
  | { kind: 'exit'; exit: Exit }
  | { kind: 'timeout' }
  | { kind: 'broken'; error: unknown }
  | { kind: 'interrupted' }
  | { kind: 'cut' }
  | { kind: 'stop'; text: string };

/** Number of a mutant in the mutant image. @throws Failure 2 for an unknown name. */
export function mutantNumber(name: string, root: string = ROOT): number {
  return loadMarkers(root).mutants.get(name) ?? usage(`no marker's canary names a mutant "${name}"`);
}

/** The state of one boot: feeds lines to the matcher and notices when it is over. */
class Session {
  readonly lines: string[] = [];
  readonly firmware = createHash('sha256');
  firmwareLines = 0;
  /** lines of the console that were judged */
  private taken = 0;
  readonly over: Promise<End>;
  private decide: (end: End) => void = () => undefined;
  private readonly splitter = new LineSplitter();
  private trailing: NodeJS.Timeout | null = null;
  stopped: string | null = null;

  constructor(
    private readonly matcher: Matcher,
    private readonly folder: RunFolder,
    private readonly stopAt: number | null,
    private readonly say: (event: SessionEvent) => void,
  ) {
    this.over = new Promise((resolve) => {
      this.decide = resolve;
    });
  }

  end(end: End): void {
    this.decide(end);
  }

  /** An error here (a full disk) ends the boot: it is thrown by boot() after QEMU is gone. */
  data(bytes: Buffer): void {
    try {
      for (const line of this.splitter.push(bytes)) this.line(line);
    } catch (error) {
      this.decide({ kind: 'broken', error });
    }
  }

  /**
   * QEMU is gone: takes what the terminal had not delivered from QEMU's own copy of the console. (A terminal's reader sees the
   * hang-up before the bytes beyond the first 4 KiB that were pending: libuv reports the end after a short read.)
   * @param killed a machine that was ended from outside may have been cut off in mid-line; that half says nothing of the guest
   */
  flush(killed: boolean): void {
    const whole = new LineSplitter();
    const lines = whole.push(readFileSync(this.folder.file(RAW_LOG)));
    const rest = killed ? null : whole.flush();
    for (const line of [...lines, ...(rest === null ? [] : [rest])].slice(this.taken)) this.line(line);
    if (this.trailing !== null) clearTimeout(this.trailing);
  }

  private line(raw: RawLine): void {
    this.taken++;
    if (this.stopped !== null) return;
    const line = splitPrefix(raw);
    const events = this.matcher.push(line);
    if (this.matcher.started) {
      this.folder.line(line.bytes);
      this.lines.push(line.text);
    } else {
      this.firmware.update(raw.bytes).update('\n');
      this.firmwareLines++;
    }
    for (const event of events) this.notice(event);
  }

  private notice(event: GateEvent): void {
    this.say(event);
    if (event.kind === 'red') {
      this.trailing = setTimeout(() => this.decide({ kind: 'stop', text: '' }), TRAILING_MS);
    }
    if (event.kind === 'marker' && event.marker.index === this.stopAt) {
      this.stopped = event.marker.text;
      this.say({ kind: 'stop', text: this.stopped });
      this.decide({ kind: 'stop', text: this.stopped });
    }
  }
}

interface Setting {
  request: BootRequest;
  root: string;
  ladder: Ladder;
  stop: StopConditions;
  label: string;
  nonce: string;
  folder: RunFolder;
  started: Date;
  qemu: QemuBinary;
  image: PrivateImage;
  argv: string[];
  disk: DiskRequest | undefined;
}

/** Boots once. @throws Failure 2 (usage) and 3 (no QEMU, no image, no bridge) before the boot; later ends are in the result. */
export async function boot(request: BootRequest, say: (event: SessionEvent) => void = () => undefined): Promise<BootResult> {
  const root = request.root ?? ROOT;
  refuseContradictions(request.env ?? process.env, request.transport, 'gate');
  const ladder = readLadder(request.profile, request.transport, root);
  const stop = request.stop(ladder);
  const mutant = request.mutant === undefined ? undefined : mutantNumber(request.mutant, root);
  const qemu = findQemu();
  const image = privateImage(mutant === undefined ? (request.flavour ?? 'shipping') : 'mutant', root);
  try {
    const nonce = request.nonce ?? randomBytes(8).toString('hex');
    const { devices, without } = partsOf(request.profile);
    const append = bootArgs({
      profile: request.profile, nonce, bundle: image.bundleIdentity, idle: 'poll', recipe: request.recipe ?? ladder.recipe, mutant, without,
      ...request.args,
    });
    const disk = request.disk ?? diskOf(request.profile);
    const started = new Date();
    const folder = new RunFolder(join(root, 'build', 'logs'), folderLabel(request.transport, request.profile), started);
    const argv = qemuArgv({
      transport: request.transport, mode: 'gate', kernelPath: image.kernelPath, bundlePath: image.bundlePath, append,
      sockets: image.sockets, console: 'pty', consoleLog: folder.file(RAW_LOG), devices, waitForExport: devices,
      drive: prepareDrive(disk, image.dir),
    });
    const label = labelOf(request.transport, request.profile);
    say({ kind: 'starting', label, runDir: relative(root, folder.path), nonce, ladder, qemu });
    return await run({ request, root, ladder, stop, label, nonce, folder, started, qemu, image, argv, disk }, say);
  } finally {
    dropImage(image);
  }
}

async function run(set: Setting, say: (event: SessionEvent) => void): Promise<BootResult> {
  const { request, ladder, stop, folder, qemu, image } = set;
  const matcher = new Matcher(ladder, set.nonce);
  const session = new Session(matcher, folder, stop.atIndex, say);
  const bridge = request.profile === 'bench' ? null : await startReplayBridge({ socketPath: image.sockets.dcgm });
  const witness = request.profile === 'bench' ? null : startExportWitness(image.sockets.exports, folder.file(EXPORTED));
  const interrupt = (): void => session.end({ kind: 'interrupted' });
  const disk = await startDisk(set.disk, image.dir);
  let cut = (): void => undefined;
  let exit: Exit;
  let end: End;
  try {
    const machine = new Qemu(qemu.path, set.argv, folder.file('qemu.stderr.log'), (bytes) => session.data(bytes));
    void machine.exited.then((ended) => session.end({ kind: 'exit', exit: ended }));
    const timer = setTimeout(() => session.end({ kind: 'timeout' }), stop.timeoutMs);
    request.signal?.addEventListener('abort', interrupt);
    if (request.signal?.aborted === true) interrupt();
    cut = () => {
      machine.kill();
      session.end({ kind: 'cut' });
    };
    request.power?.addEventListener('abort', cut);
    if (request.power?.aborted === true) cut();
    end = await session.over;
    clearTimeout(timer);
    machine.stop();
    exit = await machine.exited;
  } finally {
    request.signal?.removeEventListener('abort', interrupt);
    request.power?.removeEventListener('abort', cut);
    await bridge?.close();
    witness?.close();
    await disk?.close();
  }
  if (end.kind === 'broken') throw end.error;
  const by = endedBy(set, exit);
  session.flush(exit.ours || by !== null);
  const trouble = judgeEnd(set, session, matcher, end, exit, by, say);
  return finish(set, session, matcher, trouble, exit);
}

const lastStderr = (set: Setting): string => readFileSync(set.folder.file('qemu.stderr.log'), 'utf8').trim().split('\n').at(-1) ?? '';

/** The signal by which somebody else ended QEMU; null when it ended by itself or by us. QEMU leaves in order on SIGTERM, and says so. */
function endedBy(set: Setting, exit: Exit): number | null {
  if (exit.ours) return null;
  if (exit.signal !== 0) return exit.signal;
  const told = /terminating on signal (\d+)/.exec(lastStderr(set));
  return told === null ? null : Number(told[1]);
}

/** Tells the matcher how the stream ended. Returns why the host, not the guest, is to blame; null when it is not. */
function judgeEnd(
  set: Setting, session: Session, matcher: Matcher, end: End, exit: Exit, by: number | null, say: (event: SessionEvent) => void,
): string | null {
  if (session.stopped !== null) return null;
  const red = matcher.failure !== null;
  if (end.kind === 'cut' && !red) {
    session.stopped = POWER_CUT;
    return null;
  }
  const last = matcher.seen.at(-1)?.marker.text;
  const where = last === undefined ? 'before the first marker' : `after "${last}"`;
  if (end.kind === 'interrupted') return `interrupted ${where}`;
  if (end.kind === 'timeout' && !red) return `no verdict within ${set.stop.timeoutMs} ms of host time, ${where} (RUN_TIMEOUT)`;
  if (end.kind === 'exit' && !red) {
    const stderr = lastStderr(set);
    if (by !== null) return `QEMU was ended by signal ${by} ${where}`;
    const refused = !matcher.started && exit.status !== 0 && stderr !== '';
    if (refused) return `QEMU ended with status ${exit.status} before the kernel's first line: ${stderr}`;
  }
  for (const event of matcher.end(exit.status, `QEMU exit status ${exit.status}`)) say(event);
  return null;
}

function finish(set: Setting, session: Session, matcher: Matcher, trouble: string | null, exit: Exit): BootResult {
  const { ladder, label, folder, stop, request } = set;
  const [seen, count] = [matcher.seen.length, ladder.markers.length];
  const failure = trouble === null && session.stopped === null ? matcher.failure : null;
  const { commit, dirty } = commitOf(set.root);
  const shown = relative(set.root, folder.path);
  const how = {
    transport: request.transport, profile: request.profile, nonce: set.nonce, mutant: request.mutant ?? null,
    recipe: request.recipe ?? null, good: lastGoodCommit(join(set.root, 'build', 'logs'), request.transport),
  };
  let outcome: Pick<BootResult, 'result' | 'exitCode' | 'verdict' | 'report'>;
  if (trouble !== null) {
    const report = [`INFRA ${label}: ${trouble}`, `  evidence:   ${shown}`];
    outcome = { result: 'infra', exitCode: 3, verdict: `INFRA ${label} ${seen}/${count} markers`, report };
  } else if (session.stopped !== null) {
    outcome = { result: 'stopped', exitCode: 0, verdict: stoppedLine(session.stopped, seen, count), report: [] };
  } else if (failure !== null) {
    const report = redReport(label, ladder, matcher, failure, how, shown);
    outcome = { result: 'fail', exitCode: 1, verdict: failLine(label, seen, count), report };
  } else {
    outcome = { result: 'pass', exitCode: 0, verdict: passLine(label, count), report: [] };
  }
  const wallMs = Date.now() - set.started.getTime();
  const inJunit = outcome.report.length === 0 ? null : {
    title: failure === null ? (trouble ?? '') : failureTitle(failure),
    body: outcome.report.join('\n'),
  };
  folder.ledger({ profile: label, nonce: set.nonce, result: outcome.result, markers: ledgerRows(matcher.seen), digest: matcher.digest });
  folder.write('junit.xml', junitXml(folderLabel(request.transport, request.profile), ladder, matcher, inJunit));
  folder.run({
    result: outcome.result, exit_code: outcome.exitCode, verdict: outcome.verdict, transport: request.transport,
    boot_profile: request.profile, nonce: set.nonce, mutant: how.mutant, recipe: how.recipe,
    run_until_marker: stop.until, run_phase: stop.phase, run_timeout_ms: stop.timeoutMs,
    started_utc: set.started.toISOString(), wall_ms: wallMs,
    qemu: { path: set.qemu.path, version: set.qemu.banner, argv: set.argv, exit_status: exit.ours ? null : exit.status },
    image: {
      kernel_sha256: set.image.kernelSha256, bundle_sha256: set.image.bundleSha256, bundle_identity: set.image.bundleIdentity,
    },
    firmware: { lines: session.firmwareLines, sha256: session.firmware.digest('hex') },
    commit, dirty,
  });
  return { ...outcome, label, ladder, matcher, failure, runDir: folder.path, nonce: set.nonce, lines: session.lines, wallMs };
}

/** An AbortSignal that fires on SIGINT, SIGTERM and SIGHUP, so that a boot ends its QEMU before the process does. */
export function interruptible(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => controller.abort());
  return controller.signal;
}
