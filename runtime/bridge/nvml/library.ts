// SPDX-License-Identifier: Apache-2.0
// Owns: libnvidia-ml as this process sees it, and its return codes in DCGM's numbers, which the guest knows.
// Invariant: only a supervised process loads it; a function that this driver lacks answers "function not found", it does not fail the
// load. Limits: nvml.h of driver 450 and newer; devices are opaque pointers.
import koffi from 'koffi';

export const NVML_SONAME = 'libnvidia-ml.so.1';

/** Every function used, with its arguments; `dev` is an nvmlDevice_t. All return an nvmlReturn_t. */
const FUNCTIONS = {
  nvmlInit_v2: [],
  nvmlShutdown: [],
  nvmlSystemGetDriverVersion: ['text', 'uint32_t'],
  nvmlSystemGetNVMLVersion: ['text', 'uint32_t'],
  nvmlDeviceGetCount_v2: ['out'],
  nvmlDeviceGetHandleByIndex_v2: ['uint32_t', 'out'],
  nvmlDeviceGetName: ['dev', 'text', 'uint32_t'],
  nvmlDeviceGetUUID: ['dev', 'text', 'uint32_t'],
  nvmlDeviceGetPciInfo_v3: ['dev', 'out'],
  nvmlDeviceGetTemperature: ['dev', 'uint32_t', 'out'],
  nvmlDeviceGetTemperatureThreshold: ['dev', 'uint32_t', 'out'],
  nvmlDeviceGetPowerUsage: ['dev', 'out'],
  nvmlDeviceGetPowerManagementLimit: ['dev', 'out'],
  nvmlDeviceGetEnforcedPowerLimit: ['dev', 'out'],
  nvmlDeviceGetTotalEnergyConsumption: ['dev', 'out'],
  nvmlDeviceGetUtilizationRates: ['dev', 'out'],
  nvmlDeviceGetEncoderUtilization: ['dev', 'out', 'out'],
  nvmlDeviceGetDecoderUtilization: ['dev', 'out', 'out'],
  nvmlDeviceGetMemoryInfo: ['dev', 'out'],
  nvmlDeviceGetClockInfo: ['dev', 'uint32_t', 'out'],
  nvmlDeviceGetCurrentClocksThrottleReasons: ['dev', 'out'],
  nvmlDeviceGetPerformanceState: ['dev', 'out'],
  nvmlDeviceGetFanSpeed: ['dev', 'out'],
  nvmlDeviceGetPcieThroughput: ['dev', 'uint32_t', 'out'],
  nvmlDeviceGetPcieReplayCounter: ['dev', 'out'],
  nvmlDeviceGetMaxPcieLinkGeneration: ['dev', 'out'],
  nvmlDeviceGetMaxPcieLinkWidth: ['dev', 'out'],
  nvmlDeviceGetCurrPcieLinkGeneration: ['dev', 'out'],
  nvmlDeviceGetCurrPcieLinkWidth: ['dev', 'out'],
  nvmlDeviceGetTotalEccErrors: ['dev', 'uint32_t', 'uint32_t', 'out'],
  nvmlDeviceGetRemappedRows: ['dev', 'out', 'out', 'out', 'out'],
  nvmlDeviceGetMigMode: ['dev', 'out', 'out'],
  nvmlDeviceGetFieldValues: ['dev', 'int', 'out'],
  nvmlDeviceGetHandleByUUID: ['text', 'out'],
  nvmlDeviceGetDeviceHandleFromMigDeviceHandle: ['dev', 'out'],
  nvmlDeviceGetGpuInstanceId: ['dev', 'out'],
  nvmlDeviceGetComputeInstanceId: ['dev', 'out'],
} as const satisfies Record<string, readonly string[]>;

export type NvmlFunction = keyof typeof FUNCTIONS;
type Native = ReturnType<ReturnType<typeof koffi.load>['func']>;
const C_TYPES: Readonly<Record<string, string>> = { dev: 'uintptr_t', out: 'void *', text: 'void *' };

/** nvmlReturn_t in DCGM's codes: what the guest's table of statuses knows. */
const AS_DCGM: Readonly<Record<number, number>> = {
  0: 0, 1: -10, 2: -1, 3: -6, 4: -17, 6: -5, 7: -31, 8: -8, 9: -56, 10: -57, 12: -56, 13: -20, 15: -18,
  16: -19, 17: -3, 18: -44, 19: -34, 20: -4, 21: -14,
};
const FUNCTION_NOT_FOUND = 13;

/** The DCGM code that says the same as an NVML one; unknown codes are generic errors. */
export const asDcgm = (code: number): number => AS_DCGM[code] ?? -3;

export class NvmlLibrary {
  private readonly functions = new Map<NvmlFunction, Native>();

  private constructor(readonly path: string, handle: ReturnType<typeof koffi.load>) {
    for (const [name, args] of Object.entries(FUNCTIONS)) {
      try {
        this.functions.set(name as NvmlFunction, handle.func(name, 'int32_t', args.map((arg) => C_TYPES[arg] ?? arg)));
      } catch (error) {
        if (name === 'nvmlInit_v2') throw error;
      }
    }
  }

  /** Loads `path`, or the driver's soname. Throws Error. */
  static open(path = NVML_SONAME): NvmlLibrary { return new NvmlLibrary(path, koffi.load(path)); }

  /** Calls on another thread; resolves with the nvmlReturn_t. Buffers among `args` must live until then. */
  call(name: NvmlFunction, ...args: unknown[]): Promise<number> {
    const native = this.functions.get(name);
    if (native === undefined) return Promise.resolve(FUNCTION_NOT_FOUND);
    return new Promise((resolve, reject) => {
      native.async(...args, (error: Error | null, code: number) => {
        if (error === null || error === undefined) resolve(code);
        else reject(error);
      });
    });
  }
}
