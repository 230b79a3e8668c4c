// SPDX-License-Identifier: Apache-2.0
// Runs one service module under Node: the same .wasm that ships, with the system calls of abi/syscalls.toml in TypeScript.
// A test gives `run` a script (a generator): each time the module receives, the script resumes with what happened since, and
// yields the next delivery; when it returns, the receive throws HostStop and `run` ends. Peers answer `call` by a function.
// Invariant: everything is synchronous and deterministic; the clock moves only when the script, a peer's delay or a timed-out
// wait moves it. Limits: no preemption, no paging, no call-graph check, one module at a time.
import { limit, loadAbi, type Abi } from '../../scripts/lib/abi.js';
import { fileRecord, serviceRecord } from './bundle.js';
import { Program, type SystemCalls } from './program.js';
import {
  bigints, hostErrors, message, senderId, type Extras, type HostOptions, type Outcome, type PeerAnswer, type Script, type Sent,
  type Step,
} from './types.js';

export * from './types.js';

/** The script is over: thrown out of the module's receive, caught by `run`. */
export class HostStop extends Error {}
/** The module ended itself: `abort` (assert), exit, or a wasm trap. */
export class ModuleEnd extends Error {}

/** A capability of the module. */
interface Handle {
  kind: 'peer' | 'endpoint' | 'device';
  /** peer name, or endpoint number */
  peer: string;
  endpoint: number;
  rights: number;
  dead: boolean;
  generation: number;
}

const RIGHT = { send: 1, recv: 2, clone: 4, grant: 8, query: 16 } as const;
const abi: Abi = loadAbi();
const errorOf = hostErrors(abi);
const MESSAGE_BYTES_MAX = limit(abi, 'kernel', 'message_bytes_max');
const HANDLES_MAX = limit(abi, 'kernel', 'handles_per_thread');
const LINE_BYTES_MAX = limit(abi, 'kernel', 'line_bytes_max');
const WAIT_MAX_NS = BigInt(limit(abi, 'kernel', 'wait_max_ns'));
const SELF = abi.slots.find(({ name }) => name === 'self')!.number;
const CLOCK_READS_MAX = 5_000_000;
const CALLS = new Set(abi.syscalls.filter(({ kind }) => kind !== 'runtime').map(({ name }) => name));

export class Host {
  readonly name: string;
  readonly memory: WebAssembly.Memory;
  readonly exports: Record<string, WebAssembly.ExportValue>;
  now_ns: bigint;
  /** every console line, whole */
  readonly console: string[] = [];
  /** every `send` that was accepted by a peer or endpoint */
  readonly sent: Sent[] = [];
  /** names of system calls in order, when `trace` is on */
  readonly trace: string[] = [];
  tracing = false;
  readonly handles = new Map<number, Handle>();
  private readonly options: HostOptions;
  private readonly queues = new Map<number, { from: bigint; bytes: Uint8Array; moved: number; badge: number }[]>();
  private endpoints = SELF + 1;
  private replyNext = 1;
  private readonly openReplies = new Map<number, (bytes: Uint8Array, moved: number) => void>();
  private script: Script | null = null;
  private outcome: Outcome = emptyOutcome();
  private clockReads = 0;

  constructor(options: HostOptions) {
    this.options = options;
    this.name = options.name;
    this.now_ns = options.now_ns ?? 1_000_000_000n;
    this.grant(SELF, { kind: 'endpoint', peer: '', endpoint: SELF, rights: 31 });
    for (const { name, number } of abi.slots) {
      const peer = options.slots?.[name] ?? (name === 'log_query' ? 'logd' : name === 'init' ? 'init-lite' : name);
      if (number === SELF) continue;
      if (name === 'device0') this.grant(number, { kind: 'device', peer: '', endpoint: 0, rights: 31 });
      else if (options.peers?.[peer]) {
        const rights = RIGHT.send | RIGHT.clone | (name === 'log_query' ? RIGHT.query : 0);
        this.grant(number, { kind: 'peer', peer, endpoint: 0, rights });
      }
    }
    const program = options.wasm instanceof Program ? options.wasm : Program.of(options.wasm);
    const sys: SystemCalls = {};
    for (const wanted of program.calls) {
      if (!CALLS.has(wanted)) throw new Error(`${this.name}: ${wanted} is not in abi/syscalls.toml`);
      sys[wanted] = this.systemCall(wanted);
    }
    const abort = (message: number, file: number, line: number): never => {
      throw new ModuleEnd(`abort: ${this.utf16(message)} at ${this.utf16(file)}:${line}`);
    };
    const instance = program.start(sys, abort);
    this.exports = instance.exports;
    this.memory = instance.exports.memory as WebAssembly.Memory;
    (this.exports._init as (() => void) | undefined)?.();
  }

