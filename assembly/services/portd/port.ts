// SPDX-License-Identifier: Apache-2.0
// Owns: what portd knows of each port, and its buffers. Receive buffers go to the device and come back filled; a reader takes
// from them in order, and a buffer goes back to the device once it is empty.
// Invariant: a received byte is read, or counted in lostIn; a written byte is handed to the device whole, or refused. Since full
// buffers are not posted again before they are read, a slow reader stops the host (back-pressure) and loses nothing.
// Limits: limits.portd ports_max; rx_buffers of rx_buffer_bytes and tx_buffers of tx_buffer_bytes a port.
import {
  PORTD_PORTS_MAX, PORTD_PORT_NAME_BYTES_MAX, PORTD_RX_BUFFERS, PORTD_RX_BUFFER_BYTES, PORTD_TX_BUFFERS, PORTD_TX_BUFFER_BYTES,
} from "../../gen/limits";
import { SLOT_DEVICE0 } from "../../gen/slots";
import { sys_device_submit } from "../../gen/syscalls";

const BUFFER_FREE: u32 = 0;
const BUFFER_POSTED: u32 = 1;
const BUFFER_FILLED: u32 = 2;
const SUBMIT_OWED: u32 = 1;
const LIST: usize = memory.data(16, 8);

/** One buffer that the device or a reader holds. */
@unmanaged
export class PortBuffer {
  state: u32;
  token: u32;
  /** Bytes filled, and how many of them were read. */
  filled: u32;
  read: u32;
  /** Order of arrival within the port. */
  order: u64;
}
const BUFFER_RECORD: u32 = 32;

/** One port of the device. */
@unmanaged
export class Port {
  index: u32;
  /** virtio port id + 1, 0 while the device has not added it. */
  added: u32;
  nameBytes: u32;
  hostConnected: u32;
  guestOpen: u32;
  connections: u32;
  owner: u64;
  arrivals: u64;
  bytesIn: u64;
  bytesOut: u64;
  lostIn: u64;
  lostOut: u64;
  refused: u64;
  /** A READ that waits: reply handle (0: none), nonce, most bytes, deadline. */
  readReply: u32;
  readNonce: u32;
  readMax: u32;
  readUntilNs: u64;

  get id(): u32 {
    return this.added - 1;
  }
  get name(): usize {
    return NAMES + this.index * PORTD_PORT_NAME_BYTES_MAX;
  }
  get receiveQueue(): u32 {
    return this.id == 0 ? 0 : 2 * this.id + 2;
  }
  get transmitQueue(): u32 {
    return this.receiveQueue + 1;
  }

  rx(buffer: u32): PortBuffer {
    return changetype<PortBuffer>(RX_RECORDS + (this.index * PORTD_RX_BUFFERS + buffer) * BUFFER_RECORD);
  }
  rxBytes(buffer: u32): usize {
    return RX_DATA + (this.index * PORTD_RX_BUFFERS + buffer) * PORTD_RX_BUFFER_BYTES;
  }
  tx(buffer: u32): PortBuffer {
    return changetype<PortBuffer>(TX_RECORDS + (this.index * PORTD_TX_BUFFERS + buffer) * BUFFER_RECORD);
  }
  txBytes(buffer: u32): usize {
    return TX_DATA + (this.index * PORTD_TX_BUFFERS + buffer) * PORTD_TX_BUFFER_BYTES;
  }

  /** Posts every free receive buffer: not owed, since the host may never fill it. */
  postReceives(): void {
    for (let i: u32 = 0; i < PORTD_RX_BUFFERS; i++) {
      const buffer = this.rx(i);
      if (buffer.state != BUFFER_FREE) continue;
      const token = submit(this.receiveQueue, this.rxBytes(i), PORTD_RX_BUFFER_BYTES, 1, 0);
      if (token < 0) return;
      buffer.token = <u32>token;
      buffer.state = BUFFER_POSTED;
    }
  }

  /** A receive completed. */
  received(token: u32, bytes: u32): void {
    for (let i: u32 = 0; i < PORTD_RX_BUFFERS; i++) {
      const buffer = this.rx(i);
      if (buffer.state != BUFFER_POSTED || buffer.token != token) continue;
      buffer.state = BUFFER_FILLED;
      buffer.filled = min<u32>(bytes, PORTD_RX_BUFFER_BYTES);
      buffer.read = 0;
      this.arrivals++;
      buffer.order = this.arrivals;
      this.bytesIn += buffer.filled;
      return;
    }
  }

  /** A transmission completed. */
  transmitted(token: u32): void {
    for (let i: u32 = 0; i < PORTD_TX_BUFFERS; i++) {
      const buffer = this.tx(i);
      if (buffer.state == BUFFER_POSTED && buffer.token == token) buffer.state = BUFFER_FREE;
    }
  }

