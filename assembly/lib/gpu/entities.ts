// SPDX-License-Identifier: Apache-2.0
// Owns: the entities that the host enumerated: who they are, whose they are, their place in the order (kind, uuid, id).
// Invariant: an entity keeps its place, and with it its series, while the same (kind, id, uuid) is listed; the same id with another UUID is
// a replaced board and gets a place of its own. An enumeration takes effect as a whole, at its end: one that breaks off changes nothing.
// Limits: limits.gpu entities_max; the places of absent entities are given away when there is no other; what finds none is counted.
import { GPU_ENTITIES_MAX, GPU_RESOURCE_BYTES_MAX, GPU_TEXT_BYTES_MAX } from "../../gen/limits";
import { compareBytes, equalsBytes } from "../bounded/text";
import { Reader } from "../bounded/writer";
import { setSwitches } from "./config";
import { sortPlaces } from "./order";
import { encodeIdentity, encodePlace } from "./resource";
import { sanitise } from "./sanitise";
import { freeSeriesOf, orderChanged } from "./slots";

export const GROUP_GPU: u32 = 1;
export const GROUP_SWITCH: u32 = 3;
export const GROUP_INSTANCE: u32 = 4;
export const GROUP_COMPUTE: u32 = 5;
export const GROUP_LINK: u32 = 6;
export const RANK_ABSENT: u32 = 0xffff;

/** One entity. Texts are sanitised. */
@unmanaged
export class GpuEntity {
  group: u32;
  id: u32;
  /** 0, 0: none. */
  parentGroup: u32;
  parentId: u32;
  uuid: usize;
  model: usize;
  bdf: usize;
  driver: usize;
  uuidBytes: u32;
  modelBytes: u32;
  bdfBytes: u32;
  driverBytes: u32;
  /** Non-zero while the last whole enumeration had it. */
  present: u32;
  /** The enumeration that named it last. */
  named: u32;
  /** Place in the order (kind, uuid, id) of those present. */
  rank: u32;
  /** Place of the entity whose resource its points go to: itself, a link's owner; -1: none. */
  owner: i32;
  /** Next place + 1 with the same hash. */
  next: u32;
  /** Its attributes, encoded: those of its own, then with those that depend on its parents. */
  identityBytes: u32;
  resourceBytes: u32;
}
const ENTITY_SHIFT: u32 = 7;
const HASH_SIZE: u32 = 2048;
const TABLE: usize = memory.data(GPU_ENTITIES_MAX * 128, 8);
const RESOURCES: usize = memory.data(GPU_ENTITIES_MAX * GPU_RESOURCE_BYTES_MAX, 8);
const BUCKETS: usize = memory.data(2048 * 2, 2);
const ORDER: usize = memory.data(GPU_ENTITIES_MAX * 2, 2);
/** The clean texts of the entity under way. */
const TEXTS: usize = memory.data(GPU_TEXT_BYTES_MAX);
const MODEL: usize = memory.data(GPU_TEXT_BYTES_MAX);
const BDF: usize = memory.data(GPU_TEXT_BYTES_MAX);
const DRIVER: usize = memory.data(GPU_TEXT_BYTES_MAX);
let count: u32 = 0;
let present: u32 = 0;
let enumeration: u32 = 0;
let refused: u64 = 0;

/** Places in use, those of absent entities too. */
export function entityCount(): u32 {
  return count;
}
@inline
export function entityAt(index: u32): GpuEntity {
  return changetype<GpuEntity>(TABLE + (index << ENTITY_SHIFT));
}
/** Entities of the last whole enumeration. */
export function entitiesPresent(): u32 {
  return present;
}
/** Entities that found no place, or of a kind that has no points. */
export function entitiesRefused(): u64 {
  return refused;
}
/** Where the encoded attributes of an entity lie. */
@inline
export function resourceOf(index: u32): usize {
  return RESOURCES + index * GPU_RESOURCE_BYTES_MAX;
}

