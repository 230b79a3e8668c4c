// SPDX-License-Identifier: Apache-2.0
// Owns: the entities that the host enumerated, by (group, id). Invariant: an entity keeps its place, and with it its series, for
// as long as dcgmd lives; the same (group, id) with another UUID is a replaced board and gets a place of its own.
// Limits: limits.dcgmd entities_max; one more is counted and left out.
import { DCGMD_ENTITIES_MAX, DCGMD_UUID_BYTES_MAX } from "../../gen/limits";
import { Reader } from "../../lib/nexus-ipc/index";
import { equalsBytes, isPrintable } from "../../lib/bounded/text";

@unmanaged
export class Entity {
  group: u32;
  id: u32;
  uuid: usize;
  uuidBytes: u32;
  /** Non-zero while the last enumeration had it. */
  present: u32;
}
const ENTITY_BYTES: u32 = 24;
const TABLE: usize = memory.data(DCGMD_ENTITIES_MAX * 24, 8);
const UUIDS: usize = memory.data(DCGMD_ENTITIES_MAX * DCGMD_UUID_BYTES_MAX, 8);
let count: u32 = 0;
let overflow: u64 = 0;

export function entityCount(): u32 {
  return count;
}
/** Entities that found no place. */
export function entitiesRefused(): u64 {
  return overflow;
}
export function entityAt(index: u32): Entity {
  return changetype<Entity>(TABLE + index * ENTITY_BYTES);
}

/** Entities present in the last enumeration. */
export function entitiesPresent(): u32 {
  let present: u32 = 0;
  for (let i: u32 = 0; i < count; i++) present += entityAt(i).present;
  return present;
}

/** Place of a present entity, or -1. */
export function entityIndex(group: u32, id: u32): i32 {
  for (let i: u32 = 0; i < count; i++) {
    const entity = entityAt(i);
    if (entity.present != 0 && entity.group == group && entity.id == id) return <i32>i;
  }
  return -1;
}

/** A new enumeration begins: nothing is present until it says so. */
export function beginEnumeration(): void {
  for (let i: u32 = 0; i < count; i++) entityAt(i).present = 0;
}

/** Takes one entity record of an enumerate reply; false when it is malformed. */
export function takeEntity(body: Reader): bool {
  assert(offsetof<Entity>() <= ENTITY_BYTES);
  const group = <u32>body.takeU8();
  const uuidBytes = <u32>body.takeU8();
  const others = <u32>body.takeU8() + <u32>body.takeU8() + <u32>body.takeU8();
  body.takeBytes(3);
  const id = body.takeU32();
  const uuid = body.takeBytes(uuidBytes);
  body.takeBytes(others);
  if (!body.ok || uuidBytes == 0 || uuidBytes > DCGMD_UUID_BYTES_MAX) return false;
  // A UUID becomes a label: printable text without the label separators.
  for (let i: u32 = 0; i < uuidBytes; i++) {
    const byte = load<u8>(uuid + i);
    if (!isPrintable(byte) || byte == 61 || byte == 32) return false;
  }
  keep(group, id, uuid, uuidBytes);
  return true;
}

function keep(group: u32, id: u32, uuid: usize, uuidBytes: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    const entity = entityAt(i);
    if (entity.group != group || entity.id != id) continue;
    if (!equalsBytes(entity.uuid, entity.uuidBytes, uuid, uuidBytes)) continue;
    entity.present = 1;
    return;
  }
  if (count == DCGMD_ENTITIES_MAX) {
    overflow++;
    return;
  }
  const entity = entityAt(count);
  entity.group = group;
  entity.id = id;
  entity.uuid = UUIDS + count * DCGMD_UUID_BYTES_MAX;
  entity.uuidBytes = uuidBytes;
  entity.present = 1;
  memory.copy(entity.uuid, uuid, uuidBytes);
  count++;
}
