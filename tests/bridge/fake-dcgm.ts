// SPDX-License-Identifier: Apache-2.0
// Owns: the fake libdcgm of tests/fixtures/gpu for a test: compiled once a process, one control file an engine, and a bridge client
// over the supervised process that holds it. Invariant: what a test sees went through koffi and a real child process.
// Limits: needs a C compiler; without one `fakeLibrary` is null, and the tests skip by name.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Frame } from '../../runtime/bridge/codec.js';
import type { ChildConfig } from '../../runtime/bridge/library/link.js';
import { Supervisor } from '../../runtime/bridge/library/supervisor.js';
import { statusName, typeCode } from '../../runtime/bridge/protocol.js';

const fixtures = fileURLToPath(new URL('../fixtures/gpu/', import.meta.url));
export const folder = mkdtempSync(join(tmpdir(), 'vigil-dcgm-'));
process.on('exit', () => { rmSync(folder, { recursive: true, force: true }); });

/** Compiles one of the fixtures; the path of what came out, or null where there is no compiler. Throws when ours does not compile. */
export function compile(source: string, out: string, ...flags: string[]): string | null {
  const path = join(folder, out);
  const run = spawnSync('cc', ['-Wall', '-Wextra', '-Werror', '-O1', ...flags, '-o', path, join(fixtures, source)], { encoding: 'utf8' });
  if (run.error !== undefined) return null;
  if (run.status !== 0) throw new Error(run.stderr);
  return path;
}

export const fakeLibrary = compile('fake-dcgm.c', 'libdcgm.so.4', '-shared', '-fPIC', '-pthread');
export const skip = fakeLibrary === null ? 'no C compiler (cc)' : false;

/** An engine that a control file describes: one `KEY [NAME] VALUE` a line (fake-dcgm.c). */
export class FakeEngine {
  private static made = 0;
  readonly path = join(folder, `engine-${FakeEngine.made++}`);
  readonly endpoint = `unix://${this.path}`;
  constructor(...lines: string[]) { this.set(...lines); }
  set(...lines: string[]): void { writeFileSync(this.path, `${lines.join('\n')}\n`); }
  /** What the library was asked, one `NAME A B` each. */
  calls(): string[] {
    try {
      return readFileSync(`${this.path}.calls`, 'utf8').trim().split('\n');
    } catch {
      return [];
    }
  }
  count(name: string): number { return this.calls().filter((line) => line.split(' ')[0] === name).length; }
  forget(): void { writeFileSync(`${this.path}.calls`, ''); }
}

export interface PlainSample { group: number; id: number; fieldId: number; status: number; kind: number; tsUs: bigint; value: bigint | number }
export interface PlainEntity { group: number; id: number; uuid: string; model: string; bdf: string; driver: string; parent: string }

/** A guest in few words: each method sends its frame and reads the reply as docs/format/bridge.md says. */
export class Guest {
  private nonce = 0;
  last: Frame | null = null;
  constructor(readonly answerer: { answer(request: Frame): Promise<Frame> }) {}

  async ask(type: string, payload: Buffer = Buffer.alloc(0)): Promise<{ status: string; body: Buffer }> {
    const nonce = ++this.nonce;
    const reply = await this.answerer.answer({ type: typeCode(type), nonce, wallNs: 0n, monoNs: 0n, payload });
    if (reply.nonce !== nonce || reply.type !== (typeCode(type) | 0x80)) throw new Error(`reply ${reply.type} ${reply.nonce}`);
    this.last = reply;
    return { status: statusName(reply.payload.readUInt8(0)), body: reply.payload };
  }
  async connect(): Promise<string> { return (await this.ask('connect', Buffer.from([1, 0, 1, 0]))).status; }
  async close(): Promise<string> { return (await this.ask('close')).status; }
  async version(): Promise<string> { return (await this.ask('version')).body.subarray(4).toString('latin1'); }

