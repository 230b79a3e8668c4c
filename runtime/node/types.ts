// SPDX-License-Identifier: Apache-2.0
// What scripts, peers and the Node host exchange (runtime/node/host.ts).
import type { Abi } from '../../scripts/lib/abi.js';
import type { Host } from './host.js';

/** One thing that a receive may yield. */
export type Step =
  | { kind: 'message'; from: bigint; bytes: Uint8Array; call: boolean; moved: number; badge: number }
  | { kind: 'notify'; bits: bigint }
  | { kind: 'timeout' };

/** What the module did between two receives. */
export interface Outcome {
  /** the reply to the call that was delivered, or null */
  reply: Uint8Array | null;
  /** handle (in the module's numbering) that moved with the reply, 0 if none */
  replyMoved: number;
  replyHandle: number;
  sent: Sent[];
  lines: string[];
}

/** A message that left the module. */
export interface Sent {
  /** peer name; empty for one of the module's own endpoints */
  to: string;
  bytes: Uint8Array;
  /** number of the module's endpoint whose SEND capability moved along (answer with host.deliver), 0 if none */
  replyEndpoint: number;
  /** peer name of a moved peer capability */
  movedPeer: string;
  /** rights of the handle that was used */
  badge: number;
}

/** A message as a peer sees it. */
export interface PeerMessage extends Sent {
  call: boolean;
  from: bigint;
  host: Host;
}

/** A peer's answer: bytes, more about it, or null (silence: a call times out). For a send only `error` counts. */
export type PeerAnswer =
  | Uint8Array
  | {
      bytes?: Uint8Array;
      /** a kernel error by name instead of an answer */
      error?: string;
      /** how long the answer takes */
      delay_ns?: bigint;
      /** hand the answer over although it came after the deadline (a kernel that forgot; for decoder tests) */
      evenIfLate?: boolean;
      /** a capability to this peer moves with the answer */
      movedPeer?: string;
      movedRights?: number;
      /** the replier's name, when it is not the peer's */
      as?: string;
    }
  | null;

export type Peer = (message: PeerMessage) => PeerAnswer;

/** The test's side: yields deliveries, gets outcomes. Use `yield* host.call(...)` and its kin. */
export type Script = Generator<Step, void, Outcome>;

/** Low and high half of a packed parameter. */
export function bigints(packed: bigint): [number, number] {
  const raw = BigInt.asUintN(64, packed);
  return [Number(raw & 0xffffffffn), Number(raw >> 32n)];
}

/** Kernel error by name as the i64 result. */
export function hostErrors(abi: Abi): (name: string) => bigint {
  const numbers = new Map(abi.errors.map(({ name, number }) => [name, -BigInt(number)]));
  return (name) => {
    const found = numbers.get(name);
    if (found === undefined) throw new Error(`no kernel error is called ${name}`);
    return found;
  };
}
