// SPDX-License-Identifier: Apache-2.0
// Prints a boot as plain lines while it runs. Invariant: in legacy, every line carries `legacy (debug only)` first.
// The switch is exhaustive: an event without a line does not compile.
import type { Transport } from '../../boot/machines.js';
import { guestTime, printable } from './line-splitter.js';
import type { SessionEvent } from './session.js';

/** Puts the legacy label in front of a line. */
export function labelled(transport: Transport, line: string): string {
  return transport === 'legacy' ? `legacy (debug only) ${line}` : line;
}

/** The lines of one event; none for what only the evidence keeps. */
export function showEvent(event: SessionEvent, count: number): string[] {
  switch (event.kind) {
    case 'starting': {
      const note = event.qemu.verdict.kind === 'untested' ? [`note: ${event.qemu.verdict.message}`] : [];
      return [`boot ${event.label} nonce=${event.nonce} ${event.qemu.banner}`, ...note, `logs ${event.runDir}`];
    }
    case 'marker': {
      const place = `${String(event.marker.index + 1).padStart(3)}/${count}`;
      return [`[${guestTime(event.guestNs)}] ${place} ${event.marker.phase.padEnd(8)} ${event.marker.text}`];
    }
    case 'phase':
      return [`-- phase ${event.phase} complete`];
    case 'halt':
      return [`[${guestTime(event.guestNs)}] halt: ${event.lines} lines, sha256=${event.sha256}`];
    case 'after':
      return [`   after: ${printable(event.text)}`];
    case 'figure':
      return [printable(event.text)];
    case 'firmware':
    case 'red':
    case 'stop':
      return [];
  }
}
