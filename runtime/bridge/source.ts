// SPDX-License-Identifier: Apache-2.0
// Owns: what a source of GPU samples is to the bridge: the seven client methods (seed 000) without framing.
// Invariant: values, types, statuses and times are DCGM's own, unscaled; whoever reads decides what a blank means.
// Limits: entities and fields are bounded by abi/bridge.toml; the dialogue pages them.

/** An entity's address: DCGM's entity group and id. */
export interface EntityRef { readonly group: number; readonly id: number }

/**
 * An entity as the source names it. Text fields hold at most limits.text_bytes_max printable ASCII bytes; `uuid` is never empty
 * and holds no blank and no `=` (the guest makes a label of it). `parent` names the GPU of an instance, the GPU instance of a
 * compute instance, the GPU or switch of a link.
 */
export interface Entity extends EntityRef {
  readonly uuid: string; readonly model: string; readonly bdf: string; readonly driver: string; readonly parent?: EntityRef;
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

/** What is to be kept fresh; no entities means all. */
export interface WatchRequest {
  readonly updateUs: bigint; readonly keepS: number; readonly fieldIds: readonly number[]; readonly entities: readonly EntityRef[];
}

/** A result now, or later (a source whose library runs elsewhere or blocks). */
export type Maybe<T> = T | Promise<T>;

/** The seven client methods. Every method may throw SourceError or reject with it. One connection at a time uses a source. */
export interface Source {
  /** Row of [[source]] in abi/bridge.toml. */
  readonly label: string;
  connect(): Maybe<void>;
  startEmbedded(): Maybe<void>;
  enumerate(): Maybe<readonly Entity[]>;
  /** Returns an id for latestValues. */
  watch(request: WatchRequest): Maybe<number>;
  /** Newest samples of a watch in the order entity, field. `wallNs` is the time that replay rebases to. */
  latestValues(watchId: number, wallNs: bigint): Maybe<readonly Sample[]>;
  version(): Maybe<string>;
  /** Ends the session; idempotent. */
  close(): Maybe<void>;
}
