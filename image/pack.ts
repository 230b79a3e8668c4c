// SPDX-License-Identifier: Apache-2.0
// The bundle: writer, and the reader that holds it to its format (docs/format/bundle.md; the kernel's own reader is
// assembly/kernel/bundle.ts). Invariants: the manifest's SHA-256 is the bundle's identity and covers the digest of every
// blob; blobs are 16-byte aligned, in record order, without gaps but zero padding; reserved bytes are zero; equal inputs
// give equal bytes. Limits: 64 services (masks are 64 bits), names as wide as their fields.
import { createHash } from 'node:crypto';
import { wrong } from '../scripts/lib/fail.js';

export const BUNDLE_MAGIC = 'VIGILBN1';
export const BUNDLE_VERSION = 1;
export const HEADER_BYTES = 96;
export const SERVICE_RECORD_BYTES = 256;
export const FILE_RECORD_BYTES = 128;
const BLOB_ALIGN_BYTES = 16;
const SERVICE_NAME_BYTES = 32;
const FILE_NAME_BYTES = 64;
const CONSOLE_BYTES = 16;
const DIGEST_BYTES = 32;

export const FLAG_EXEC = 1;
export const FLAG_FIXTURE = 2;
export const FLAG_SPAWN = 4;
export const FLAG_SPAWN_EXEC = 8;
export const FLAG_BUNDLE = 16;
export const FLAG_SHUTDOWN = 32;
export const FLAG_LOG_QUERY = 64;
export const FLAG_CRASH_WITHHELD = 128;

/** One service of a bundle. Sizes in bytes, memory in pages of 64 KiB. */
export interface BundleService {
  name: string;
  id: bigint;
  wasm: Uint8Array;
  elf: Uint8Array;
  memoryPages: number;
  memoryPagesMax: number;
  stackBytes: number;
  depth: number;
  restartBudget: number;
  flags: number;
  callsMask: bigint;
  slotsMask: number;
  /** virtio device ids, at most 4 */
  devices: number[];
  console: string;
  textBase: bigint;
  instanceBytes: number;
  tableEntries: number;
  importsMask: bigint;
  /** digests written instead of the true ones: a deliberately bad entry for the loader's tests */
  wrongWasmDigest?: boolean;
  wrongElfDigest?: boolean;
}

/** One file of a bundle. */
export interface BundleFile {
  name: string;
  bytes: Uint8Array;
}
export interface Bundle {
  services: BundleService[];
  files: BundleFile[];
}

