// SPDX-License-Identifier: Apache-2.0
// Owns: what each of DCGM's return codes means to us: a name for people, and the status that the guest gets.
// Invariant: an unknown code is never a success; it is `connection_lost`, so that the guest starts over.
// Limits: dcgm_structs.h up to 4.6; codes that no call of ours returns are left out.

export interface Return { readonly name: string; readonly status: string }

const RETURNS: Readonly<Record<number, Return>> = {
  [-1]: { name: 'bad parameter', status: 'bad_request' },
  [-3]: { name: 'generic error', status: 'connection_lost' },
  [-4]: { name: 'out of memory', status: 'connection_lost' },
  [-5]: { name: 'not configured', status: 'entity_not_found' },
  [-6]: { name: 'not supported', status: 'field_not_supported' },
  [-7]: { name: 'initialisation failed', status: 'unavailable' },
  [-8]: { name: 'NVML error', status: 'unavailable' },
  [-9]: { name: 'pending', status: 'unavailable' },
  [-10]: { name: 'not initialised', status: 'not_connected' },
  [-11]: { name: 'timeout', status: 'connection_lost' },
  [-12]: { name: 'version mismatch', status: 'insufficient_driver' },
  [-13]: { name: 'unknown field', status: 'field_not_supported' },
  [-14]: { name: 'no data', status: 'unavailable' },
  [-15]: { name: 'stale data', status: 'unavailable' },
  [-16]: { name: 'not watched', status: 'not_connected' },
  [-17]: { name: 'no permission', status: 'permission_denied' },
  [-18]: { name: 'GPU lost', status: 'entity_not_found' },
  [-19]: { name: 'reset required', status: 'entity_not_found' },
  [-20]: { name: 'function not found', status: 'field_not_supported' },
  [-21]: { name: 'connection not valid', status: 'connection_lost' },
  [-22]: { name: 'GPU not supported', status: 'entity_not_found' },
  [-23]: { name: 'group incompatible', status: 'entity_not_found' },
  [-24]: { name: 'limit reached', status: 'over_limit' },
  [-25]: { name: 'library not found', status: 'unavailable' },
  [-26]: { name: 'duplicate key', status: 'already_connected' },
  [-29]: { name: 'needs root', status: 'permission_denied' },
  [-31]: { name: 'buffer too small', status: 'over_limit' },
  [-32]: { name: 'field of another kind', status: 'field_not_supported' },
  [-33]: { name: 'module not loaded', status: 'field_not_supported' },
  [-34]: { name: 'in use by another tool', status: 'field_not_supported' },
  [-35]: { name: 'group empty', status: 'entity_not_found' },
  [-36]: { name: 'profiling not supported', status: 'field_not_supported' },
  [-37]: { name: 'profiling library error', status: 'field_not_supported' },
  [-38]: { name: 'fields need several passes', status: 'field_not_supported' },
  [-44]: { name: 'driver too old', status: 'insufficient_driver' },
  [-45]: { name: 'GPU instance not found', status: 'entity_not_found' },
  [-46]: { name: 'compute instance not found', status: 'entity_not_found' },
  [-49]: { name: 'no resources', status: 'over_limit' },
  [-54]: { name: 'paused', status: 'unavailable' },
  [-55]: { name: 'already initialised', status: 'already_connected' },
  [-56]: { name: 'NVML not loaded', status: 'unavailable' },
  [-57]: { name: 'driver timeout', status: 'unavailable' },
  [-67]: { name: 'GPUs detached', status: 'unavailable' },
};

export const DCGM_NO_DATA = -14;
export const DCGM_NOT_SUPPORTED = -6;
export const DCGM_UNKNOWN_FIELD = -13;
export const DCGM_NO_PERMISSION = -17;
export const DCGM_OTHER_KIND = -32;
export const DCGM_DUPLICATE_KEY = -26;
export const DCGM_BAD_PARAMETER = -1;

/** What a code means. */
export const returnOf = (code: number): Return => RETURNS[code] ?? { name: `code ${code}`, status: 'connection_lost' };
/** `NAME (CODE)`. */
export const codeText = (code: number): string => `${returnOf(code).name} (${code})`;
/** The session is void: the engine is gone, or does not answer, or forgot us. */
export const voidsSession = (code: number): boolean => code === -10 || code === -11 || code === -21;
/** An instance or a board that is no longer there: enumerate anew. */
export const isGone = (code: number): boolean => code === -5 || code === -45 || code === -46;
/** All codes, for tests. */
export const knownCodes = (): number[] => Object.keys(RETURNS).map(Number);
