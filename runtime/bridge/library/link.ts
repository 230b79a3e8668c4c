// SPDX-License-Identifier: Apache-2.0
// Owns: what bridge and library process say to each other: the frames of docs/format/bridge.md, on one socket pair, descriptor 3 of
// the child. Requests and replies are the guest's own; beside them the child tells its state, in a frame of a type the guest never sees.
// Invariant: a state frame has nonce 0 and type STATE_TYPE. Limits: name and detail together one payload.
import type { SourceState } from '../answerer.js';
import type { Frame } from '../codec.js';
import { cleanText } from '../text.js';

/** Descriptor of the socket pair in the child. */
export const LINK_FD = 3;
/** No request and no reply of abi/bridge.toml has this type. */
export const STATE_TYPE = 0x7f;

/** How a library process is told what to hold: the one argument of child.ts, as JSON. */
export interface ChildConfig {
  readonly source: 'dcgm' | 'nvml';
  /** dcgm alone: `host:port` or `unix:///path`, and whether the engine is in the process itself. */
  readonly endpoint?: string; readonly mode?: 'standalone' | 'embedded';
  /** Path of the library instead of its sonames. */
  readonly library?: string;
}

export function stateFrame(state: SourceState): Frame {
  const payload = Buffer.from(`${state.name} ${state.detail.replace(/[^\x20-\x7e]/g, '?').slice(0, 500)}`, 'ascii');
  return { type: STATE_TYPE, nonce: 0, wallNs: 0n, monoNs: 0n, payload };
}

export function readState(frame: Frame): SourceState {
  const text = frame.payload.toString('latin1');
  const end = text.indexOf(' ');
  return { name: cleanText(end < 0 ? text : text.slice(0, end)), detail: end < 0 ? '' : text.slice(end + 1) };
}
