// SPDX-License-Identifier: Apache-2.0
// What scripts, peers and the Node host exchange (runtime/node/host.ts).
import { fnv1a64, type Abi } from '../../scripts/lib/abi.js';
import type { Host } from './host.js';
import type { Program } from './program.js';

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

/** What a test chooses about the world of one module. Everything has a default. */
export interface HostOptions {
  /** the service's own name: console prefix and sender id */
  name: string;
  /** prefix of its console lines, when it is not the name */
  console?: string;
  /** the module's bytes (compiled once for as long as the array lives), or a Program that several hosts share */
  wasm: Uint8Array | Program;
  now_ns?: bigint;
  /** key=value of the kernel's command line */
  bootArgs?: Record<string, string>;
  /** bundle files by name */
  files?: Record<string, Uint8Array>;
  /** bundle services by name */
  services?: Record<string, Uint8Array>;
  /** peer by name: who stands behind the fixed slots and what samgrd hands out */
  peers?: Record<string, Peer>;
  /** slot name -> peer name, beside the fixed ones of abi/slots.toml (which map to the peer of the same name) */
  slots?: Record<string, string>;
  /** kernel counters by name; own_generation defaults to 1 */
  counters?: Record<string, bigint>;
  /** system calls to replace: raw wasm-level arguments in, result out */
  sys?: Record<string, (host: Host, ...args: (number | bigint)[]) => bigint>;
  /** number of the mutant (mutant flavour only) */
  mutant?: number;
  /** ns added at each time_ns; 0: the clock stands still */
  clockStep_ns?: bigint;
  /** sees each reply at the moment it leaves, before the module goes on (a script sees it at the next receive) */
  onReply?: (reply: number, bytes: Uint8Array) => void;
}

/** What a delivery may carry beside its bytes: a moved handle, and the rights of the handle the sender used. */
export interface Extras {
  moved?: number;
  badge?: number;
}
/** A message as a script step. */
export function message(from: string | bigint, bytes: Uint8Array, call: boolean, { moved = 0, badge = 1 }: Extras): Step {
  return { kind: 'message', from: senderId(from), bytes, call, moved, badge };
}

/** Id of a service by name, as the kernel stamps it (0 for the kernel); an id passes through. */
export function senderId(from: string | bigint): bigint {
  if (typeof from === 'bigint') return from;
  const known = ids.get(from);
  if (known !== undefined) return known;
  const id = from === 'kernel' ? 0n : fnv1a64(from);
  ids.set(from, id);
  return id;
}
const ids = new Map<string, bigint>();
