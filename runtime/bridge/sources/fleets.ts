// SPDX-License-Identifier: Apache-2.0
// Owns: the nodes that can be scripted: what is in them, and what a healthy one of each shows at a given second.
// Invariant: every value is a function of (node, entity, field, second), so two runs show the same; identities are plainly invented.
// Limits: one node a fleet; a field that the hardware lacks answers "not supported" (-6; profiling -36).
import { GROUP, type CatalogField } from '../catalog.js';
import { linkEntity } from '../dcgm/enumerate.js';
import { linkId, linkParts } from '../dcgm/layout.js';
import type { Entity, EntityRef } from '../source.js';

/** What sets one kind of board apart. Powers in W, clocks in MHz, memory in MiB, temperatures in Cel, link rate in MB/s. */
export interface Board {
  readonly model: string; readonly gpus: number; readonly links: number; readonly switches: number; readonly migSlices: number;
  readonly memoryMiB: number; readonly idleW: number; readonly limitW: number; readonly smMhz: number; readonly memMhz: number;
  readonly slowdownC: number; readonly pcieGen: number; readonly linkMBps: number; readonly datacentre: boolean; readonly nvlink5: boolean;
}

export const FLEETS = {
  'h100x8': { model: 'NVIDIA H100 80GB HBM3', gpus: 8, links: 18, switches: 4, migSlices: 0, memoryMiB: 81_559, idleW: 75, limitW: 700,
    smMhz: 1980, memMhz: 2619, slowdownC: 87, pcieGen: 5, linkMBps: 9_000, datacentre: true, nvlink5: false },
  'nvl72-tray': { model: 'NVIDIA GB200', gpus: 4, links: 18, switches: 0, migSlices: 0, memoryMiB: 189_471, idleW: 150, limitW: 1200,
    smMhz: 1965, memMhz: 3996, slowdownC: 87, pcieGen: 5, linkMBps: 20_000, datacentre: true, nvlink5: true },
  'a100-mig': { model: 'NVIDIA A100-SXM4-80GB', gpus: 8, links: 12, switches: 0, migSlices: 7, memoryMiB: 81_920, idleW: 55, limitW: 400,
    smMhz: 1410, memMhz: 1593, slowdownC: 89, pcieGen: 4, linkMBps: 6_000, datacentre: true, nvlink5: false },
  'consumer': { model: 'NVIDIA GeForce RTX 4090', gpus: 1, links: 0, switches: 0, migSlices: 0, memoryMiB: 24_564, idleW: 20, limitW: 450,
    smMhz: 2520, memMhz: 10_501, slowdownC: 83, pcieGen: 4, linkMBps: 0, datacentre: false, nvlink5: false },
} as const satisfies Record<string, Board>;
export type FleetName = keyof typeof FLEETS;

const DRIVER = '580.105.08';
const NOT_SUPPORTED = -6;
const NO_DATA = -14;
const NO_PROFILING = -36;

/** A value, or the status of a cell without one. */
export type Cell = { readonly value: number } | { readonly status: number };

/** The node's entities; `slicesOfGpu0` splits the first GPU's MIG instances otherwise. */
export function fleetEntities(board: Board, slicesOfGpu0 = 1): Entity[] {
  const gpus = Array.from({ length: board.gpus }, (_, id): Entity => ({
    group: GROUP.gpu, id, uuid: `GPU-5c819ed0-0000-0000-0000-${String(id).padStart(12, '0')}`, model: board.model,
    bdf: `00000000:${(0x18 + id * 0x11).toString(16).toUpperCase()}:00.0`, driver: DRIVER,
  }));
  const instances = gpus.flatMap((gpu) => {
    const slices = gpu.id === 0 ? slicesOfGpu0 : 1;
    return Array.from({ length: Math.floor(board.migSlices / slices) }, (_, i): [Entity, Entity] => {
      const id = gpu.id * 8 + i;
      const uuid = `${gpu.uuid}/gi${slices === 1 ? i + 7 : i + 3}`;
      const texts = { model: `${gpu.model} MIG ${slices}g`, bdf: gpu.bdf, driver: gpu.driver };
      return [
        { group: GROUP.gpuInstance, id, uuid, ...texts, parent: { group: GROUP.gpu, id: gpu.id } },
        { group: GROUP.computeInstance, id, uuid: `${uuid}/ci0`, ...texts, parent: { group: GROUP.gpuInstance, id } },
      ];
    });
  });
  const switches = Array.from({ length: board.switches }, (_, id): Entity => ({
    group: GROUP.switch, id, uuid: `nvswitch-${id}`, model: 'NVSwitch', bdf: '', driver: DRIVER,
  }));
  const links = gpus.flatMap(({ id }) => Array.from({ length: board.links }, (_, port) => linkEntity(linkId(GROUP.gpu, port, id), gpus)));
  return [...gpus, ...instances.map(([gi]) => gi), ...instances.map(([, ci]) => ci), ...switches, ...links];
}

/** A number in [0, 1) that depends on all of its arguments. */
export function noise(...parts: number[]): number {
  let hash = 0x811c9dc5;
  for (const part of parts) hash = Math.imul(hash ^ (part | 0), 0x01000193) ^ (hash >>> 15);
  return ((hash ^ (hash >>> 13)) >>> 0) / 2 ** 32;
}

