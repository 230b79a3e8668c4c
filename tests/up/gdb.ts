// SPDX-License-Identifier: Apache-2.0
// Makes a running guest panic for real: a QEMU that offers a GDB stub, and a client that sends the kernel to an address where nothing is.
// What follows is the guest's own: its trap handler, its PANIC line, its halt. Not a test by itself.
// Invariant: the wrapper is QEMU with one more option. Limits: PATIENCE_MS for the stub and for the end.
import { chmodSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { QEMU } from '../../boot/machines.js';

const PATIENCE_MS = 10_000;
const ATTEMPTS_MAX = 200;
/** Where `pc` is in the text of all registers: behind the 32 integer ones, 64 bits each. */
const REGISTER_CHARS = 16;
const PC_AT = 32 * REGISTER_CHARS;
const UNMAPPED = 0x10n;

/** Writes a `qemu-system-riscv64` into `dir` that starts `real` with a GDB stub on a socket in `dir`. @returns that socket */
export function stubbedQemu(dir: string, real: string): string {
  const socket = join(dir, 'gdb.sock');
  const path = join(dir, QEMU);
  writeFileSync(path, `#!/bin/sh\nexec "${real}" "$@" -chardev socket,id=stub,path=${socket},server=on,wait=off -gdb chardev:stub\n`);
  chmodSync(path, 0o755);
  return socket;
}

function packet(text: string): string {
  const sum = [...Buffer.from(text)].reduce((a, b) => (a + b) & 0xff, 0);
  return `$${text}#${sum.toString(16).padStart(2, '0')}`;
}

class Stub {
  private text = '';
  constructor(private readonly socket: Socket) {
    socket.on('data', (chunk) => { this.text += chunk.toString('latin1'); });
    socket.on('error', () => undefined);
  }
  get gone(): boolean { return this.socket.destroyed; }
  /** The next packet, acknowledged. */
  async reply(): Promise<string> {
    for (let waited = 0; waited < PATIENCE_MS; waited += 5) {
      const match = /\$([^#]*)#[0-9a-f]{2}/.exec(this.text);
      if (match !== null) {
        this.text = this.text.slice(match.index + match[0].length);
        this.socket.write('+');
        return match[1]!;
      }
      if (this.gone) return '';
      await sleep(5);
    }
    throw new Error('the stub does not answer');
  }
  /** The answer; a stop that was reported meanwhile is none. */
  async ask(text: string): Promise<string> {
    this.socket.write(packet(text));
    for (;;) {
      const reply = await this.reply();
      if (text === '?' || !/^[TS][0-9a-f]{2}/.test(reply)) return reply;
    }
  }
  go(): void { this.socket.write(packet('c')); }
  async halt(): Promise<void> {
    this.socket.write('\u0003');
    await this.reply();
  }
  close(): void { this.socket.destroy(); }
}

const littleEndian = (value: bigint): string => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes.toString('hex');
};

/** Halts the guest until it is in its kernel, and lets it go on at an address where nothing is mapped. */
export async function makePanic(socketPath: string): Promise<void> {
  const socket = connect(socketPath);
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  const stub = new Stub(socket);
  try {
    // A client that comes stops the machine; its first question is why.
    await stub.ask('?');
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const registers = await stub.ask('g');
      const pc = Buffer.from(registers.slice(PC_AT, PC_AT + REGISTER_CHARS), 'hex').readBigUInt64LE();
      // The kernel lies in RAM at its physical address; services are linked into windows of their own, far above it.
      if (pc >= 0x8020_0000n && pc < 0x8400_0000n) {
        const changed = registers.slice(0, PC_AT) + littleEndian(UNMAPPED) + registers.slice(PC_AT + REGISTER_CHARS);
        const ok = await stub.ask(`G${changed}`);
        if (ok !== 'OK') throw new Error(`the stub refused: ${ok}`);
        stub.go();
        await sleep(50);
        return;
      }
      stub.go();
      await sleep(3);
      await stub.halt();
    }
    throw new Error('the guest was never in its kernel');
  } finally {
    stub.close();
  }
}
