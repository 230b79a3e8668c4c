// SPDX-License-Identifier: Apache-2.0
// Owns: the multiport virtio-serial device (virtio 1.2, section 5.3): set-up, control messages, completions.
// Invariant: a port exists for clients once the device named it; host-connected follows the device's PORT_OPEN events alone.
// Control messages: id u32, event u16, value u16, then the name for PORT_NAME.
// Limits: limits.portd ports_max ports with ids 1 .. ports_max (id 0 is the console port, unused); control_buffers messages.
import {
  PORTD_CONTROL_BUFFERS, PORTD_CONTROL_BUFFER_BYTES, PORTD_HANDSHAKE_WAIT_NS, PORTD_PORTS_MAX, PORTD_PORT_NAME_BYTES_MAX,
} from "../../gen/limits";
import { SLOT_DEVICE0 } from "../../gen/slots";
import {
  sys_cap_close, sys_device_open, sys_device_queue, sys_device_ready, sys_device_take, sys_endpoint_create, sys_recv, sys_time_ns,
} from "../../gen/syscalls";
import { Port, portAt, submit } from "./port";

const FEATURE_MULTIPORT: u64 = 1 << 1;
const DEVICE_ID_CONSOLE: u64 = 3;
const CONTROL_RECEIVE: u32 = 2;
const CONTROL_TRANSMIT: u32 = 3;
const QUEUE_SIZE: u32 = 16;
const EVENT_DEVICE_READY: u16 = 0;
const EVENT_PORT_ADD: u16 = 1;
const EVENT_PORT_REMOVE: u16 = 2;
const EVENT_PORT_READY: u16 = 3;
const EVENT_PORT_OPEN: u16 = 6;
const EVENT_PORT_NAME: u16 = 7;
const RECV_HOST_PENDING: u32 = 1;
const MESSAGE_BYTES: u32 = 8;
const DEVICE_WIDE: u32 = 0xffffffff;

const META: usize = memory.data(32, 8);
const CONTROL_IN: usize = memory.data(512, 8);
const CONTROL_OUT: usize = memory.data(128, 8);
const IN_TOKENS: usize = memory.data(32, 4);
const OUT_TOKENS: usize = memory.data(64, 4);
const OUT_MESSAGES: u32 = 16;
const SCRATCH: usize = memory.data(64, 8);

let outBusy: u32 = 0;
let controlLost: u64 = 0;
let transport: u64 = 0;
let open: bool = false;

/** True once the device answered the set-up. */
export function deviceOpen(): bool {
  return open;
}
/** Control messages that found no room on the way to the device; each leaves a port in its old state. */
export function controlMessagesLost(): u64 {
  return controlLost;
}

/** Sets the device up and waits, at most limits.portd handshake_wait_ns, until every port it adds is named. */
export function startDevice(): bool {
  assert(PORTD_CONTROL_BUFFERS * PORTD_CONTROL_BUFFER_BYTES <= 512 && PORTD_CONTROL_BUFFERS <= 8);
  if (sys_device_open(SLOT_DEVICE0, FEATURE_MULTIPORT, <u32>META) < 0) return false;
  if (load<u64>(META) != DEVICE_ID_CONSOLE) return false;
  if ((load<u64>(META + 16) & FEATURE_MULTIPORT) == 0) return false;
  transport = load<u64>(META + 8);
  const queues: u32 = 2 * PORTD_PORTS_MAX + 4;
  for (let queue: u32 = 0; queue < queues; queue++) {
    if (sys_device_queue(SLOT_DEVICE0, queue, QUEUE_SIZE) < 0) return false;
  }
  if (sys_device_ready(SLOT_DEVICE0) < 0) return false;
  for (let i: u32 = 0; i < PORTD_CONTROL_BUFFERS; i++) if (!postControl(i)) return false;
  open = true;
  sendControl(DEVICE_WIDE, EVENT_DEVICE_READY, 1);
  return waitForNames();
}

/** The handshake's answers come as notifications; an endpoint of our own keeps requests queued meanwhile. */
function waitForNames(): bool {
  const endpoint = sys_endpoint_create(1);
  if (endpoint < 0) return false;
  const deadlineNs = <u64>sys_time_ns() + PORTD_HANDSHAKE_WAIT_NS;
  const buffer = <u64>SCRATCH | (64 << 32);
  takeCompletions();
  while (namedPorts() < PORTD_PORTS_MAX && <u64>sys_time_ns() < deadlineNs) {
    sys_recv(<u32>endpoint, buffer, <u32>META, deadlineNs, RECV_HOST_PENDING);
    takeCompletions();
  }
  sys_cap_close(<u32>endpoint);
  return namedPorts() == PORTD_PORTS_MAX;
}

/** Ports that the device has added and named. */
export function namedPorts(): u32 {
  let count: u32 = 0;
  for (let i: u32 = 0; i < PORTD_PORTS_MAX; i++) {
    const port = portAt(i);
    if (port.added != 0 && port.nameBytes != 0) count++;
  }
  return count;
}