export function resetEntities(): void {
  memory.fill(BUCKETS, 0, HASH_SIZE * 2);
  memory.fill(TABLE, 0, GPU_ENTITIES_MAX << ENTITY_SHIFT);
  count = 0;
  present = 0;
  enumeration = 0;
  refused = 0;
}

@inline
function bucketOf(group: u32, id: u32): usize {
  return BUCKETS + ((((group * 0x9e3779b1) ^ (id * 0x85ebca6b)) >> 21) << 1);
}

/** Place of a present entity, or -1. */
export function entityIndex(group: u32, id: u32): i32 {
  let at = <u32>load<u16>(bucketOf(group, id));
  for (let i: u32 = 0; i < GPU_ENTITIES_MAX && at != 0; i++) {
    const entity = entityAt(at - 1);
    if (entity.id == id && entity.group == group && entity.present != 0) return <i32>at - 1;
    at = entity.next;
  }
  return -1;
}

/** A new enumeration begins; the old one stands until `endEnumeration`. */
export function beginEnumeration(): void {
  enumeration++;
}

/** Takes one entity record of an enumerate reply (docs/format/bridge.md); false when it is malformed, and then nothing was changed. */
export function takeEntity(body: Reader): bool {
  const group = <u32>body.takeU8();
  const uuidBytes = <u32>body.takeU8();
  const modelBytes = <u32>body.takeU8();
  const bdfBytes = <u32>body.takeU8();
  const driverBytes = <u32>body.takeU8();
  const parentGroup = <u32>body.takeU8();
  const parentId = <u32>body.takeU16();
  const id = body.takeU32();
  const uuid = body.takeBytes(uuidBytes);
  const model = body.takeBytes(modelBytes);
  const bdf = body.takeBytes(bdfBytes);
  const driver = body.takeBytes(driverBytes);
  if (!body.ok) return false;
  const clean = sanitise(uuid, uuidBytes, TEXTS, GPU_TEXT_BYTES_MAX);
  // A UUID becomes a label and a part of others: never empty, without the label separators.
  if (clean == 0) return false;
  for (let i: u32 = 0; i < clean; i++) {
    const byte = load<u8>(TEXTS + i);
    if (byte == 61 || byte == 32) return false;
  }
  if (group < GROUP_GPU || group > GROUP_LINK || group == 2) {
    refused++;
    return true;
  }
  const place = placeOf(group, id, clean);
  if (place < 0) {
    refused++;
    return true;
  }
  const entity = entityAt(<u32>place);
  entity.named = enumeration;
  const modelClean = sanitise(model, modelBytes, MODEL, GPU_TEXT_BYTES_MAX);
  const bdfClean = sanitise(bdf, bdfBytes, BDF, GPU_TEXT_BYTES_MAX);
  const driverClean = sanitise(driver, driverBytes, DRIVER, GPU_TEXT_BYTES_MAX);
  const same = entity.uuidBytes != 0 && entity.parentGroup == parentGroup && entity.parentId == parentId &&
    equalsBytes(entity.model, entity.modelBytes, MODEL, modelClean) && equalsBytes(entity.bdf, entity.bdfBytes, BDF, bdfClean) &&
    equalsBytes(entity.driver, entity.driverBytes, DRIVER, driverClean);
  if (same) return true;
  entity.parentGroup = parentGroup;
  entity.parentId = parentId;
  entity.uuidBytes = clean;
  entity.modelBytes = modelClean;
  entity.bdfBytes = bdfClean;
  entity.driverBytes = driverClean;
  encodeIdentity(entity, resourceOf(<u32>place), TEXTS, MODEL, BDF, DRIVER);
  if (entity.present != 0) encodePlace(entity, resourceOf(<u32>place), gpuOf(entity));
  return true;
}

