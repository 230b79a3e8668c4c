// SPDX-License-Identifier: Apache-2.0
// What an NBD connection serves. Invariant: a request that is handed to a device lies inside it and is whole; the device answers it once,
// later, or never (a disk that has lost its power says nothing more).

export type DiskRequestKind = 'read' | 'write' | 'flush';

export interface DiskRequest {
  kind: DiskRequestKind;
  /** bytes; 0 for a flush */
  offset: number;
  length: number;
  /** of a write; empty otherwise */
  data: Buffer;
}

/** @param error a number of ERROR in protocol.ts @param data of a read that succeeded */
export type Respond = (error: number, data?: Buffer) => void;

export interface Device {
  readonly bytes: number;
  readonly readOnly: boolean;
  /** whether the device offers FLUSH */
  readonly flush: boolean;
  request(request: DiskRequest, respond: Respond): void;
}