/** SHA-256 as bytes. */
export function digest(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

const align = (value: number): number => Math.ceil(value / BLOB_ALIGN_BYTES) * BLOB_ALIGN_BYTES;

function putName(target: Buffer, at: number, width: number, name: string): void {
  // One byte is kept zero, so that a reader may treat the field as a terminated text.
  if (!/^[\x21-\x7e]*$/.test(name)) wrong(`bundle: "${name}" is not printable ASCII without blanks`);
  if (name.length >= width) wrong(`bundle: name "${name}" is longer than ${width - 1} bytes`);
  target.write(name, at, 'ascii');
}

/** Places blobs: equal content (a module of several instances) is stored once. */
class Blobs {
  private readonly placed = new Map<string, number>();
  private readonly parts: { at: number; bytes: Uint8Array }[] = [];
  end: number;
  constructor(start: number) {
    this.end = start;
  }

  place(bytes: Uint8Array): number {
    const key = digest(bytes).toString('hex');
    const known = this.placed.get(key);
    if (known !== undefined) return known;
    const at = align(this.end);
    this.placed.set(key, at);
    this.parts.push({ at, bytes });
    this.end = at + bytes.length;
    return at;
  }

  copyTo(target: Buffer): void {
    for (const { at, bytes } of this.parts) target.set(bytes, at);
  }
}

function serviceRecord(entry: BundleService, blobs: Blobs): Buffer {
  const record = Buffer.alloc(SERVICE_RECORD_BYTES);
  putName(record, 0, SERVICE_NAME_BYTES, entry.name);
  record.writeBigUInt64LE(entry.id, 32);
  const words = [
    blobs.place(entry.wasm), entry.wasm.length, blobs.place(entry.elf), entry.elf.length, entry.memoryPages,
    entry.memoryPagesMax, entry.stackBytes, entry.depth, entry.restartBudget, entry.flags,
  ];
  words.forEach((word, i) => record.writeUInt32LE(word, 40 + 4 * i));
  record.writeBigUInt64LE(entry.callsMask, 80);
  record.writeUInt32LE(entry.slotsMask, 88);
  entry.devices.forEach((id, i) => record.writeUInt8(id, 92 + i));
  const flip = (bytes: Buffer, spoil: boolean | undefined): Buffer => {
    if (spoil) bytes[0]! ^= 0xff;
    return bytes;
  };
  record.set(flip(digest(entry.wasm), entry.wrongWasmDigest), 96);
  record.set(flip(digest(entry.elf), entry.wrongElfDigest), 128);
  putName(record, 160, CONSOLE_BYTES, entry.console);
  record.writeBigUInt64LE(entry.textBase, 176);
  record.writeUInt32LE(entry.instanceBytes, 184);
  record.writeUInt32LE(entry.tableEntries, 188);
  record.writeBigUInt64LE(entry.importsMask, 192);
  return record;
}

function fileRecord(entry: BundleFile, blobs: Blobs): Buffer {
  const record = Buffer.alloc(FILE_RECORD_BYTES);
  putName(record, 0, FILE_NAME_BYTES, entry.name);
  record.writeUInt32LE(blobs.place(entry.bytes), 64);
  record.writeUInt32LE(entry.bytes.length, 68);
  record.set(digest(entry.bytes), 80);
  return record;
}

/** Writes a bundle. @throws Failure 1 on a name that does not fit or more than 64 services. */
export function packBundle({ services, files }: Bundle): { bytes: Buffer; manifestSha256: string } {
  if (services.length > 64) wrong(`bundle: ${services.length} services, masks hold 64`);
  const manifestBytes = services.length * SERVICE_RECORD_BYTES + files.length * FILE_RECORD_BYTES;
  const blobs = new Blobs(HEADER_BYTES + manifestBytes);
  const records = [...services.map((entry) => serviceRecord(entry, blobs)), ...files.map((entry) => fileRecord(entry, blobs))];
  const manifest = Buffer.concat(records);
  const identity = digest(manifest);
  const bytes = Buffer.alloc(align(blobs.end));
  bytes.write(BUNDLE_MAGIC, 0, 'ascii');
  const words = [BUNDLE_VERSION, bytes.length, services.length, files.length, HEADER_BYTES, manifestBytes];
  words.forEach((word, i) => bytes.writeUInt32LE(word, 8 + 4 * i));
  bytes.set(identity, 64);
  bytes.set(manifest, HEADER_BYTES);
  blobs.copyTo(bytes);
  return { bytes, manifestSha256: identity.toString('hex') };
}

/** Reads and verifies a bundle: every digest, offset, order and reserved byte. @throws Failure 1 naming the field. */
export function readBundle(bytes: Buffer): Bundle & { manifestSha256: string } {
  if (bytes.length < HEADER_BYTES || bytes.toString('latin1', 0, 8) !== BUNDLE_MAGIC) wrong('bundle: wrong magic');
  if (bytes.readUInt32LE(8) !== BUNDLE_VERSION) wrong(`bundle: version ${bytes.readUInt32LE(8)}, known ${BUNDLE_VERSION}`);
  if (bytes.readUInt32LE(12) !== bytes.length) wrong(`bundle: says ${bytes.readUInt32LE(12)} bytes, has ${bytes.length}`);
  const serviceCount = bytes.readUInt32LE(16);
  const fileCount = bytes.readUInt32LE(20);
  const manifestBytes = bytes.readUInt32LE(28);
  const records = serviceCount * SERVICE_RECORD_BYTES + fileCount * FILE_RECORD_BYTES;
  if (bytes.readUInt32LE(24) !== HEADER_BYTES || manifestBytes !== records || HEADER_BYTES + records > bytes.length) {
    wrong('bundle: manifest does not match its counts');
  }
  zero(bytes.subarray(32, 64), 'header');
  const manifest = bytes.subarray(HEADER_BYTES, HEADER_BYTES + manifestBytes);
  if (!digest(manifest).equals(bytes.subarray(64, 96))) wrong('bundle: manifest digest is wrong');
  const reader = new BlobReader(bytes, HEADER_BYTES + manifestBytes);
  const services = Array.from({ length: serviceCount }, (_, i) =>
    readService(manifest.subarray(i * SERVICE_RECORD_BYTES, (i + 1) * SERVICE_RECORD_BYTES), reader),
  );
  const base = serviceCount * SERVICE_RECORD_BYTES;
  const files = Array.from({ length: fileCount }, (_, i) =>
    readFileRecord(manifest.subarray(base + i * FILE_RECORD_BYTES, base + (i + 1) * FILE_RECORD_BYTES), reader),
  );
  reader.finish();
  return { services, files, manifestSha256: bytes.toString('hex', 64, 96) };
}

function zero(bytes: Buffer, where: string): void {
  if (bytes.some((byte) => byte !== 0)) wrong(`bundle: ${where}: a reserved byte is not zero`);
}

function name(record: Buffer, at: number, width: number): string {
  const field = record.subarray(at, at + width);
  const end = field.indexOf(0);
  if (end < 0) return wrong('bundle: a name fills its field');
  zero(field.subarray(end), 'name');
  return field.toString('latin1', 0, end);
}

/** Takes blobs in record order; a blob seen before may be named again. */
class BlobReader {
  private readonly seen = new Set<string>();
  constructor(
    private readonly bytes: Buffer,
    private end: number,
  ) {}

  take(at: number, length: number, what: string): Buffer {
    const key = `${at}+${length}`;
    if (!this.seen.has(key)) {
      if (at !== align(this.end)) wrong(`bundle: ${what}: blob at ${at}, expected ${align(this.end)}`);
      if (length > this.bytes.length - at) wrong(`bundle: ${what}: blob ends outside the file`);
      zero(this.bytes.subarray(this.end, at), what);
      this.seen.add(key);
      this.end = at + length;
    }
    return this.bytes.subarray(at, at + length);
  }

  finish(): void {
    if (align(this.end) !== this.bytes.length) wrong('bundle: bytes after the last blob');
    zero(this.bytes.subarray(this.end), 'end');
  }
}

function readService(record: Buffer, reader: BlobReader): BundleService {
  const word = (at: number): number => record.readUInt32LE(at);
  const shown = name(record, 0, SERVICE_NAME_BYTES);
  zero(record.subarray(200), shown);
  const wasm = reader.take(word(40), word(44), shown);
  const elf = reader.take(word(48), word(52), shown);
  return {
    name: shown,
    id: record.readBigUInt64LE(32),
    wasm,
    elf,
    memoryPages: word(56),
    memoryPagesMax: word(60),
    stackBytes: word(64),
    depth: word(68),
    restartBudget: word(72),
    flags: word(76),
    callsMask: record.readBigUInt64LE(80),
    slotsMask: word(88),
    devices: [...record.subarray(92, 96)].filter((id) => id !== 0),
    console: name(record, 160, CONSOLE_BYTES),
    textBase: record.readBigUInt64LE(176),
    instanceBytes: word(184),
    tableEntries: word(188),
    importsMask: record.readBigUInt64LE(192),
    wrongWasmDigest: !digest(wasm).equals(record.subarray(96, 96 + DIGEST_BYTES)),
    wrongElfDigest: !digest(elf).equals(record.subarray(128, 128 + DIGEST_BYTES)),
  };
}

function readFileRecord(record: Buffer, reader: BlobReader): BundleFile {
  const shown = name(record, 0, FILE_NAME_BYTES);
  zero(record.subarray(72, 80), shown);
  zero(record.subarray(112), shown);
  const bytes = reader.take(record.readUInt32LE(64), record.readUInt32LE(68), shown);
  if (!digest(bytes).equals(record.subarray(80, 112))) wrong(`bundle: file ${shown}: digest is wrong`);
  return { name: shown, bytes };
}
