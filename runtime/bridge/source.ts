// SPDX-License-Identifier: Apache-2.0
// Owns: what a source of GPU samples is to the server: the seven client methods (seed 000) without framing.
// Invariant: values, types, statuses and times are DCGM's own, unscaled; whoever reads decides what a blank means.
// Limits: entities and fields are bounded by abi/bridge.toml; the server pages them.

/** An entity as the source names it. Text fields hold at most limits.text_bytes_max ASCII bytes. */
export interface Entity {
  readonly group: number; readonly id: number; readonly uuid: string; readonly model: string; readonly bdf: string;
  readonly driver: string;
}

/** One raw sample. `status` is DCGM's return code (0 ok, -14 no data, ...); `tsUs` is host wall time in microseconds. */
export interface Sample {
  readonly group: number; readonly entityId: number; readonly fieldId: number; readonly type: number;
  readonly status: number; readonly tsUs: bigint; readonly value: bigint | number;
}

/** A refusal with a status name of abi/bridge.toml. */
export class SourceError extends Error {
  constructor(readonly status: string, message: string) { super(message); }
}

/** Identity of a watched cell. */
export interface WatchRequest {
  readonly updateUs: bigint; readonly keepS: number; readonly fieldIds: readonly number[];
  readonly entities: readonly { readonly group: number; readonly id: number }[];
}

/** The seven client methods. Every method may throw SourceError. One connection at a time uses a source. */
export interface Source {
  /** Row of [[source]] in abi/bridge.toml. */
  readonly label: string;
  connect(): void;
  startEmbedded(): void;
  enumerate(): readonly Entity[];
  /** Returns an id for latestValues. */
  watch(request: WatchRequest): number;
  /** Newest samples of a watch in the order entity, field. `wallNs` is the time that replay rebases to. */
  latestValues(watchId: number, wallNs: bigint): readonly Sample[];
  version(): string;
  close(): void;
}
