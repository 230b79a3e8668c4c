// SPDX-License-Identifier: Apache-2.0
// Owns: libdcgm as this process sees it: found by its soname, its functions declared once, called without blocking the event loop.
// Invariant: only a supervised process loads it (library/child.ts): a fault in it must cost a reconnect and nothing else.
// Limits: one library a process, never unloaded; the stack of a call is 8 MiB (the MIG hierarchy alone takes 73 KB of it).
import koffi from 'koffi';

/** Sonames, the newest first. */
export const SONAMES = ['libdcgm.so.4', 'libdcgm.so.3'] as const;
const STACK_BYTES = 8 << 20;
let stackSet = false;

/** Every function used, with its arguments (dcgm_agent.h); all return int32. */
const FUNCTIONS = {
  dcgmInit: [],
  dcgmShutdown: [],
  dcgmConnect_v2: ['const char *', 'void *', 'void *'],
  dcgmDisconnect: ['uintptr_t'],
  dcgmStartEmbedded_v2: ['void *'],
  dcgmStopEmbedded: ['uintptr_t'],
  dcgmVersionInfo: ['void *'],
  dcgmHostengineVersionInfo: ['uintptr_t', 'void *'],
  dcgmGetEntityGroupEntities: ['uintptr_t', 'uint32_t', 'void *', 'void *', 'uint32_t'],
  dcgmGetDeviceAttributes: ['uintptr_t', 'uint32_t', 'void *'],
  dcgmGetGpuInstanceHierarchy: ['uintptr_t', 'void *'],
  dcgmGroupCreate: ['uintptr_t', 'uint32_t', 'const char *', 'void *'],
  dcgmGroupAddEntity: ['uintptr_t', 'uintptr_t', 'uint32_t', 'uint32_t'],
  dcgmGroupDestroy: ['uintptr_t', 'uintptr_t'],
  dcgmFieldGroupCreate: ['uintptr_t', 'int', 'void *', 'const char *', 'void *'],
  dcgmFieldGroupDestroy: ['uintptr_t', 'uintptr_t'],
  dcgmWatchFields: ['uintptr_t', 'uintptr_t', 'uintptr_t', 'int64_t', 'double', 'int'],
  dcgmUpdateAllFields: ['uintptr_t', 'int'],
  dcgmEntitiesGetLatestValues: ['uintptr_t', 'void *', 'uint32_t', 'void *', 'uint32_t', 'uint32_t', 'void *'],
} as const satisfies Record<string, readonly string[]>;

export type DcgmFunction = keyof typeof FUNCTIONS;
type Native = ReturnType<ReturnType<typeof koffi.load>['func']>;

/** A loaded libdcgm. */
export class DcgmLibrary {
  private readonly functions = new Map<DcgmFunction, Native>();
  private readonly fieldById: Native;

  private constructor(readonly path: string, handle: ReturnType<typeof koffi.load>) {
    for (const [name, args] of Object.entries(FUNCTIONS)) {
      this.functions.set(name as DcgmFunction, handle.func(name, 'int32_t', [...args]));
    }
    this.fieldById = handle.func('DcgmFieldGetById', 'void *', ['uint16_t']);
  }

  /** Loads `path`, or the first soname that is there. Throws Error that names each one tried. */
  static open(path: string | undefined): DcgmLibrary {
    if (!stackSet) koffi.config({ async_stack_size: STACK_BYTES });
    stackSet = true;
    const failures: string[] = [];
    for (const name of path === undefined ? SONAMES : [path]) {
      try {
        return new DcgmLibrary(name, koffi.load(name));
      } catch (error) {
        failures.push(`${name}: ${(error as Error).message.split('\n')[0]}`);
      }
    }
    throw new Error(failures.join('; '));
  }

  /** Calls on another thread; resolves with the return code. Buffers among `args` must live until then. */
  call(name: DcgmFunction, ...args: unknown[]): Promise<number> {
    return new Promise((resolve, reject) => {
      this.functions.get(name)!.async(...args, (error: Error | null, code: number) => {
        if (error === null || error === undefined) resolve(code);
        else reject(error);
      });
    });
  }

  /** Ends a connection at once, from this thread: whoever waits for the engine returns with -21. */
  disconnectNow(handle: bigint): number { return this.functions.get('dcgmDisconnect')!(handle) as number; }

  /** True when the library knows the field id (after dcgmInit). */
  knowsField(id: number): boolean { return this.fieldById(id) !== null; }
}
