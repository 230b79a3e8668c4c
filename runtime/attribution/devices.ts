// SPDX-License-Identifier: Apache-2.0
// Owns: the ids that device plugins give to devices, and which of our entities each one means.
// Invariant: one id means one GPU, one MIG instance or one compute instance, or it is unknown and counted; never a guess. A MIG UUID says
// nothing by itself and is left to the driver (mig-names.ts). Limits: ids of at most 128 characters.
import type { Attributes } from '../export/otlp/model.js';

const ID_CHARS_MAX = 128;

/** A GPU by UUID, index or PCI address, and its instances where there are any. */
export interface Device {
  readonly gpu: { readonly uuid: string } | { readonly index: number } | { readonly bdf: string };
  readonly instance?: number; readonly compute?: number;
}
/** What an id says: a device, a MIG UUID that only the driver can place, or nothing that we know. */
export type DeviceId = { readonly device: Device } | { readonly migUuid: string } | { readonly unknown: string };

/** `uuid::7` is the seventh share of a time-sliced or MPS-shared device (NVIDIA); `nvidia0/vgpu7` the same on GKE. */
const SHARE = /(?:::\d{1,6}|\/vgpu\d{1,6})$/;
const HEX = '[0-9a-f]';
const UUID = `${HEX}{8}-${HEX}{4}-${HEX}{4}-${HEX}{4}-${HEX}{12}`;
const GPU_UUID = new RegExp(`^GPU-(${UUID})$`, 'i');
/** Drivers before 470: the GPU's UUID, GPU instance, compute instance. */
const OLD_MIG = new RegExp(`^MIG-GPU-(${UUID})/(\\d{1,3})/(\\d{1,3})$`, 'i');
const MIG_UUID = new RegExp(`^MIG-(${UUID})$`, 'i');
const BY_INDEX = /^nvidia(\d{1,3})(?:\/gi(\d{1,3}))?(?:\/ci(\d{1,3}))?$/;
const BDF = /^([0-9a-f]{4,8}):([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])$/i;

const gpuUuid = (bare: string): string => `GPU-${bare.toLowerCase()}`;
/** Domains are printed with four digits by the kernel, with eight by NVML. */
const plainBdf = (domain: string, rest: string): string => `${domain.padStart(8, '0')}:${rest}`.toLowerCase();

/** Reads one id as a device plugin, or the user of NVIDIA_VISIBLE_DEVICES, writes it. */
export function parseDeviceId(id: string): DeviceId {
  if (id.length > ID_CHARS_MAX) return { unknown: id.slice(0, ID_CHARS_MAX) };
  const name = id.replace(SHARE, '');
  const whole = GPU_UUID.exec(name);
  if (whole !== null) return { device: { gpu: { uuid: gpuUuid(whole[1]!) } } };
  const old = OLD_MIG.exec(name);
  if (old !== null) return { device: { gpu: { uuid: gpuUuid(old[1]!) }, instance: Number(old[2]), compute: Number(old[3]) } };
  const mig = MIG_UUID.exec(name);
  if (mig !== null) return { migUuid: `MIG-${mig[1]!.toLowerCase()}` };
  const indexed = BY_INDEX.exec(name);
  if (indexed !== null) {
    const [, index, instance, compute] = indexed;
    if (compute !== undefined && instance === undefined) return { unknown: id };
    return { device: {
      gpu: { index: Number(index) },
      ...(instance === undefined ? {} : { instance: Number(instance) }), ...(compute === undefined ? {} : { compute: Number(compute) }),
    } };
  }
  const address = BDF.exec(name);
  if (address !== null) return { device: { gpu: { bdf: plainBdf(address[1]!, address[2]!) } } };
  return { unknown: id };
}

const partKey = (gpu: string, instance?: number, compute?: number): string =>
  `${gpu}${instance === undefined ? '' : `/gi${instance}`}${compute === undefined ? '' : `/ci${compute}`}`;

function gpuKey({ gpu }: Device): string {
  if ('uuid' in gpu) return gpu.uuid.toLowerCase();
  return 'index' in gpu ? `index:${gpu.index}` : `bdf:${gpu.bdf}`;
}

/**
 * Under which keys a device's users are found. A compute instance's user is also one of its GPU instance, but of no other compute
 * instance; a GPU instance's user is one of all its compute instances (`/ci*`). A part's user is none of the whole GPU, whose
 * values are of all its instances together.
 */
export function keysOfDevice(device: Device): readonly string[] {
  const gpu = gpuKey(device);
  if (device.instance === undefined) return [gpu];
  const instance = partKey(gpu, device.instance);
  return [instance, device.compute === undefined ? `${instance}/ci*` : partKey(gpu, device.instance, device.compute)];
}

const numberOf = (value: unknown): number | undefined => {
  const number = value === undefined || value === '' ? NaN : Number(value);
  return Number.isInteger(number) && number >= 0 ? number : undefined;
};

/** The keys under which an entity's users may be found, by its resource attributes; none for what is no GPU or part of one. */
export function keysOfEntity(entity: Attributes): readonly string[] {
  if (entity.get('hw.type') !== undefined && entity.get('hw.type') !== 'gpu') return [];
  const id = String(entity.get('hw.id') ?? '');
  const [, uuid, instanceText, computeText] = /^(GPU-[^/]+)(?:\/gi(\d{1,3}))?(?:\/ci(\d{1,3}))?$/.exec(id) ?? [];
  const instance = numberOf(entity.get('hw.gpu.mig.instance_id')) ?? numberOf(instanceText);
  const compute = numberOf(entity.get('hw.gpu.mig.compute_instance_id')) ?? numberOf(computeText);
  const index = numberOf(entity.get('hw.gpu.index'));
  const bdf = BDF.exec(String(entity.get('hw.gpu.pci.bdf') ?? ''));
  const gpus = [
    ...(uuid === undefined ? [] : [uuid.toLowerCase()]),
    ...(index === undefined ? [] : [`index:${index}`]),
    ...(bdf === null ? [] : [`bdf:${plainBdf(bdf[1]!, bdf[2]!)}`]),
  ];
  return gpus.flatMap((gpu) => {
    if (instance === undefined) return [gpu];
    return compute === undefined ? [partKey(gpu, instance)] : [partKey(gpu, instance, compute), `${partKey(gpu, instance)}/ci*`];
  });
}