/** Tells the device whether the guest has a port open. */
export function setGuestOpen(port: Port, isOpen: bool): void {
  if (port.guestOpen == u32(isOpen)) return;
  port.guestOpen = u32(isOpen);
  sendControl(port.id, EVENT_PORT_OPEN, u16(isOpen));
}

/** Takes every completion there is: at most the posted buffers of each queue. */
export function takeCompletions(): void {
  if (!open) return;
  for (let turn: u32 = 0; turn < 2 * QUEUE_SIZE; turn++) if (!takeControl()) break;
  for (let turn: u32 = 0; turn < OUT_MESSAGES; turn++) {
    if (sys_device_take(SLOT_DEVICE0, CONTROL_TRANSMIT, <u32>META) < 0) break;
    releaseOut(<u32>load<u64>(META));
  }
  for (let i: u32 = 0; i < PORTD_PORTS_MAX; i++) {
    const port = portAt(i);
    if (port.added == 0) continue;
    for (let turn: u32 = 0; turn < QUEUE_SIZE; turn++) {
      if (sys_device_take(SLOT_DEVICE0, port.receiveQueue, <u32>META) < 0) break;
      port.received(<u32>load<u64>(META), <u32>load<u64>(META + 8));
    }
    for (let turn: u32 = 0; turn < QUEUE_SIZE; turn++) {
      if (sys_device_take(SLOT_DEVICE0, port.transmitQueue, <u32>META) < 0) break;
      port.transmitted(<u32>load<u64>(META));
    }
  }
}

function postControl(index: u32): bool {
  const at = CONTROL_IN + index * PORTD_CONTROL_BUFFER_BYTES;
  const token = submit(CONTROL_RECEIVE, at, PORTD_CONTROL_BUFFER_BYTES, 1, 0);
  if (token < 0) return false;
  store<u32>(IN_TOKENS + (index << 2), <u32>token);
  return true;
}

/** Handles one control message from the device; false when there is none. */
function takeControl(): bool {
  if (sys_device_take(SLOT_DEVICE0, CONTROL_RECEIVE, <u32>META) < 0) return false;
  const token = <u32>load<u64>(META);
  const bytes = min<u32>(<u32>load<u64>(META + 8), PORTD_CONTROL_BUFFER_BYTES);
  for (let i: u32 = 0; i < PORTD_CONTROL_BUFFERS; i++) {
    if (load<u32>(IN_TOKENS + (i << 2)) != token) continue;
    if (bytes >= MESSAGE_BYTES) handleControl(CONTROL_IN + i * PORTD_CONTROL_BUFFER_BYTES, bytes);
    store<u32>(IN_TOKENS + (i << 2), DEVICE_WIDE);
    if (!postControl(i)) controlLost++;
    return true;
  }
  return true;
}

function handleControl(message: usize, bytes: u32): void {
  const id = load<u32>(message);
  const event = load<u16>(message + 4);
  const value = load<u16>(message + 6);
  if (id == 0 || id > PORTD_PORTS_MAX) return;
  const port = portAt(id - 1);
  if (event == EVENT_PORT_ADD) {
    port.added = id + 1;
    port.postReceives();
    sendControl(id, EVENT_PORT_READY, 1);
    return;
  }
  if (port.added == 0) return;
  if (event == EVENT_PORT_NAME) {
    port.nameBytes = min<u32>(textLength(message + MESSAGE_BYTES, bytes - MESSAGE_BYTES), PORTD_PORT_NAME_BYTES_MAX);
    memory.copy(port.name, message + MESSAGE_BYTES, port.nameBytes);
  } else if (event == EVENT_PORT_OPEN) {
    if (value != 0 && port.hostConnected == 0) port.connections++;
    port.hostConnected = u32(value != 0);
    if (value == 0) port.flush();
  } else if (event == EVENT_PORT_REMOVE) {
    port.flush();
    port.hostConnected = 0;
    port.nameBytes = 0;
    port.added = 0;
  }
}

/** A name may or may not end in a zero byte. */
function textLength(text: usize, bytes: u32): u32 {
  for (let i: u32 = 0; i < bytes; i++) if (load<u8>(text + i) == 0) return i;
  return bytes;
}

function sendControl(id: u32, event: u16, value: u16): void {
  for (let i: u32 = 0; i < OUT_MESSAGES; i++) {
    if ((outBusy & (1 << i)) != 0) continue;
    const at = CONTROL_OUT + i * MESSAGE_BYTES;
    store<u32>(at, id);
    store<u16>(at + 4, event);
    store<u16>(at + 6, value);
    const token = submit(CONTROL_TRANSMIT, at, MESSAGE_BYTES, 0, 1);
    if (token < 0) break;
    store<u32>(OUT_TOKENS + (i << 2), <u32>token);
    outBusy |= 1 << i;
    return;
  }
  controlLost++;
}

function releaseOut(token: u32): void {
  for (let i: u32 = 0; i < OUT_MESSAGES; i++) {
    if ((outBusy & (1 << i)) != 0 && load<u32>(OUT_TOKENS + (i << 2)) == token) outBusy &= ~(1 << i);
  }
}
