// SPDX-License-Identifier: Apache-2.0
// portd: the multiport console. It owns the virtio-serial device and hands its ports to the services that policy names; the
// control port it answers itself. Framing stays with its clients.
// Invariant: without a device it serves all the same and answers PD_UNAVAILABLE, so nothing that needs no port is held up.
// Limits: limits.portd.
import { M_PORTD_READY, mark } from "../../gen/markers";
import { MUT_PORTD_READY_EVIDENCE_BROKEN, mutant } from "../../gen/mutants";
import { SLOT_LOGD } from "../../gen/slots";
import { copyLiteral } from "../../lib/bounded/text";
import { PD, Writer, serve, serverOnNotify, serverOnTick } from "../../lib/nexus-ipc/index";
import { LEVEL_INFO, callAppend } from "../../lib/nexus-log/index";
import { PD_MALFORMED, PD_UNSUPPORTED } from "../../lib/wire/portd";
import { serveControl, startControl } from "./control";
import { deviceOpen, namedPorts, startDevice, takeCompletions } from "./device";
import { checkLayout } from "./port";
import { completeReads, routeRequests } from "./requests";

export const vigil_abi: i32 = 1;

const text: usize = memory.data(64);
const fields: Writer = changetype<Writer>(memory.data(16, 4));
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
  if (deviceOpen() && !handshakeDone) return false;
  logStart();
  return true;
}

/** The first record of every start: how many ports there are. Its loss is logd's to count, and no reason to stay down. */
function logStart(): void {
  const scopeBytes = copyLiteral(text, "portd");
  const messageBytes = copyLiteral(text + 16, "ports up");
  fields.reset(text + 32, 32).fieldDecimal("ports", namedPorts());
  callAppend(SLOT_LOGD, LEVEL_INFO, text, scopeBytes, text + 16, messageBytes, text + 32, fields.length);
}

function onReady(): void {
  mark(M_PORTD_READY);
}
