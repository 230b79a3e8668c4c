// SPDX-License-Identifier: Apache-2.0
// portd: the multiport console. It owns the virtio-serial device and hands its ports to the services that policy names; the
// control port it answers itself. Framing stays with its clients.
// Invariant: without a device it serves all the same and answers PD_UNAVAILABLE, so nothing that needs no port is held up.
// Limits: limits.portd.
import { M_PORTD_READY, mark } from "../../gen/markers";
import { MUT_PORTD_READY_EVIDENCE_BROKEN, mutant } from "../../gen/mutants";
import { PD, serve, serverOnNotify, serverOnTick } from "../../lib/nexus-ipc/index";
import { PD_MALFORMED, PD_UNSUPPORTED } from "../../lib/wire/portd";
import { serveControl, startControl } from "./control";
import { deviceOpen, namedPorts, startDevice, takeCompletions } from "./device";
import { checkLayout } from "./port";
import { completeReads, routeRequests } from "./requests";

export const vigil_abi: i32 = 1;

let handshakeDone: bool = false;

export function main(): void {
  checkLayout();
  handshakeDone = startDevice();
  startControl();
  routeRequests();
  serverOnNotify(onNotify);
  serverOnTick(completeReads, 0);
  serve(PD, PD_MALFORMED, PD_UNSUPPORTED, onPing, onReady);
}

function onNotify(bits: u64): void {
  takeCompletions();
  completeReads();
  serveControl();
}

/** Evidence: the device added and named every port it announced; or there is no device at all (the bench profile). */
function onPing(): bool {
  if (mutant(MUT_PORTD_READY_EVIDENCE_BROKEN)) return false;
  takeCompletions();
  return deviceOpen() ? handshakeDone && namedPorts() != 0 : true;
}

function onReady(): void {
  mark(M_PORTD_READY);
}
