// SPDX-License-Identifier: Apache-2.0
// The disk that loses its power: an NBD server over a private unix socket, for power cuts and disk errors (docs/power-cuts.md).
export type { Device, DiskRequest, DiskRequestKind, Respond } from './device.js';
export { FaultyDisk, MOMENTS, type DiskCounters, type Moment, type Plan } from './faulty-disk.js';
export { faultsOnDemand } from './on-demand.js';
export { startNbd, type NbdServer } from './server.js';
export { CUT_MODES, VolatileDisk, type Below, type CutMode, type CutReport } from './volatile-disk.js';
