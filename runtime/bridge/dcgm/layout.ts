// SPDX-License-Identifier: Apache-2.0
// Owns: where DCGM's structures keep what we read and write: one table of sizes, version words and offsets, in bytes.
// Invariant: a version word is size | version << 24; tests/bridge/dcgm-layout.test.ts compiles the same structures and compares.
// Limits: x86-64 and aarch64 (LP64, little-endian). The layouts are the same from 3.3.9 to 4.6.0 (dcgm_structs.h).

/** One structure: its size, its version word (0: it has none), the offsets used. */
export interface Layout<K extends string> { readonly bytes: number; readonly word: number; readonly at: Readonly<Record<K, number>> }

const layout = <K extends string>(bytes: number, version: number, at: Record<K, number>): Layout<K> =>
  ({ bytes, word: version === 0 ? 0 : bytes + version * 0x1000000, at });

export const CONNECT_V2 = layout(16, 2, { version: 0, persist: 4, timeoutMs: 8, unixSocket: 12 });
export const START_EMBEDDED_V2 = layout(80, 2, { version: 0, opMode: 4, handle: 8, logFile: 16, severity: 24, denyCount: 28,
  serviceAccount: 32, deny: 40 });
export const FIELD_VALUE_V2 = layout(4128, 2, { version: 0, group: 4, id: 8, fieldId: 12, type: 14, status: 16, tsUs: 24, value: 32 });
export const ENTITY_PAIR = layout(8, 0, { group: 0, id: 4 });
export const ATTRIBUTES_V3 = layout(5220, 3, { version: 0, identifiers: 3120, name: 3380, busId: 3636, uuid: 4148, driver: 4924 });
export const HIERARCHY_V2 = layout(73_480, 2, { version: 0, count: 4, list: 8 });
export const HIERARCHY_ENTRY = layout(164, 0, { group: 0, id: 4, parentGroup: 8, parentId: 12, gpuUuid: 16, gpuIndex: 144,
  instanceId: 148, computeInstanceId: 152, profileId: 156, slices: 160 });
export const VERSION_INFO_V2 = layout(516, 2, { version: 0, text: 4 });

/** Bytes of a text in the attributes. */
export const ATTRIBUTE_TEXT_BYTES = 256;
export const HIERARCHY_UUID_BYTES = 128;
export const VERSION_TEXT_BYTES = 512;

/** The handle of an engine inside this process; a second start reports success and leaves the handle 0. */
export const EMBEDDED_HANDLE = 0x7fffffffn;
export const OPERATION_AUTO = 1;
export const SEVERITY_NONE = 0;
export const GROUP_TYPE_EMPTY = 1;
/** Samples kept of each field beside the keep age. */
export const SAMPLES_KEPT = 3;

/** A zeroed structure with its version word. */
export function structure(of: Layout<string>): Buffer {
  const out = Buffer.alloc(of.bytes);
  if (of.word !== 0) out.writeUInt32LE(of.word, 0);
  return out;
}

/** The text at an offset, up to its NUL. */
export function textAt(from: Buffer, at: number, bytes: number): string {
  const raw = from.subarray(at, at + bytes);
  const end = raw.indexOf(0);
  return raw.subarray(0, end < 0 ? bytes : end).toString('latin1');
}

/** Id of a link: group of its owner, port, owner. */
export const linkParts = (id: number): { group: number; port: number; owner: number } =>
  ({ group: id & 0xff, port: (id >>> 8) & 0xffff, owner: id >>> 24 });
export const linkId = (group: number, port: number, owner: number): number => ((owner << 24) | (port << 8) | group) >>> 0;
