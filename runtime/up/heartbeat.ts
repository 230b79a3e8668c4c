// SPDX-License-Identifier: Apache-2.0
// Owns: the heartbeat: `status` on the control port, asked of portd, which asks samgrd for every service of the image.
// Invariant: an answer that does not decode is no answer. A service counts as dead when samgrd knows it and its endpoint is gone.
// Limits: SERVICES_MAX names a question (docs/format/control.md).
import { ControlProtocol, type GuestStatus } from '../bridge/control.js';
import { typeCode } from '../bridge/protocol.js';
import { loadServices } from '../../scripts/lib/services.js';
import type { ControlLine } from './control-line.js';

const SERVICES_MAX = 32;
/** selftest ends by itself when there is nothing to prove. */
const ENDS = new Set(['selftest']);

/** The services that must live for as long as the machine runs: what init-lite starts, without fixtures. */
export function lastingServices(root: string): string[] {
  const names = loadServices(root).filter(({ exec, fixture, index, name }) => !exec && !fixture && index > 0 && !ENDS.has(name));
  return names.map(({ name }) => name).slice(0, SERVICES_MAX);
}

/** Asks once, before whatever else waits. Rejects when there is no answer. */
export async function askStatus(line: ControlLine, names: readonly string[]): Promise<GuestStatus> {
  const payload = await line.ask(typeCode('status'), ControlProtocol.encodeStatus(names), true);
  return ControlProtocol.decodeStatus(payload, names);
}

/** The first dead service; null when none is. */
export const firstDead = ({ services }: GuestStatus): string | null => services.find(({ dead }) => dead)?.name ?? null;