/** Place of the entity whose clean UUID lies at TEXTS, an old or a new one; -1: there is none. */
function placeOf(group: u32, id: u32, uuidBytes: u32): i32 {
  const bucket = bucketOf(group, id);
  let at = <u32>load<u16>(bucket);
  for (let i: u32 = 0; i < GPU_ENTITIES_MAX && at != 0; i++) {
    const known = entityAt(at - 1);
    if (known.id == id && known.group == group && equalsBytes(known.uuid, known.uuidBytes, TEXTS, uuidBytes)) return <i32>at - 1;
    at = known.next;
  }
  const place = count < GPU_ENTITIES_MAX ? <i32>(count++) : absentPlace();
  if (place < 0) return -1;
  const entity = entityAt(<u32>place);
  memory.fill(changetype<usize>(entity), 0, 1 << ENTITY_SHIFT);
  entity.group = group;
  entity.id = id;
  entity.rank = RANK_ABSENT;
  entity.owner = -1;
  entity.next = load<u16>(bucket);
  store<u16>(bucket, <u16>(place + 1));
  return place;
}

/** Takes the place of an entity that neither this enumeration nor the last one has; -1: there is none. */
function absentPlace(): i32 {
  for (let i: u32 = 0; i < count; i++) {
    const entity = entityAt(i);
    if (entity.present != 0 || entity.named == enumeration) continue;
    unlink(i);
    freeSeriesOf(i);
    return <i32>i;
  }
  return -1;
}

function unlink(place: u32): void {
  const gone = entityAt(place);
  const bucket = bucketOf(gone.group, gone.id);
  let at = <u32>load<u16>(bucket);
  if (at == place + 1) {
    store<u16>(bucket, <u16>gone.next);
    return;
  }
  for (let i: u32 = 0; i < GPU_ENTITIES_MAX && at != 0; i++) {
    const entity = entityAt(at - 1);
    if (entity.next == place + 1) {
      entity.next = gone.next;
      return;
    }
    at = entity.next;
  }
}

function comesAfter(a: u32, b: u32): bool {
  const left = entityAt(a);
  const right = entityAt(b);
  if (left.group != right.group) return left.group > right.group;
  const order = compareBytes(left.uuid, left.uuidBytes, right.uuid, right.uuidBytes);
  return order != 0 ? order > 0 : left.id > right.id;
}

/** The enumeration is whole: what it named is present, nothing else. Returns how many entities are present. */
export function endEnumeration(): u32 {
  present = 0;
  let switches = false;
  for (let i: u32 = 0; i < count; i++) {
    const entity = entityAt(i);
    entity.present = entity.named == enumeration ? 1 : 0;
    entity.rank = RANK_ABSENT;
    if (entity.present == 0) continue;
    store<u16>(ORDER + (present << 1), <u16>i);
    present++;
    switches = switches || entity.group == GROUP_SWITCH;
  }
  sortPlaces(ORDER, present, comesAfter);
  for (let i: u32 = 0; i < present; i++) entityAt(load<u16>(ORDER + (i << 1))).rank = i;
  for (let i: u32 = 0; i < present; i++) settle(load<u16>(ORDER + (i << 1)));
  setSwitches(switches);
  orderChanged();
  return present;
}

/** What depends on others: whose resource it is, and its GPU's index. */
function settle(place: u32): void {
  const entity = entityAt(place);
  entity.owner = <i32>place;
  if (entity.group == GROUP_LINK) {
    entity.owner = entityIndex(entity.parentGroup, entity.parentId);
    if (entity.owner >= 0 && entityAt(<u32>entity.owner).group == GROUP_LINK) entity.owner = -1;
  }
  encodePlace(entity, resourceOf(place), gpuOf(entity));
}

/** Id of the GPU that an entity is or belongs to, or -1. */
function gpuOf(entity: GpuEntity): i64 {
  let at = entity;
  for (let i: u32 = 0; i < 4; i++) {
    if (at.group == GROUP_GPU) return <i64>at.id;
    const parent = entityIndex(at.parentGroup, at.parentId);
    if (parent < 0) return -1;
    at = entityAt(<u32>parent);
  }
  return -1;
}

/** Port of a link (DCGM: bits 8 to 23 of its id). */
@inline
export function portOf(entity: GpuEntity): u32 {
  return (entity.id >> 8) & 0xffff;
}
