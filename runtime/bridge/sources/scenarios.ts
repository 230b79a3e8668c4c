// SPDX-License-Identifier: Apache-2.0
// Owns: what goes wrong on a scripted node, and when: each scenario changes some cells of the healthy node, or its entities, or its engine.
// Invariant: a function of the second alone; everything is well for the first ONSET_S seconds; counters never fall.
// Limits: one victim a scenario. The shapes follow docs/gpu/scenarios.md, which says what each stands for.
import { GROUP, type CatalogField } from '../catalog.js';
import { linkParts } from '../dcgm/layout.js';
import type { EntityRef } from '../source.js';
import type { Board, Cell } from './fleets.js';

/** Seconds until a scenario begins. */
export const ONSET_S = 20;

/** How a scenario departs from the healthy node. `since` is the seconds since its onset, at least 0. */
export interface Scenario {
  readonly brief: string;
  /** Null when this board can have it; otherwise why not. */
  refuses?(board: Board): string | null;
  /** The cell instead of the healthy one; undefined leaves it. `atS`: the second that the value dates from, since the onset. */
  cell?(board: Board, entity: EntityRef, field: CatalogField, since: number, healthy: Cell): (Cell & { readonly atS?: number }) | undefined;
  down?(since: number): boolean;
  /** A GPU that is no longer listed. */
  missingGpu?(board: Board, since: number): number | null;
  /** Slices of each MIG instance on the first GPU. */
  slicesOfGpu0?(since: number): number;
}

const LOST = -18;
const victim = (board: Board, wanted: number): number => Math.min(wanted, board.gpus - 1);
/** True for a GPU and what belongs to it. */
export function ofGpu({ group, id }: EntityRef, gpu: number): boolean {
  if (group === GROUP.gpu) return id === gpu;
  if (group === GROUP.link) return linkParts(id).owner === gpu;
  return group !== GROUP.switch && Math.floor(id / 8) === gpu;
}
const plus = (healthy: Cell, more: number): Cell => ('value' in healthy ? { value: healthy.value + Math.floor(more) } : healthy);
const times = (healthy: Cell, factor: number): Cell => ('value' in healthy ? { value: Math.floor(healthy.value * factor) } : healthy);
const needs = (has: boolean, what: string): string | null => (has ? null : `this node has no ${what}`);

const DEGRADED_LINK = 5;
/** Errors of the failing link a second, by link field and by the GPU's total: CRC flit, CRC data, replay, recovery. */
const LINK_ERRORS_S: Readonly<Record<number, number>> = { 1525: 40, 1526: 3, 1527: 4, 1528: 0.2, 409: 40, 419: 3, 429: 4, 439: 0.2 };

export const SCENARIOS = {
  'steady': { brief: 'nothing goes wrong' },
  'nvlink-degradation': {
    brief: 'one link of GPU 2 counts errors and loses its rate over a minute',
    refuses: (board) => needs(board.links > 0, 'NVLink'),
    cell: (board, entity, { id }, since, healthy) => {
      const gpu = victim(board, 2);
      if (!ofGpu(entity, gpu) || (entity.group === GROUP.link && linkParts(entity.id).port !== DEGRADED_LINK)) return undefined;
      const rate = LINK_ERRORS_S[id];
      if (rate !== undefined) return plus(healthy, rate * since);
      const lane = id >= 1040 && id <= 1075 && (id - 1040) >> 1 === DEGRADED_LINK;
      return lane || id === 1532 || id === 1533 ? times(healthy, Math.max(0.05, 1 - since / 60)) : undefined;
    },
  },
  'hbm-ecc': {
    brief: 'corrected memory errors on GPU 3, then an uncorrected one after 40 s: XID 63, a row remap waits for a reset',
    refuses: (board) => needs(board.datacentre, 'ECC'),
    cell: (board, entity, { id }, since, healthy) => {
      if (entity.group !== GROUP.gpu || entity.id !== victim(board, 3)) return undefined;
      if (id === 310 || id === 312) return plus(healthy, 2 * since);
      if (since < 40) return undefined;
      if (id === 230) return { value: 63, atS: 40 };
      return [311, 313, 393, 396, 1523].includes(id) ? plus(healthy, 1) : undefined;
    },
  },
  'thermal-throttle': {
    brief: 'GPU 1 warms to its slowdown threshold within half a minute and clocks down',
    cell: (board, entity, { id }, since, healthy) => {
      if (entity.group !== GROUP.gpu || entity.id !== victim(board, 1)) return undefined;
      const hot = since >= 30;
      const rise = Math.min(1, since / 30);
      if (id === 150 && 'value' in healthy) return { value: Math.floor(healthy.value + (board.slowdownC - healthy.value) * rise) };
      if (id === 140) return plus(healthy, 25 * rise);
      if (!hot) return undefined;
      if (id === 100 || id === 155 || id === 157) return times(healthy, 0.6);
      if (id === 112) return { value: 0x60 };
      return id === 241 || id === 1422 || id === 1423 ? plus(healthy, (since - 30) * 4e8) : undefined;
    },
  },
  'pcie-errors': {
    brief: 'GPU 4 replays on PCIe; the link falls to generation 3 after 40 s and to eight lanes after 70 s',
    cell: (board, entity, { id }, since, healthy) => {
      if (entity.group !== GROUP.gpu || entity.id !== victim(board, 4)) return undefined;
      if (id === 202) return plus(healthy, 3 * since);
      if (id === 1501) return plus(healthy, 10 * since);
      if (id === 237 && since >= 40) return { value: 3 };
      return id === 238 && since >= 70 ? { value: 8 } : undefined;
    },
  },
  'xid': {
    brief: 'GPU 0 reports XID 31, after 30 s 13, after 60 s 43, after 90 s 43 again',
    cell: (_board, entity, { id }, since) => {
      if (entity.group !== GROUP.gpu || entity.id !== 0 || id !== 230) return undefined;
      return since < 30 ? { value: 31, atS: 0 } : since < 60 ? { value: 13, atS: 30 } : { value: 43, atS: since < 90 ? 60 : 90 };
    },
  },
  'gpu-lost': {
    brief: 'the last GPU reports XID 79, is lost after 2 s, and is no longer listed after 40 s',
    refuses: (board) => needs(board.gpus > 1, 'second GPU'),
    cell: (board, entity, { id }, since) => {
      if (!ofGpu(entity, board.gpus - 1)) return undefined;
      if (since >= 2) return { status: LOST };
      return id === 230 ? { value: 79, atS: 0 } : undefined;
    },
    missingGpu: (board, since) => (since >= 40 ? board.gpus - 1 : null),
  },
  'mig-reconfigured': {
    brief: 'the first GPU is split into instances of two slices instead of one',
    refuses: (board) => needs(board.migSlices > 0, 'MIG'),
    slicesOfGpu0: () => 2,
  },
  'engine-restart': {
    brief: 'the engine is away for six seconds, every minute',
    down: (since) => since % 60 < 6,
  },
} as const satisfies Record<string, Scenario>;
export type ScenarioName = keyof typeof SCENARIOS;
