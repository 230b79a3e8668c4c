// SPDX-License-Identifier: Apache-2.0
// Owns: the resource attributes of an entity, encoded as OTLP once an enumeration and copied into every request.
// Invariant: hw.id, hw.type, hw.vendor always; the others where they are known. The texts of the entity lie in its encoded attributes.
// Limits: limits.gpu resource_bytes_max holds five texts of text_bytes_max and the rest.
import { GPU_RESOURCE_BYTES_MAX } from "../../gen/limits";
import { attrInt, attrLiteral, attrText, RESOURCE_ATTRIBUTE } from "../otlp/common";
import { PbWriter } from "../otlp/pb";
import { parseDecimal, parsedDecimal } from "../bounded/text";
import { GROUP_COMPUTE, GROUP_GPU, GROUP_INSTANCE, GROUP_SWITCH, GpuEntity } from "./entities";

const writer: PbWriter = changetype<PbWriter>(memory.data(16, 4));

/** A text attribute; returns where its text lies. */
function text(key: string, from: usize, bytes: u32): usize {
  if (bytes != 0) attrText(writer, RESOURCE_ATTRIBUTE, key, from, bytes);
  return writer.base + writer.length - bytes;
}

/** Encodes what the entity says of itself at `to`, and points the entity's texts there. */
export function encodeIdentity(entity: GpuEntity, to: usize, uuid: usize, model: usize, bdf: usize, driver: usize): void {
  const w = writer;
  w.reset(to, GPU_RESOURCE_BYTES_MAX);
  entity.uuid = text("hw.id", uuid, entity.uuidBytes);
  attrLiteral(w, RESOURCE_ATTRIBUTE, "hw.type", entity.group == GROUP_SWITCH ? "switch" : "gpu");
  attrLiteral(w, RESOURCE_ATTRIBUTE, "hw.vendor", "nvidia");
  text("hw.name", model, entity.modelBytes);
  entity.model = text("hw.model", model, entity.modelBytes);
  entity.driver = text("hw.driver_version", driver, entity.driverBytes);
  entity.bdf = text("hw.gpu.pci.bdf", bdf, entity.bdfBytes);
  assert(w.ok);
  entity.identityBytes = w.length;
  entity.resourceBytes = w.length;
}

/** Encodes behind it what follows from its id and its parents: `gpu` is the id of its GPU, or -1. */
export function encodePlace(entity: GpuEntity, to: usize, gpu: i64): void {
  const w = writer;
  w.reset(to, GPU_RESOURCE_BYTES_MAX);
  w.length = entity.identityBytes;
  if (entity.group == GROUP_SWITCH) attrInt(w, RESOURCE_ATTRIBUTE, "hw.switch.index", entity.id);
  if (gpu >= 0) attrInt(w, RESOURCE_ATTRIBUTE, "hw.gpu.index", gpu);
  if (entity.group == GROUP_GPU || entity.group == GROUP_INSTANCE || entity.group == GROUP_COMPUTE) {
    number("hw.gpu.mig.instance_id", entity, 103, 105);
    number("hw.gpu.mig.compute_instance_id", entity, 99, 105);
  }
  assert(w.ok);
  entity.resourceBytes = w.length;
}

/** The number behind `/gi` or `/ci` in the UUID (docs/format/bridge.md, Requests and replies), where it has one. */
function number(key: string, entity: GpuEntity, first: u8, second: u8): void {
  for (let i: u32 = 0; i + 3 < entity.uuidBytes; i++) {
    const at = entity.uuid + i;
    if (load<u8>(at) != 47 || load<u8>(at, 1) != first || load<u8>(at, 2) != second) continue;
    let digits: u32 = 0;
    while (i + 3 + digits < entity.uuidBytes && load<u8>(at + 3 + digits) - 48 < 10) digits++;
    if (digits < 10 && parseDecimal(at + 3, digits)) attrInt(writer, RESOURCE_ATTRIBUTE, key, <i64>parsedDecimal);
    return;
  }
}