/** How busy a GPU is, 0..1: a plateau with some ripple, another every five seconds. */
const busy = (gpu: number, second: number): number => 0.8 + 0.15 * noise(gpu, Math.floor(second / 5));
const MEAN_BUSY = 0.875;

/** What a healthy node shows. */
export function steadyCell(board: Board, entity: EntityRef, field: CatalogField, second: number): Cell {
  if (entity.group === GROUP.link) return linkCell(board, linkParts(entity.id).owner, field, second);
  if (entity.group === GROUP.switch) return switchCell(entity.id, field);
  const value = gpuValue(board, entity, field.id, second);
  return typeof value === 'number' ? { value } : value;
}

function gpuValue(board: Board, { group, id }: EntityRef, field: number, second: number): number | Cell {
  const gpu = group === GROUP.gpu ? id : Math.floor(id / 8);
  const load = busy(gpu, second);
  const meanW = board.idleW + (board.limitW - board.idleW) * MEAN_BUSY;
  const share = group === GROUP.gpu ? 1 : 1 / Math.max(1, board.migSlices);
  const memory = Math.floor(board.memoryMiB * share);
  const used = Math.floor(memory * (0.6 + 0.1 * noise(group, id)));
  const reserved = Math.floor(memory * 0.008);
  const unless = (has: boolean, value: number): number | Cell => (has ? value : { status: NOT_SUPPORTED });
  if (field >= 1001 && field <= 1012 && !board.datacentre) return { status: NO_PROFILING };
  if (field >= 1040 && field <= 1075) return unless((field - 1040) >> 1 < board.links, board.linkMBps * 1e6 * load);
  if (field >= 240 && field <= 247) return field === 240 ? Math.floor(second * 2e7) : 0;
  if (field >= 1420 && field <= 1424) return unless(board.datacentre, field === 1420 ? Math.floor(second * 2e7) : 0);
  switch (field) {
    case 67: return unless(board.datacentre, board.migSlices > 0 ? 1 : 0);
    case 100: return Math.floor(board.smMhz * (0.92 + 0.08 * (1 - load)));
    case 101: return board.memMhz;
    case 102: return Math.floor(board.smMhz * 0.86);
    case 112: return 0;
    case 140: return unless(board.datacentre, Math.floor(46 + 20 * load));
    case 150: return Math.floor(38 + 20 * load);
    case 155: case 157: return Math.round((board.idleW + (board.limitW - board.idleW) * load) * 1000) / 1000;
    case 156: return Math.floor(meanW * second * 1000) + 5_000_000;
    case 158: return board.slowdownC;
    case 159: return board.slowdownC + 5;
    case 160: case 164: return board.limitW;
    case 190: return 0;
    case 191: return unless(!board.datacentre, Math.floor(30 + 30 * load));
    case 200: case 201: return Math.floor(900_000 * load);
    case 202: case 206: case 207: return 0;
    case 203: return board.migSlices > 0 ? { status: NO_DATA } : Math.floor(100 * load);
    case 204: return board.migSlices > 0 ? { status: NO_DATA } : Math.floor(60 * load);
    case 230: return { status: NO_DATA };
    case 235: case 237: return board.pcieGen;
    case 236: case 238: return 16;
    case 250: return memory;
    case 251: return memory - used - reserved;
    case 252: return used;
    case 253: return reserved;
    case 254: return Math.round((used / memory) * 10_000) / 10_000;
    case 310: case 311: case 313: return unless(board.datacentre, 0);
    case 393: case 394: case 395: case 396: return unless(board.datacentre, 0);
    case 312: return unless(board.datacentre, gpu % 3);
    case 390: case 391: case 392: return { status: NOT_SUPPORTED };
    case 409: case 419: case 429: case 439: return unless(board.links > 0, 0);
    case 449: return unless(board.links > 0, Math.floor(board.links * board.linkMBps * load));
    case 1009: case 1010: return Math.floor(9e8 * load);
    case 1011: case 1012: return unless(board.links > 0, Math.floor(board.links * board.linkMBps * 1e6 * load));
    case 1091: case 1092: return unless(board.datacentre, Math.floor(9e8 * MEAN_BUSY * second));
    case 1201: case 1203: return unless(board.nvlink5, Math.floor(board.links * board.linkMBps * 1e6 * MEAN_BUSY * second));
    case 1501: case 1523: return unless(board.datacentre, 0);
    case 1006: return 0;
    default:
      if (field < 1001 || field > 1008) return { status: NOT_SUPPORTED };
      return Math.round(load * (1 - 0.1 * (field - 1001)) * 1000) / 1000;
  }
}

function linkCell(board: Board, gpu: number, { id }: CatalogField, second: number): Cell {
  if (id >= 1525 && id <= 1528) return { value: 0 };
  if (id === 1532 || id === 1533) return { value: Math.floor(board.linkMBps * 1e6 * busy(gpu, second)) };
  return { status: NOT_SUPPORTED };
}

function switchCell(index: number, { id }: CatalogField): Cell {
  const values: Readonly<Record<number, number>> =
    { 705: 52, 706: 14, 707: 9, 858: 47 + index, 859: 95, 860: 100, 861: 120_000, 862: 120_000 };
  const value = values[id];
  if (value !== undefined) return { value };
  return { status: id === 856 || id === 857 ? NO_DATA : NOT_SUPPORTED };
}