  /** Runs `main` with the script; returns when the script returned. Throws what the script or the module threw.
   *  A module's main ends with its receive loop; `entry` names another export to run instead. */
  run(script: (host: Host) => Script, entry = 'main'): void {
    this.script = script(this);
    try {
      (this.exports[entry] as () => void)();
    } catch (error) {
      if (!(error instanceof HostStop)) throw error;
    } finally {
      this.script = null;
    }
  }

  /** Script step: a `call` from a service (name or id); yields its reply, or null when none came before the next receive. */
  *call(from: string | bigint, bytes: Uint8Array, how: Extras = {}): Generator<Step, Uint8Array | null, Outcome> {
    return (yield message(from, bytes, true, how)).reply;
  }
  /** Script step: a `send` from a service; yields what the module did with it. */
  *send(from: string | bigint, bytes: Uint8Array, how: Extras = {}): Generator<Step, Outcome, Outcome> {
    return yield message(from, bytes, false, how);
  }
  /** Script step: a notification (bit 0 device interrupt, bit 1 a child ended). */
  *notify(bits: bigint): Generator<Step, Outcome, Outcome> {
    return yield { kind: 'notify', bits };
  }
  /** Script step: nothing comes; the clock moves to the receive's deadline and it times out. */
  *idle(): Generator<Step, Outcome, Outcome> {
    return yield { kind: 'timeout' };
  }
  /** Moves the clock. */
  advance(ns: bigint | number): void {
    this.now_ns += BigInt(ns);
  }

  /** Gives the module a handle to a peer (or to a reply endpoint the test reads through `onMessage`): returns the handle. */
  grantPeer(peer: string, rights: number = RIGHT.send | RIGHT.clone): number {
    return this.grant(this.freeSlot(), { kind: 'peer', peer, endpoint: 0, rights });
  }
  /** Marks every handle to a peer dead, as after its restart. */
  killPeer(peer: string): void {
    for (const handle of this.handles.values()) if (handle.kind === 'peer' && handle.peer === peer) handle.dead = true;
  }
  /** Queues a message on one of the module's own endpoints other than `self`. */
  deliver(endpoint: number, from: string | bigint, bytes: Uint8Array): void {
    const queue = this.queues.get(endpoint) ?? [];
    queue.push({ from: senderId(from), bytes, moved: 0, badge: 1 });
    this.queues.set(endpoint, queue);
  }
  /** Replies to deferred calls that came after the script went on, by reply handle. */
  readonly lateReplies = new Map<number, Uint8Array>();