  async enumerate(): Promise<PlainEntity[] | string> {
    const out: PlainEntity[] = [];
    for (let cursor = 0; ;) {
      const { status, body } = await this.ask('enumerate', u32(cursor));
      if (status !== 'ok') return status;
      let at = 8;
      for (let i = 0; i < body.readUInt16LE(2); i++) {
        const lengths = [1, 2, 3, 4].map((k) => body.readUInt8(at + k));
        const parent = `${body.readUInt8(at + 5)}:${body.readUInt16LE(at + 6)}`;
        const [group, id] = [body.readUInt8(at), body.readUInt32LE(at + 8)];
        at += 12;
        const texts = lengths.map((length) => { at += length; return body.toString('latin1', at - length, at); });
        out.push({ group, id, uuid: texts[0]!, model: texts[1]!, bdf: texts[2]!, driver: texts[3]!, parent });
      }
      if (at !== body.length) throw new Error(`enumerate: ${body.length - at} bytes left`);
      cursor = body.readUInt32LE(4);
      if (cursor === 0) return out;
    }
  }

  /** A watch id, or the status of a refusal. */
  async watch(fieldIds: number[], entities: [number, number][] = [], updateUs = 1_000_000n): Promise<number | string> {
    const out = Buffer.alloc(16 + fieldIds.length * 2);
    out.writeBigUInt64LE(updateUs, 0);
    out.writeUInt32LE(30, 8);
    out.writeUInt16LE(fieldIds.length, 12);
    out.writeUInt16LE(entities.length, 14);
    fieldIds.forEach((id, i) => out.writeUInt16LE(id, 16 + i * 2));
    const { status, body } = await this.ask('watch', Buffer.concat([out, ...entities.map((entity) => u32(...entity))]));
    return status === 'ok' ? body.readUInt32LE(4) : status;
  }

  async read(watchId: number): Promise<PlainSample[] | string> {
    const out: PlainSample[] = [];
    for (let cursor = 0; ;) {
      const { status, body } = await this.ask('latest_values', u32(watchId, cursor));
      if (status !== 'ok') return status;
      for (let at = 8; at < body.length; at += 32) {
        const double = body.readUInt8(at + 1) === 100;
        out.push({ group: body.readUInt8(at), id: body.readUInt32LE(at + 4), fieldId: body.readUInt16LE(at + 2), status: body.readInt32LE(at + 8),
          kind: body.readUInt32LE(at + 12), tsUs: body.readBigInt64LE(at + 16), value: double ? body.readDoubleLE(at + 24) : body.readBigInt64LE(at + 24) });
      }
      cursor = body.readUInt32LE(4);
      if (cursor === 0) return out;
    }
  }

  /** Connect, enumerate, watch: the watch's id. Throws on any refusal. */
  async open(fieldIds: number[]): Promise<number> {
    const status = await this.connect();
    if (status !== 'ok') throw new Error(`connect: ${status}`);
    const entities = await this.enumerate();
    if (typeof entities === 'string') throw new Error(`enumerate: ${entities}`);
    const id = await this.watch(fieldIds);
    if (typeof id === 'string') throw new Error(`watch: ${id}`);
    return id;
  }
}

export interface Held { readonly supervisor: Supervisor; readonly guest: Guest; readonly log: string[]; stop(): Promise<number> }

const running = new Set<Supervisor>();
/** Ends every library process that a test left, so that a failed assertion cannot keep the run alive. */
export async function stopAll(): Promise<void> {
  await Promise.all([...running].map((supervisor) => supervisor.stop()));
  running.clear();
}

/** A supervised library process over an engine; `stop` gives the milliseconds that it took. */
export async function hold(config: Partial<ChildConfig>): Promise<Held> {
  const log: string[] = [];
  const supervisor = new Supervisor({ source: 'dcgm', ...(fakeLibrary === null ? {} : { library: fakeLibrary }), ...config }, (line) => { log.push(line); });
  running.add(supervisor);
  await supervisor.start();
  const stop = async (): Promise<number> => {
    const began = performance.now();
    await supervisor.stop();
    return performance.now() - began;
  };
  return { supervisor, guest: new Guest(supervisor), log, stop };
}

export function u32(...values: number[]): Buffer {
  const out = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => out.writeUInt32LE(value, i * 4));
  return out;
}
