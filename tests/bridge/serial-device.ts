// SPDX-License-Identifier: Apache-2.0
// Owns: a multiport virtio-serial device as portd sees it through the device_* system calls (virtio 1.2, section 5.3).
// Invariant: it behaves as QEMU's: it answers READY with PORT_ADD, PORT_READY with PORT_NAME and PORT_OPEN, gives host bytes only
// to a port that the guest opened, and completes transmissions at once unless `stalled`. Limits: three ports.
import type { Host } from '../../runtime/node/index.js';

interface Posted { token: number; address: number; bytes: number }
interface Done { token: number; bytes: number }
const MULTIPORT = 2n;
const E_BAD_HANDLE = -1n;
const E_FULL = -5n;
const E_IO = -14n;
const E_AGAIN = -15n;

export class SerialDevice {
  /** Port id -> bytes that the guest transmitted. */
  readonly transmitted = new Map<number, Buffer[]>();
  readonly guestOpen = new Set<number>();
  readonly hostConnected = new Set<number>();
  /** While true, transmissions on ports stay in flight. */
  stalled = false;
  /** While true, device_submit answers `full`. */
  full = false;
  present = true;
  features = MULTIPORT;
  private readonly posted = new Map<number, Posted[]>();
  private readonly done = new Map<number, Done[]>();
  private readonly waiting = new Map<number, Buffer[]>();
  private readonly control: Buffer[] = [];
  private token = 1;
  private held: { queue: number; done: Done }[] = [];

  constructor(readonly names: readonly string[] = ['org.vigil.dcgm', 'org.vigil.export', 'org.vigil.control']) {}

  /** Replacements for the host's system calls. */
  readonly sys: Record<string, (host: Host, ...args: (number | bigint)[]) => bigint> = {
    device_open: (host, _device, features, meta) => {
      if (!this.present) return E_BAD_HANDLE;
      meta4(host, Number(meta), [3n, 2n, (features as bigint) & this.features, 0n]);
      return 0n;
    },
    device_queue: (_host, _device, queue) => (Number(queue) < 10 ? 0n : E_IO),
    device_ready: () => 0n,
    device_submit: (host, _device, queue, list, count) => this.submit(host, Number(queue), Number(list), Number(count)),
    device_take: (host, _device, queue, meta) => {
      const next = this.done.get(Number(queue))?.shift();
      if (next === undefined) return E_AGAIN;
      meta4(host, Number(meta), [BigInt(next.token), BigInt(next.bytes), 0n, 0n]);
      return 0n;
    },
  };

  /** The host's side connects to, or leaves, a port. */
  setHost(host: Host, id: number, connected: boolean): void {
    if (connected) this.hostConnected.add(id); else this.hostConnected.delete(id);
    this.event(host, id, 6, connected ? 1 : 0);
  }

  /** Bytes from the host; they wait until the guest opened the port and posted buffers. */
  hostSend(host: Host, id: number, bytes: Buffer): void {
    this.waiting.set(id, [...(this.waiting.get(id) ?? []), bytes]);
    this.pump(host);
  }

  /** Everything transmitted on a port so far, and forgets it. */
  takeTransmitted(id: number): Buffer {
    const all = Buffer.concat(this.transmitted.get(id) ?? []);
    this.transmitted.delete(id);
    return all;
  }

  /** Bytes of the host that found no buffer yet. */
  waitingBytes(id: number): number {
    return (this.waiting.get(id) ?? []).reduce((sum, bytes) => sum + bytes.length, 0);
  }

  /** Completes what was stalled. */
  release(): void {
    this.stalled = false;
    for (const { queue, done } of this.held) this.finish(queue, done);
    this.held = [];
  }

  private submit(host: Host, queue: number, list: number, count: number): bigint {
    if (this.full) return E_FULL;
    if (count !== 1) throw new Error('portd submits single buffers');
    const view = new DataView(host.memory.buffer);
    const posted: Posted = { token: this.token++, address: view.getUint32(list, true), bytes: view.getUint32(list + 4, true) };
    const deviceWrites = view.getUint32(list + 8, true) !== 0;
    if (deviceWrites !== (queue % 2 === 0)) throw new Error(`queue ${queue}: wrong direction`);
    if (deviceWrites) {
      this.posted.set(queue, [...(this.posted.get(queue) ?? []), posted]);
      this.pump(host);
    } else if (queue === 3) {
      const message = Buffer.from(host.bytes(posted.address, posted.bytes));
      this.finish(queue, { token: posted.token, bytes: 0 });
      this.onControl(host, message.readUInt32LE(0), message.readUInt16LE(4), message.readUInt16LE(6));
    } else {
      const id = queue / 2 - 1.5;
      if (this.hostConnected.has(id)) {
        this.transmitted.set(id, [...(this.transmitted.get(id) ?? []), Buffer.from(host.bytes(posted.address, posted.bytes))]);
      }
      const done = { token: posted.token, bytes: 0 };
      if (this.stalled) this.held.push({ queue, done }); else this.finish(queue, done);
    }
    return BigInt(posted.token);
  }

  private onControl(host: Host, id: number, event: number, value: number): void {
    if (event === 0) this.names.forEach((_, i) => { this.event(host, i + 1, 1, 1); });
    if (event === 3) {
      this.event(host, id, 7, 1, this.names[id - 1]!);
      if (this.hostConnected.has(id)) this.event(host, id, 6, 1);
    }
    if (event === 6) {
      if (value !== 0) this.guestOpen.add(id); else this.guestOpen.delete(id);
      this.pump(host);
    }
  }

  private event(host: Host, id: number, event: number, value: number, name = ''): void {
    const message = Buffer.alloc(8 + name.length);
    message.writeUInt32LE(id, 0);
    message.writeUInt16LE(event, 4);
    message.writeUInt16LE(value, 6);
    message.write(name, 8, 'ascii');
    this.control.push(message);
    this.pump(host);
  }

  private pump(host: Host): void {
    while (this.control.length > 0 && this.fill(host, 2, this.control[0]!) > 0) this.control.shift();
    for (const id of this.guestOpen) {
      const queue = 2 * id + 2;
      for (let chunks = this.waiting.get(id) ?? []; chunks.length > 0;) {
        const taken = this.fill(host, queue, chunks[0]!);
        if (taken === 0) break;
        if (taken === chunks[0]!.length) chunks.shift(); else chunks[0] = chunks[0]!.subarray(taken);
      }
    }
  }

  /** Puts as much of `bytes` as fits into the next posted buffer of a queue; returns how much. */
  private fill(host: Host, queue: number, bytes: Buffer): number {
    const buffer = this.posted.get(queue)?.shift();
    if (buffer === undefined) return 0;
    const piece = bytes.subarray(0, buffer.bytes);
    host.write(buffer.address, piece);
    this.finish(queue, { token: buffer.token, bytes: piece.length });
    return piece.length;
  }

  private finish(queue: number, done: Done): void {
    this.done.set(queue, [...(this.done.get(queue) ?? []), done]);
  }
}

function meta4(host: Host, address: number, words: bigint[]): void {
  const out = Buffer.alloc(32);
  words.forEach((word, i) => out.writeBigUInt64LE(word, i * 8));
  host.write(address, out);
}