  /** Index of the filled buffer that arrived first, or -1. */
  oldest(): i32 {
    let found: i32 = -1;
    let order: u64 = u64.MAX_VALUE;
    for (let i: u32 = 0; i < PORTD_RX_BUFFERS; i++) {
      const buffer = this.rx(i);
      if (buffer.state != BUFFER_FILLED || buffer.order >= order) continue;
      order = buffer.order;
      found = <i32>i;
    }
    return found;
  }

  get readable(): bool {
    return this.oldest() >= 0;
  }

  /** Moves up to `max` received bytes to `to`; returns how many. Emptied buffers go back to the device. */
  take(to: usize, max: u32): u32 {
    let total: u32 = 0;
    for (let turn: u32 = 0; turn < PORTD_RX_BUFFERS; turn++) {
      const index = this.oldest();
      if (index < 0 || total == max) break;
      const buffer = this.rx(<u32>index);
      const count = min<u32>(buffer.filled - buffer.read, max - total);
      memory.copy(to + total, this.rxBytes(<u32>index) + buffer.read, count);
      buffer.read += count;
      total += count;
      if (buffer.read == buffer.filled) buffer.state = BUFFER_FREE;
    }
    this.postReceives();
    return total;
  }

  /** Drops what was received and not read: it belongs to a connection or an owner that is gone. */
  flush(): void {
    for (let i: u32 = 0; i < PORTD_RX_BUFFERS; i++) {
      const buffer = this.rx(i);
      if (buffer.state != BUFFER_FILLED) continue;
      this.lostIn += buffer.filled - buffer.read;
      buffer.state = BUFFER_FREE;
    }
    this.postReceives();
  }

  /** Address of a free transmit buffer of limits.portd tx_buffer_bytes, or 0: back-pressure, counted. */
  reserve(): usize {
    for (let i: u32 = 0; i < PORTD_TX_BUFFERS; i++) if (this.tx(i).state == BUFFER_FREE) return this.txBytes(i);
    this.refused++;
    return 0;
  }

  /** Free transmit buffers now. */
  freeTransmits(): u32 {
    let free: u32 = 0;
    for (let i: u32 = 0; i < PORTD_TX_BUFFERS; i++) free += u32(this.tx(i).state == BUFFER_FREE);
    return free;
  }

  /** Hands `bytes` at a reserved address to the device, owed; false (and the bytes counted lost) when it refuses. */
  transmit(reserved: usize, bytes: u32): bool {
    for (let i: u32 = 0; i < PORTD_TX_BUFFERS; i++) {
      if (this.txBytes(i) != reserved) continue;
      const token = submit(this.transmitQueue, reserved, bytes, 0, SUBMIT_OWED);
      if (token < 0) break;
      this.tx(i).token = <u32>token;
      this.tx(i).state = BUFFER_POSTED;
      this.bytesOut += bytes;
      return true;
    }
    this.lostOut += bytes;
    return false;
  }
}
const PORT_RECORD: u32 = 136;

const PORTS: usize = memory.data(PORTD_PORTS_MAX * 136, 8);
const NAMES: usize = memory.data(PORTD_PORTS_MAX * PORTD_PORT_NAME_BYTES_MAX, 8);
const RX_RECORDS: usize = memory.data(PORTD_PORTS_MAX * PORTD_RX_BUFFERS * 32, 8);
const TX_RECORDS: usize = memory.data(PORTD_PORTS_MAX * PORTD_TX_BUFFERS * 32, 8);
const RX_DATA: usize = memory.data(PORTD_PORTS_MAX * PORTD_RX_BUFFERS * PORTD_RX_BUFFER_BYTES, 16);
const TX_DATA: usize = memory.data(PORTD_PORTS_MAX * PORTD_TX_BUFFERS * PORTD_TX_BUFFER_BYTES, 16);

/** Aborts when a record outgrew its place. */
export function checkLayout(): void {
  assert(offsetof<Port>() <= PORT_RECORD && offsetof<PortBuffer>() <= BUFFER_RECORD);
}

/** Port by place in the table, 0 .. ports_max - 1. */
export function portAt(index: u32): Port {
  const port = changetype<Port>(PORTS + index * PORT_RECORD);
  port.index = index;
  return port;
}

/** Submits one buffer as a chain of its own; a token, or a kernel error. */
export function submit(queue: u32, address: usize, bytes: u32, deviceWrites: u32, flags: u32): i64 {
  store<u32>(LIST, <u32>address);
  store<u32>(LIST + 4, bytes);
  store<u32>(LIST + 8, deviceWrites);
  store<u32>(LIST + 12, 0);
  return sys_device_submit(SLOT_DEVICE0, queue, <u32>LIST, 1, flags);
}
