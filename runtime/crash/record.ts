// SPDX-License-Identifier: Apache-2.0
// Decodes a crash record (docs/format/crash-record.md). The guest's side is assembly/lib/crash/record.ts; a test holds the two together.
// Invariant: every field is checked against its range before it is believed; a record of another version is named, never guessed at.

export const CRASH_MAGIC = 'VGCR';
export const CRASH_VERSION = 1;
/** Offsets of the parts of a record, in bytes. */
export const AT = {
  sequence: 8, id: 16, restarts: 24, parent: 28, servingNames: 30, name: 32, module: 64, elf: 96, bundle: 128, raw: 160, serving: 600,
} as const;
/** Offsets in the kernel's part. */
export const RAW_AT = {
  cause: 0, generation: 4, index: 8, memoryPages: 12, stackBytes: 16, registers: 20, events: 24, inCall: 26, withheld: 28, pc: 32,
  address: 40,
  time: 48, serving: 56, x1: 64, calls: 312,
} as const;
export const RAW_BYTES = 440;
export const RECORD_BYTES = 664;
export const NAME_BYTES = 32;
export const DIGEST_BYTES = 32;
export const CALLS_MAX = 16;
export const SERVING_NAMES_MAX = 2;
/** In a call's place: the service's start. */
export const EVENT_START = 0xfe;

export interface CrashCall {
  /** number of abi/syscalls.toml, or EVENT_START */
  nr: number;
  /** low 24 bits of its first argument */
  argument: number;
  /** low 32 bits of its result, signed; null: it ended in this call, or it is the start */
  result: number | null;
}
export interface CrashRecord {
  sequence: bigint;
  service: string;
  id: bigint;
  /** in this boot, before this fault */
  restarts: number;
  /** manifest index of who had started it */
  parent: number;
  /** SHA-256, lower-case hexadecimal */
  moduleSha256: string;
  elfSha256: string;
  bundleSha256: string;
  /** abi/traps.toml */
  cause: number;
  generation: number;
  /** manifest index of the service */
  index: number;
  memoryPages: number;
  stackBytes: number;
  pc: bigint;
  address: bigint;
  timeNs: bigint;
  /** registers and the arguments of calls were withheld: the manifest says crash_registers = false */
  withheld: boolean;
  /** x1 to x31 by number; absent where it was not saved */
  registers: Map<number, bigint>;
  calls: CrashCall[];
  /** services whose call it had taken and not answered: how many, and the names of the first ones */
  servingCount: number;
  serving: string[];
}

/** Why bytes are no record that this version can read. */
export class NotARecord extends Error {}

function name(bytes: Buffer, at: number): string {
  const field = bytes.toString('latin1', at, at + NAME_BYTES).replace(/\0+$/, '');
  if (!/^[a-z][a-z0-9-]{0,31}$/.test(field)) throw new NotARecord('a name in it is not one of a manifest');
  return field;
}

/** @throws NotARecord naming what is wrong. */
export function decodeCrash(bytes: Buffer): CrashRecord {
  if (bytes.length < 8 || bytes.toString('latin1', 0, 4) !== CRASH_MAGIC) throw new NotARecord('it does not begin as a crash record does');
  const version = bytes.readUInt16LE(4);
  if (version !== CRASH_VERSION) throw new NotARecord(`it is of version ${version}, this command reads ${CRASH_VERSION}`);
  const said = bytes.readUInt16LE(6);
  if (bytes.length !== RECORD_BYTES || said !== RECORD_BYTES) {
    throw new NotARecord(`it has ${bytes.length} bytes and says ${said}, not ${RECORD_BYTES}`);
  }
  const raw = bytes.subarray(AT.raw, AT.raw + RAW_BYTES);
  const names = bytes.readUInt16LE(AT.servingNames);
  const events = raw.readUInt16LE(RAW_AT.events);
  const inCall = raw.readUInt16LE(RAW_AT.inCall);
  const withheld = raw.readUInt32LE(RAW_AT.withheld);
  if (withheld > 1) throw new NotARecord('it withholds something that this version does not know');
  if (names > SERVING_NAMES_MAX || events > CALLS_MAX || inCall > 1) throw new NotARecord('a count in it is beyond its limit');
  const saved = raw.readUInt32LE(RAW_AT.registers);
  const registers = new Map<number, bigint>();
  for (let x = 1; x < 32; x++) if ((saved >>> x) & 1) registers.set(x, raw.readBigUInt64LE(RAW_AT.x1 + (x - 1) * 8));
  const calls = Array.from({ length: events }, (_, n): CrashCall => {
    const at = RAW_AT.calls + n * 8;
    const nr = raw.readUInt8(at + 3);
    const open = nr === EVENT_START || (inCall === 1 && n === events - 1);
    return { nr, argument: raw.readUIntLE(at, 3), result: open ? null : raw.readInt32LE(at + 4) };
  });
  const digest = (at: number): string => bytes.toString('hex', at, at + DIGEST_BYTES);
  const mask = raw.readBigUInt64LE(RAW_AT.serving);
  return {
    sequence: bytes.readBigUInt64LE(AT.sequence),
    service: name(bytes, AT.name),
    id: bytes.readBigUInt64LE(AT.id),
    restarts: bytes.readUInt32LE(AT.restarts),
    parent: bytes.readUInt16LE(AT.parent),
    moduleSha256: digest(AT.module),
    elfSha256: digest(AT.elf),
    bundleSha256: digest(AT.bundle),
    cause: raw.readUInt32LE(RAW_AT.cause),
    generation: raw.readUInt32LE(RAW_AT.generation),
    index: raw.readUInt32LE(RAW_AT.index),
    memoryPages: raw.readUInt32LE(RAW_AT.memoryPages),
    stackBytes: raw.readUInt32LE(RAW_AT.stackBytes),
    pc: raw.readBigUInt64LE(RAW_AT.pc),
    address: raw.readBigUInt64LE(RAW_AT.address),
    timeNs: raw.readBigUInt64LE(RAW_AT.time),
    withheld: withheld === 1,
    registers,
    calls,
    servingCount: mask.toString(2).replaceAll('0', '').length,
    serving: Array.from({ length: names }, (_, n) => name(bytes, AT.serving + n * NAME_BYTES)),
  };
}
