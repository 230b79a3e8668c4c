// SPDX-License-Identifier: Apache-2.0
// Owns: which of DCGM's fields NVML can answer, and how. Invariant: a reader gives the value in the DCGM field's own unit and type, so
// that what reads it need not know the source; what NVML does not offer is not made up. Limits: device level alone: no MIG instances, no
// NVSwitch, no profiling counters; XIDs are events in NVML and are left out. PCIe throughput is left out: each question takes 20 ms.
import type { NvmlFunction, NvmlLibrary } from './library.js';

/** A reading: an nvmlReturn_t and the value, which counts only with code 0. */
export interface Reading { readonly code: number; readonly value: bigint | number }
export type Reader = (nvml: NvmlLibrary, device: bigint) => Promise<Reading>;

type Take = (out: Buffer) => bigint | number;
const u32 = (at = 0): Take => (out) => BigInt(out.readUInt32LE(at));
const u64 = (at = 0): Take => (out) => out.readBigUInt64LE(at);

/** Function with one structure of `bytes` behind its leading arguments. */
function single(name: NvmlFunction, bytes: number, take: Take, ...leading: number[]): Reader {
  return async (nvml, device) => {
    const out = Buffer.alloc(bytes);
    const code = await nvml.call(name, device, ...leading, out);
    return { code, value: code === 0 ? take(out) : 0 };
  };
}

/** Function with `count` u32 results, of which one is taken. */
function oneOf(name: NvmlFunction, count: number, index: number): Reader {
  return async (nvml, device) => {
    const outs = Array.from({ length: count }, () => Buffer.alloc(4));
    const code = await nvml.call(name, device, ...outs);
    return { code, value: code === 0 ? BigInt(outs[index]!.readUInt32LE(0)) : 0 };
  };
}

/** nvmlFieldValue_t: id u32, scope u32, time i64, latency i64, value type u32 (1 is u32), return u32, value 8 bytes. */
function fieldValue(id: number): Reader {
  return async (nvml, device) => {
    const out = Buffer.alloc(40);
    out.writeUInt32LE(id, 0);
    const code = await nvml.call('nvmlDeviceGetFieldValues', device, 1, out);
    const own = code === 0 ? out.readUInt32LE(28) : code;
    if (own !== 0) return { code: own, value: 0 };
    return out.readUInt32LE(24) === 1 ? { code: 0, value: BigInt(out.readUInt32LE(32)) } : { code: 3, value: 0 };
  };
}

const MILLI = 1000;
const watts: Take = (out) => out.readUInt32LE(0) / MILLI;
const mebibytes = (at: number): Take => (out) => out.readBigUInt64LE(at) >> 20n;
const MEMORY_TEMPERATURE = 82;

/** By DCGM field id. */
export const READERS: ReadonlyMap<number, Reader> = new Map<number, Reader>([
  [67, oneOf('nvmlDeviceGetMigMode', 2, 0)],
  [100, single('nvmlDeviceGetClockInfo', 4, u32(), 1)],
  [101, single('nvmlDeviceGetClockInfo', 4, u32(), 2)],
  [102, single('nvmlDeviceGetClockInfo', 4, u32(), 3)],
  [112, single('nvmlDeviceGetCurrentClocksThrottleReasons', 8, u64())],
  [140, fieldValue(MEMORY_TEMPERATURE)],
  [150, single('nvmlDeviceGetTemperature', 4, u32(), 0)],
  [155, single('nvmlDeviceGetPowerUsage', 4, watts)],
  [156, single('nvmlDeviceGetTotalEnergyConsumption', 8, u64())],
  [158, single('nvmlDeviceGetTemperatureThreshold', 4, u32(), 1)],
  [159, single('nvmlDeviceGetTemperatureThreshold', 4, u32(), 0)],
  [160, single('nvmlDeviceGetPowerManagementLimit', 4, watts)],
  [164, single('nvmlDeviceGetEnforcedPowerLimit', 4, watts)],
  [190, single('nvmlDeviceGetPerformanceState', 4, u32())],
  [191, single('nvmlDeviceGetFanSpeed', 4, u32())],
  [202, single('nvmlDeviceGetPcieReplayCounter', 4, u32())],
  [203, single('nvmlDeviceGetUtilizationRates', 8, u32(0))],
  [204, single('nvmlDeviceGetUtilizationRates', 8, u32(4))],
  [206, oneOf('nvmlDeviceGetEncoderUtilization', 2, 0)],
  [207, oneOf('nvmlDeviceGetDecoderUtilization', 2, 0)],
  [235, single('nvmlDeviceGetMaxPcieLinkGeneration', 4, u32())],
  [236, single('nvmlDeviceGetMaxPcieLinkWidth', 4, u32())],
  [237, single('nvmlDeviceGetCurrPcieLinkGeneration', 4, u32())],
  [238, single('nvmlDeviceGetCurrPcieLinkWidth', 4, u32())],
  [250, single('nvmlDeviceGetMemoryInfo', 24, mebibytes(0))],
  [251, single('nvmlDeviceGetMemoryInfo', 24, mebibytes(8))],
  [252, single('nvmlDeviceGetMemoryInfo', 24, mebibytes(16))],
  [310, single('nvmlDeviceGetTotalEccErrors', 8, u64(), 0, 0)],
  [311, single('nvmlDeviceGetTotalEccErrors', 8, u64(), 1, 0)],
  [312, single('nvmlDeviceGetTotalEccErrors', 8, u64(), 0, 1)],
  [313, single('nvmlDeviceGetTotalEccErrors', 8, u64(), 1, 1)],
  [393, oneOf('nvmlDeviceGetRemappedRows', 4, 1)],
  [394, oneOf('nvmlDeviceGetRemappedRows', 4, 0)],
  [395, oneOf('nvmlDeviceGetRemappedRows', 4, 3)],
  [396, oneOf('nvmlDeviceGetRemappedRows', 4, 2)],
]);
