// SPDX-License-Identifier: Apache-2.0
// Owns: the guest's codec as a module of its own, so that a host test can drive it byte by byte.
// Invariant: exports the shipping decoder and encoder, and the receiver's readers of entities and samples (lib/gpu), nothing else. Limits: one decoder, 16 KiB of input a push.
import { BRIDGE_FRAME_BYTES_MAX, BridgeDecoder, finishBridgeFrame } from "../../assembly/lib/wire/bridge";
import { Reader } from "../../assembly/lib/nexus-ipc/index";
import { GpuEntity, GpuSample, beginEnumeration, endEnumeration, entityAt, entityIndex, gpuReset, takeEntity } from "../../assembly/lib/gpu/index";
import { crc32c } from "../../assembly/lib/bounded/crc32c";

const BUFFER: usize = memory.data(16384, 8);
const INPUT: usize = memory.data(16384, 8);
const decoder: BridgeDecoder = changetype<BridgeDecoder>(memory.data(offsetof<BridgeDecoder>(), 8));

export function input(): usize { return INPUT; }
export function reset(): void { decoder.reset(BUFFER); }
export function push(bytes: u32): u32 { return decoder.push(INPUT, bytes); }
export function next(): bool { return decoder.next(); }
export function expire(): void { decoder.expire(); }
export function pending(): u32 { return decoder.length - decoder.taken; }
export function frameType(): u32 { return decoder.type; }
export function frameNonce(): u32 { return decoder.nonce; }
export function frameWallNs(): u64 { return decoder.wallNs; }
export function frameMonoNs(): u64 { return decoder.monoNs; }
export function framePayload(): usize { return decoder.payload; }
export function framePayloadBytes(): u32 { return decoder.payloadBytes; }
export function counter(which: u32): u32 {
  if (which == 0) return decoder.frames;
  if (which == 1) return decoder.skippedBytes;
  if (which == 2) return decoder.badHeader;
  if (which == 3) return decoder.badVersion;
  if (which == 4) return decoder.badCrc;
  return decoder.oversize;
}
/** The payload lies at input() + 32. */
export function encode(type: u32, nonce: u32, payloadBytes: u32): u32 {
  if (payloadBytes > BRIDGE_FRAME_BYTES_MAX) return 0;
  return finishBridgeFrame(INPUT, <u8>type, nonce, payloadBytes);
}
export function crc(bytes: u32): u32 { return crc32c(INPUT, bytes); }

const reader: Reader = changetype<Reader>(memory.data(16, 4));
/** Reads `count` entity records of `bytes` bytes at input(); 0 when the receiver finds them malformed or bytes are left. */
export function takeEntities(bytes: u32, count: u32): u32 {
  reader.reset(INPUT, bytes);
  gpuReset();
  beginEnumeration();
  for (let i: u32 = 0; i < count; i++) if (!takeEntity(reader)) return 0;
  endEnumeration();
  return reader.finished ? count : 0;
}
/** Place of an entity's UUID as the receiver keeps it, and its length; 0 when it has no such entity. */
export function entityUuid(group: u32, id: u32): usize { return entityIndex(group, id) < 0 ? 0 : kept(group, id).uuid; }
export function entityUuidBytes(group: u32, id: u32): u32 { return entityIndex(group, id) < 0 ? 0 : kept(group, id).uuidBytes; }
function kept(group: u32, id: u32): GpuEntity { return entityAt(<u32>entityIndex(group, id)); }
/** One field of the sample at input() + at, in the order of the document. */
export function sampleField(at: u32, which: u32): i64 {
  const sample = changetype<GpuSample>(INPUT + at);
  if (which == 0) return sample.group;
  if (which == 1) return sample.type;
  if (which == 2) return sample.fieldId;
  if (which == 3) return sample.entityId;
  if (which == 4) return sample.status;
  if (which == 5) return sample.kind;
  if (which == 6) return sample.tsUs;
  return <i64>sample.raw;
}