  bytes(address: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, address >>> 0, length).slice();
  }
  write(address: number, bytes: Uint8Array): void {
    new Uint8Array(this.memory.buffer).set(bytes, address >>> 0);
  }
  text(address: number, length: number): string {
    return Buffer.from(this.bytes(address, length)).toString('latin1');
  }
  /** An exported function, callable with numbers and bigints. */
  fn(name: string): (...args: (number | bigint)[]) => number | bigint {
    const found = this.exports[name];
    if (typeof found !== 'function') throw new Error(`${this.name} exports no function ${name}`);
    return found as (...args: (number | bigint)[]) => number | bigint;
  }

  private utf16(address: number): string {
    if (address === 0) return '';
    const length = new DataView(this.memory.buffer).getUint32(address - 4, true);
    return Buffer.from(this.bytes(address, length)).toString('utf16le');
  }
  private meta(address: number, words: (bigint | number)[]): void {
    const view = new DataView(this.memory.buffer);
    for (let i = 0; i < 4; i++) view.setBigUint64((address >>> 0) + 8 * i, BigInt.asUintN(64, BigInt(words[i] ?? 0)), true);
  }
  private grant(handle: number, entry: Omit<Handle, 'dead' | 'generation'>): number {
    this.handles.set(handle, { ...entry, dead: false, generation: 1 });
    return handle;
  }
  private freeSlot(): number {
    for (let slot = 10; slot < HANDLES_MAX; slot++) if (!this.handles.has(slot)) return slot;
    throw new Error(`${this.name}: no free slot (a leak?)`);
  }

  private systemCall(name: string): (...args: (number | bigint)[]) => unknown {
    const replaced = this.options.sys?.[name];
    const own = this.calls[name] as ((...args: (number | bigint)[]) => unknown) | undefined;
    const call = replaced ? (...args: (number | bigint)[]) => replaced(this, ...args) : own;
    if (!call) return () => errorOf('denied');
    return (...args) => {
      if (this.tracing) this.trace.push(name);
      if (name !== 'time_ns') this.clockReads = 0;
      return call(...args);
    };
  }

  private readonly calls: Record<string, (...args: never[]) => unknown> = {
    null: () => 0n,
    yield: () => 0n,
    exit: (code: number) => {
      throw new ModuleEnd(`exit ${code}`);
    },
    console_line: (ptr: number, length: number) => this.consoleLine(ptr, length),
    send: (handle: number, ptr: number, lenMove: bigint, deadline: bigint) => this.send_(handle, ptr, lenMove, deadline),
    call: (handle: number, ptr: number, lenMove: bigint, reply: bigint, meta: number, deadline: bigint) =>
      this.call_(handle, ptr, lenMove, reply, meta, deadline),
    recv: (endpoint: number, buffer: bigint, meta: number, deadline: bigint) => this.receive(endpoint, buffer, meta, deadline),
    reply: (reply: number, ptr: number, lenMove: bigint) => this.reply(reply, ptr, lenMove),
    reply_recv: (handles: bigint, ptr: number, lenMove: bigint, buffer: bigint, meta: number, deadline: bigint) => {
      const [reply, endpoint] = bigints(handles);
      if (reply !== 0) this.reply(reply, ptr, lenMove);
      return this.receive(endpoint, buffer, meta, deadline);
    },
    cap_close: (handle: number) => (this.handles.delete(handle) ? 0n : errorOf('bad_handle')),
    cap_clone: (handle: number, rights: number) => {
      const entry = this.handles.get(handle);
      if (!entry) return errorOf('bad_handle');
      if (!(entry.rights & RIGHT.clone) || (rights & ~entry.rights) !== 0) return errorOf('no_right');
      const slot = this.freeSlot();
      this.handles.set(slot, { ...entry, rights });
      return BigInt(slot);
    },
    cap_query: (handle: number, meta: number) => {
      const entry = this.handles.get(handle);
      if (!entry) return errorOf('bad_handle');
      this.meta(meta, [entry.kind === 'device' ? 2 : 1, entry.rights, entry.generation, entry.generation + (entry.dead ? 1 : 0)]);
      return 0n;
    },
    endpoint_create: (depth: number) => {
      if (depth < 1 || depth > limit(abi, 'kernel', 'endpoint_depth_max')) return errorOf('bad_argument');
      const slot = this.freeSlot();
      this.grant(slot, { kind: 'endpoint', peer: '', endpoint: this.endpoints++, rights: 31 });
      return BigInt(slot);
    },
    bundle_find: (kind: number, name: number, length: number) => {
      const at = Object.keys(this.bundle(kind)).indexOf(this.text(name, length));
      return at < 0 ? errorOf('not_found') : BigInt(at);
    },
    bundle_stat: (kind: number, index: number, ptr: number, cap: number) => {
      const entry = Object.entries(this.bundle(kind))[index];
      if (!entry) return errorOf('not_found');
      const record = kind === 1 ? fileRecord(...entry) : serviceRecord(...entry);
      if (record.length > cap) return errorOf('bad_argument');
      this.write(ptr, record);
      return BigInt(record.length);
    },
    bundle_read: (kind: number, index: number, offset: number, ptr: number, length: number) => {
      const entry = Object.values(this.bundle(kind))[index];
      if (!entry) return errorOf('not_found');
      const piece = entry.subarray(offset, offset + length);
      this.write(ptr, piece);
      return BigInt(piece.length);
    },
    boot_arg: (key: number, keyLength: number, ptr: number, cap: number) => {
      const value = this.options.bootArgs?.[this.text(key, keyLength)];
      if (value === undefined) return errorOf('not_found');
      if (value.length > cap) return errorOf('too_large');
      this.write(ptr, Buffer.from(value, 'latin1'));
      return BigInt(value.length);
    },
    counter: (which: number) => {
      const found = abi.counters.find(({ number }) => number === which);
      if (!found) return errorOf('bad_argument');
      if (found.name === 'own_handles') return BigInt(this.handles.size);
      return this.options.counters?.[found.name] ?? (found.name === 'own_generation' ? 1n : 0n);
    },
    mutant: () => BigInt(this.options.mutant ?? 0),
    instret: () => this.now_ns,
    time_ns: () => {
      if (++this.clockReads > CLOCK_READS_MAX) throw new ModuleEnd('spins on a clock that stands still');
      this.now_ns += this.options.clockStep_ns ?? 0n;
      return this.now_ns;
    },
  };

  private bundle(kind: number): Record<string, Uint8Array> {
    return (kind === 1 ? this.options.files : this.options.services) ?? {};
  }
  private consoleLine(ptr: number, length: number): bigint {
    if (length > LINE_BYTES_MAX) return errorOf('bad_argument');
    const line = this.text(ptr, length);
    if (/[^\x20-\x7e]/.test(line)) return errorOf('bad_argument');
    if (line.slice(0, line.indexOf(':')) !== (this.options.console ?? this.name)) return errorOf('denied');
    this.console.push(line);
    this.outcome.lines.push(line);
    return 0n;
  }

  /** What both send and call do first: the message and the peer, or an error. */
  private outgoing(handle: number, ptr: number, lenMove: bigint): bigint | { entry: Handle; sent: Sent; movedHandle: number } {
    const [length, movedHandle] = bigints(lenMove);
    const entry = this.handles.get(handle);
    if (!entry) return errorOf('bad_handle');
    if (!(entry.rights & RIGHT.send)) return errorOf('no_right');
    if (length > MESSAGE_BYTES_MAX) return errorOf('too_large');
    const moved = movedHandle ? this.handles.get(movedHandle) : undefined;
    if (movedHandle && !moved) return errorOf('bad_handle');
    if (entry.dead) return errorOf('dead');
    const path = moved?.kind === 'endpoint' ? moved.endpoint : 0;
    const bytes = this.bytes(ptr, length);
    const sent: Sent = { to: entry.peer, bytes, replyEndpoint: path, movedPeer: moved?.peer ?? '', badge: entry.rights };
    return { entry, sent, movedHandle };
  }
  private ask(entry: Handle, sent: Sent, isCall: boolean): PeerAnswer {
    const peer = this.options.peers?.[entry.peer];
    return peer ? peer({ ...sent, call: isCall, from: senderId(this.name), host: this }) : null;
  }
  private send_(handle: number, ptr: number, lenMove: bigint, deadline: bigint): bigint {
    const out = this.outgoing(handle, ptr, lenMove);
    if (typeof out === 'bigint') return out;
    if (deadline !== 0n && deadline > this.now_ns + WAIT_MAX_NS) return errorOf('bad_argument');
    if (out.entry.kind === 'endpoint') {
      this.deliver(out.entry.endpoint, this.name, out.sent.bytes);
    } else {
      const answer = this.ask(out.entry, out.sent, false);
      if (answer && !(answer instanceof Uint8Array) && answer.error) return errorOf(answer.error);
    }
    if (out.movedHandle) this.handles.delete(out.movedHandle);
    this.sent.push(out.sent);
    this.outcome.sent.push(out.sent);
    return 0n;
  }
  private call_(handle: number, ptr: number, lenMove: bigint, reply: bigint, meta: number, deadline: bigint): bigint {
    const out = this.outgoing(handle, ptr, lenMove);
    if (typeof out === 'bigint') return out;
    if (deadline > this.now_ns + WAIT_MAX_NS) return errorOf('bad_argument');
    const raw = this.ask(out.entry, out.sent, true);
    const answer = raw instanceof Uint8Array ? { bytes: raw } : raw;
    if (answer?.error) return errorOf(answer.error);
    if (out.movedHandle) this.handles.delete(out.movedHandle);
    if (answer?.delay_ns) this.now_ns += answer.delay_ns;
    if (!answer?.bytes || (this.now_ns > deadline && !answer.evenIfLate)) {
      if (this.now_ns < deadline) this.now_ns = deadline;
      return errorOf('timeout');
    }
    const [to, cap] = bigints(reply);
    if (answer.bytes.length > cap) return errorOf('too_large');
    this.write(to, answer.bytes);
    const moved = answer.movedPeer ? this.grantPeer(answer.movedPeer, answer.movedRights) : 0;
    this.meta(meta, [senderId(answer.as ?? out.entry.peer), 0, moved, 0]);
    return BigInt(answer.bytes.length);
  }
  private reply(reply: number, ptr: number, lenMove: bigint): bigint {
    const [length, movedHandle] = bigints(lenMove);
    const open = this.openReplies.get(reply >>> 0);
    if (!open) return errorOf('bad_handle');
    if (length > MESSAGE_BYTES_MAX) return errorOf('too_large');
    this.openReplies.delete(reply >>> 0);
    if (movedHandle) this.handles.delete(movedHandle);
    const bytes = this.bytes(ptr, length);
    this.options.onReply?.(reply >>> 0, bytes);
    open(bytes, movedHandle);
    return 0n;
  }

  private receive(endpoint: number, buffer: bigint, meta: number, deadline: bigint): bigint {
    const entry = this.handles.get(endpoint);
    if (!entry || entry.kind !== 'endpoint') return errorOf('bad_handle');
    if (!(entry.rights & RIGHT.recv)) return errorOf('no_right');
    if (deadline > this.now_ns + WAIT_MAX_NS) return errorOf('bad_argument');
    const queued = this.queues.get(entry.endpoint)?.shift();
    if (queued) return this.hand(queued.bytes, buffer, meta, [queued.from, 0, BigInt(queued.moved), 0]);
    if (entry.endpoint !== SELF) {
      if (this.now_ns < deadline) this.now_ns = deadline;
      return errorOf('timeout');
    }
    if (!this.script) throw new HostStop('received without a script');
    const { value: step, done } = this.script.next(this.outcome);
    this.outcome = emptyOutcome();
    if (done) throw new HostStop('the script is over');
    if (step.kind === 'timeout') {
      if (this.now_ns < deadline) this.now_ns = deadline;
      return errorOf('timeout');
    }
    if (step.kind === 'notify') return this.hand(new Uint8Array(0), buffer, meta, [0n, 0n, 0n, step.bits]);
    let reply = 0;
    if (step.call) {
      reply = (0x80000000 | this.replyNext++) >>> 0;
      const outcome = this.outcome;
      outcome.replyHandle = reply;
      this.openReplies.set(reply, (bytes, moved) => {
        if (this.outcome !== outcome) this.lateReplies.set(reply, bytes);
        outcome.reply = bytes;
        outcome.replyMoved = moved;
      });
    }
    return this.hand(step.bytes, buffer, meta, [step.from, BigInt(reply), BigInt(step.moved) | (BigInt(step.badge) << 32n), 0n]);
  }
  private hand(bytes: Uint8Array, buffer: bigint, meta: number, words: (bigint | number)[]): bigint {
    const [to, cap] = bigints(buffer);
    if (bytes.length > cap) return errorOf('too_large');
    this.write(to, bytes);
    this.meta(meta, words);
    return BigInt(bytes.length);
  }
}

function emptyOutcome(): Outcome {
  return { reply: null, replyMoved: 0, replyHandle: 0, sent: [], lines: [] };
}
