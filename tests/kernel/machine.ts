// SPDX-License-Identifier: Apache-2.0
// A simulated machine for the shipping kernel.wasm: memory, serial port, interrupt controller, virtio slots, timer, and copies that walk
// the kernel's own page table as the hardware would. A test plays every service: it asks who runs and makes that one's system call.
// Invariants: each intrinsic refuses what runtime/guest/kernel.c refuses; time moves only when a test moves it or the kernel idles;
// a wait without an armed timer, a wasm trap and an assert are errors, never silence.
import { kernelFlags, KERNEL_SOURCE } from '../../scripts/lib/steps.js';
import { limit } from '../../scripts/lib/abi.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { buildEntry } from '../../runtime/node/index.js';
import { abi, makeTree } from './modules.js';
import { NoDevice, Plic, SLOTS, type MmioDevice } from './devices.js';

export const RAM_START = 0x8000_0000;
export const RAM_BYTES = limit(abi, 'kernel', 'guest_memory_bytes');
/** Where the linked image ends up; only alignment matters. */
export const KERNEL_PHYS = 0x8060_0000;
export const PAGE = 4096;
const PAGE_MASK = 4095;
const UART = 0x1000_0000;
const VIRTIO_FIRST = 0x1000_1000;
const PLIC_FIRST = 0x0c00_0000;
const INTERRUPT = 1n << 63n;
const NEVER = (1n << 64n) - 1n;
export const WINDOW_BYTES = 1n << 34n;
const WINDOW_END = BigInt(limit(abi, 'kernel', 'services_max') + 1) * WINDOW_BYTES;

/** Names of what guest-kernel.ts tells, in its order. */
const FIELDS = ['pc', 'ra', 'sp', 'tp', 'a0', 'a1', 't6', 'full', 'fp_valid', 'mask', 'f0', 'fcsr', 'memory', 'memory_bytes', 'index', 'state',
  'generation', 'own_endpoint', 'handles', 'host_pending', 'server', 'endpoint', 'gp', 's0', 'thread_bytes_used', 'e_generation', 'e_count',
  'e_waiter', 'e_used', 'trace'] as const;
const LAYOUT = ['KERNEL_MEMORY_BYTES', 'KERNEL_MEMORY_VA', 'CURRENT', 'THREADS', 'THREAD_BYTES', 'CAPS', 'CAP_BYTES', 'ENDPOINTS',
  'ENDPOINT_BYTES', 'PAGE_TABLES', 'PAGE_TABLES_END', 'DMA_START', 'DMA_END', 'WINDOW_SHIFT', 'WINDOW_INSTANCE', 'WINDOW_TABLE',
  'WINDOW_STACK_TOP', 'WINDOW_MEMORY', 'TEXT_FIRST', 'TEXT_STRIDE', 'RAM_START', 'DEVICE_TREE'] as const;
export type Field = (typeof FIELDS)[number];
export type LayoutName = (typeof LAYOUT)[number];
export const STATE = { free: 0, created: 1, ready: 2, running: 3, receiving: 4, sending: 5, calling: 6, ended: 7 } as const;
/** Error numbers as a call returns them. */
export const E = Object.fromEntries(abi.errors.map(({ name, number }) => [name, BigInt(-number)])) as Record<string, bigint>;
export const REASON = Object.fromEntries(abi.reasons.map(({ name, number }) => [name, number])) as Record<string, number>;
export const TRAP = Object.fromEntries(abi.traps.map(({ name, number }) => [name, number])) as Record<string, number>;
export const COUNTER = Object.fromEntries(abi.counters.map(({ name, number }) => [name, number])) as Record<string, number>;

/** The kernel turned the power off. */
export class Halted extends Error {
  constructor(readonly code: number, readonly console: string) { super(`halted with ${code}: ${console.trimEnd().split('\n').pop() ?? ''}`); }
}
/** What the hardware, kernel.c or wasm would have stopped at: always a bug of the kernel. */
export class KernelFault extends Error {}

export type Guest = Record<string, (...args: never[]) => never> & { memory: WebAssembly.Memory };
export interface Kernel { module: WebAssembly.Module; bytes: Uint8Array; offsets: Record<Field, number>; layout: Record<LayoutName, bigint>; guest: WebAssembly.Module }
let known: Promise<Kernel> | null = null;

/** Compiles the kernel with the image's own flags, and the module that tells its layout. Once a process. */
export function loadKernel(): Promise<Kernel> {
  known ??= (async () => {
    const flags = kernelFlags(ROOT);
    const bytes = await buildEntry(KERNEL_SOURCE, flags);
    const guest = new WebAssembly.Module(await buildEntry('tests/kernel/guest-kernel.ts', flags) as BufferSource);
    const tell = new WebAssembly.Instance(guest, idleImports(guest)).exports as unknown as { field(n: number): number; layout(n: number): bigint };
    const offsets = Object.fromEntries(FIELDS.map((name, n) => [name, tell.field(n) >>> 0])) as Record<Field, number>;
    const layout = Object.fromEntries(LAYOUT.map((name, n) => [name, BigInt.asUintN(64, tell.layout(n))])) as Record<LayoutName, bigint>;
    return { module: new WebAssembly.Module(bytes as BufferSource), bytes, offsets, layout, guest };
  })();
  return known;
}
/** Imports for a module whose exports are pure: every one of them is an error. */
export function idleImports(module: WebAssembly.Module): WebAssembly.Imports {
  const imports: Record<string, Record<string, () => never>> = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    (imports[from] ??= {})[name] = () => { throw new KernelFault(`${from}.${name} from a pure function`); };
  }
  return imports;
}

export interface MachineOptions {
  bundle: Uint8Array;
  bootargs?: string;
  devices?: MmioDevice[];
  transport?: 1 | 2;
  /** a device tree instead of the made one */
  tree?: Uint8Array;
  ramBytes?: bigint;
}

/** One leaf of the page table. Addresses and sizes in bytes. */
export interface Leaf { va: bigint; phys: number; bytes: number; read: boolean; write: boolean; execute: boolean; user: boolean }

const BUNDLE_PHYS = 0x8300_0000;
const TREE_PHYS = 0x83e0_0000;

export class Machine {
  readonly ram = Buffer.alloc(RAM_BYTES);
  readonly plic = new Plic();
  readonly slots: MmioDevice[];
  time = 1000n;
  timer = NEVER;
  console = '';
  fences = 0;
  /** how often the kernel slept */
  naps = 0;
  private root = -1;
  private tables = 0;
  private readonly exports: Record<string, (...args: bigint[]) => bigint>;
  private readonly memory: WebAssembly.Memory;

  constructor(readonly kernel: Kernel, readonly options: MachineOptions) {
    this.slots = Array.from({ length: SLOTS }, (_, i) => options.devices?.[i] ?? new NoDevice(options.transport ?? 2));
    this.slots.forEach((slot, i) => slot.attach(this, () => this.plic.raise(i + 1)));
    this.ram.set(options.bundle, BUNDLE_PHYS - RAM_START);
    const start = BigInt(BUNDLE_PHYS);
    const tree = options.tree ?? makeTree({
      bootargs: options.bootargs ?? 'profile=proof nonce=0123456789abcdef', initrdStart: start, initrdEnd: start + BigInt(options.bundle.length),
      ramStart: BigInt(RAM_START), ramBytes: options.ramBytes ?? BigInt(RAM_BYTES),
    });
    this.ram.set(tree, TREE_PHYS - RAM_START);
    const instance = new WebAssembly.Instance(kernel.module, { hw: this.hw(), env: { abort: this.abort } } as unknown as WebAssembly.Imports);
    this.exports = instance.exports as unknown as Record<string, (...args: bigint[]) => bigint>;
    this.memory = instance.exports['memory'] as WebAssembly.Memory;
    if (this.memory.buffer.byteLength !== this.kernelBytes) throw new KernelFault(`kernel memory is ${this.memory.buffer.byteLength} bytes`);
    (this.exports['_init'] as () => bigint)();
  }
  get kernelBytes(): number { return Number(this.kernel.layout.KERNEL_MEMORY_BYTES); }
  get bytes(): Buffer { return Buffer.from(this.memory.buffer); }
  /** Kernel text and stack end where kernel memory ends. */
  get framesStart(): number { return KERNEL_PHYS + this.kernelBytes; }

  boot(): this {
    this.exports['boot']!();
    return this;
  }

  // --- who runs, and what they do ---

  /** Index of the running service. */
  get current(): number {
    const va = this.bytes.readBigUInt64LE(Number(this.kernel.layout.CURRENT));
    const offset = Number(va - this.kernel.layout.KERNEL_MEMORY_VA) - Number(this.kernel.layout.THREADS);
    if (offset < 0 || offset % Number(this.kernel.layout.THREAD_BYTES) !== 0) throw new KernelFault(`CURRENT holds ${va.toString(16)}`);
    return offset / Number(this.kernel.layout.THREAD_BYTES);
  }
  /** A 64-bit word of a thread block. */
  word(index: number, field: Field, plus = 0): bigint { return this.bytes.readBigUInt64LE(this.threadAt(index) + this.kernel.offsets[field] + plus); }
  /** A 32-bit word of a thread block. */
  word32(index: number, field: Field): number { return this.bytes.readUInt32LE(this.threadAt(index) + this.kernel.offsets[field]); }
  private threadAt(index: number): number { return Number(this.kernel.layout.THREADS) + index * Number(this.kernel.layout.THREAD_BYTES); }
  state(index: number): number { return this.word32(index, 'state'); }
  /** Result registers a1..a4 of a thread: `meta` of abi/syscalls.toml. */
  meta(index: number): [bigint, bigint, bigint, bigint] {
    return [0, 8, 16, 24].map((plus) => this.word(index, 'a1', plus)) as [bigint, bigint, bigint, bigint];
  }

  /** The running service makes a system call. The result, or null when somebody else runs now (read it with `result` later). */
  sys(name: string, ...args: (bigint | number)[]): bigint | null {
    const call = this.exports[`sys_${name}`];
    if (call === undefined) throw new Error(`no system call ${name}`);
    const caller = this.current;
    if (this.state(caller) !== STATE.running) throw new KernelFault(`thread ${caller} runs in state ${this.state(caller)}`);
    const result = call(...args.map((arg) => BigInt.asIntN(64, BigInt(arg))));
    this.check();
    return this.current === caller ? result : null;
  }
  /** What a thread finds in a0 when it runs again. */
  result(index: number): bigint { return BigInt.asIntN(64, this.word(index, 'a0')); }
  private check(): void {
    const runs = this.current;
    if (this.state(runs) !== STATE.running) throw new KernelFault(`thread ${runs} was chosen in state ${this.state(runs)}`);
  }
  /** Time passes in user mode; interrupts that fall due are taken. Ticks of 100 ns. */
  pass(ticks: bigint | number): void {
    this.time += BigInt(ticks);
    this.interrupts();
  }
  interrupts(): void {
    for (let n = 0; n < 100 && this.pending() !== 0n; n++) {
      const cause = this.pending() & (1n << 5n) ? 5n : 9n;
      this.exports['trap_taken']!(BigInt.asIntN(64, INTERRUPT | cause), 0n);
      this.check();
    }
    if (this.pending() !== 0n) throw new KernelFault('an interrupt stays pending after 100 traps');
  }
  /** An exception of the running service. */
  fault(cause: bigint, value: bigint): void {
    this.exports['trap_taken']!(cause, BigInt.asIntN(64, value));
    this.check();
  }
  /** A call that the mask refuses; number trap is the module's own trap, with kind and info. */
  badSyscall(number: bigint, kind = 0n, info = 0n): void { this.exports['trap_bad_syscall']!(number, kind, info); }
  counter(name: string): number { return Number(this.sys('counter', COUNTER[name]!)); }
  /** Lines on the console so far, without their time stamps. */
  get lines(): string[] { return this.console.split('\n').slice(0, -1).map((line) => line.replace(/^\[[0-9.]*\] /, '')); }

  // --- memory as hardware sees it ---

  /** The bytes behind a physical range: kernel memory or RAM. */
  phys(at: number, bytes: number): Buffer {
    if (at >= KERNEL_PHYS && at + bytes <= KERNEL_PHYS + this.kernelBytes) return Buffer.from(this.memory.buffer, at - KERNEL_PHYS, bytes);
    if (at < this.framesStart || at + bytes > RAM_START + RAM_BYTES) throw new KernelFault(`physical ${at.toString(16)}+${bytes} is not memory`);
    return this.ram.subarray(at - RAM_START, at - RAM_START + bytes);
  }
  private table(phys: number): DataView {
    const offset = phys - KERNEL_PHYS;
    if (offset < 0 || offset + PAGE > this.kernelBytes) throw new KernelFault(`a page table at ${phys.toString(16)}`);
    return new DataView(this.memory.buffer, offset, PAGE);
  }
  /** Physical address of a user byte, with the rights that a supervisor access needs; a fault where the hardware faults. */
  translate(va: bigint, write: boolean): number {
    let table = KERNEL_PHYS + this.root;
    for (let level = 3; level >= 0; level--) {
      const view = this.table(table);
      const at = Number((va >> BigInt(12 + 9 * level)) & 511n) * 8;
      const low = view.getUint32(at, true);
      if (!(low & 1) || view.getUint32(at + 4, true) !== 0) throw new KernelFault(`page fault at ${va.toString(16)}`);
      const target = (low >>> 10) * PAGE;
      if (low & 0xe) {
        if (level !== 0 || !(low & 16) || !(low & (write ? 4 : 2))) throw new KernelFault(`access fault at ${va.toString(16)}`);
        return target + Number(va & 4095n);
      }
      table = target;
    }
    throw new KernelFault(`no leaf for ${va.toString(16)}`);
  }
  /** Runs over a user range page by page. */
  private span(va: bigint, bytes: number, write: boolean, each: (memory: Buffer, done: number) => void): void {
    for (let done = 0; done < bytes; ) {
      const at = va + BigInt(done);
      const n = Math.min(bytes - done, PAGE - Number(at & BigInt(PAGE_MASK)));
      each(this.phys(this.translate(at, write), n), done);
      done += n;
    }
  }
  /** What a service wrote into its own linear memory. */
  poke(index: number, ptr: number, data: Uint8Array): void {
    this.span(this.word(index, 'memory') + BigInt(ptr), data.length, true, (memory, done) => memory.set(data.subarray(done, done + memory.length)));
  }
  peek(index: number, ptr: number, bytes: number): Buffer {
    const out = Buffer.alloc(bytes);
    this.span(this.word(index, 'memory') + BigInt(ptr), bytes, false, (memory, done) => out.set(memory, done));
    return out;
  }
  /** Pages that hold page tables. */
  get tablePages(): number {
    this.leaves();
    return this.tables;
  }
  /** Every leaf of the page table. */
  leaves(): Leaf[] {
    const found: Leaf[] = [];
    this.tables = 0;
    const walk = (phys: number, level: number, base: bigint): void => {
      const view = this.table(phys);
      this.tables++;
      for (let i = 0; i < 512; i++) {
        const low = view.getUint32(i * 8, true);
        if (!(low & 1)) continue;
        const va = base + (BigInt(i) << BigInt(12 + 9 * level));
        const target = (low >>> 10) * PAGE;
        if (!(low & 0xe)) walk(target, level - 1, va);
        else found.push({ va, phys: target, bytes: PAGE * 512 ** level, read: !!(low & 2), write: !!(low & 4), execute: !!(low & 8), user: !!(low & 16) });
      }
    };
    walk(KERNEL_PHYS + this.root, 3, 0n);
    return found;
  }

  // --- the intrinsics of runtime/guest/kernel.c ---

  private abort = (message: number, _file: number, line: number): never => {
    throw new KernelFault(`assert ${message} at line ${line}`);
  };
  private pending(): bigint { return (this.time >= this.timer ? 1n << 5n : 0n) | (this.plic.pending() ? 1n << 9n : 0n); }
  private inKernel(offset: number, bytes: number): Buffer {
    if (offset + bytes > this.kernelBytes) throw new KernelFault(`kernel memory ${offset.toString(16)}+${bytes}`);
    return Buffer.from(this.memory.buffer, offset, bytes);
  }
  private window(va: bigint, bytes: number): bigint {
    const at = BigInt.asUintN(64, va);
    if (at < WINDOW_BYTES || at >= WINDOW_END || BigInt(bytes) >= WINDOW_END - at) throw new KernelFault(`not in a window: ${at.toString(16)}+${bytes}`);
    return at;
  }
  private frames(phys: bigint, bytes: number): number {
    const at = Number(BigInt.asUintN(64, phys));
    if (at < this.framesStart || at + bytes > RAM_START + RAM_BYTES) throw new KernelFault(`not a frame: ${at.toString(16)}+${bytes}`);
    return at;
  }
  private dma(offset: number, bytes: number): number {
    const { DMA_START, DMA_END } = this.kernel.layout;
    if (offset < Number(DMA_START) || offset + bytes > Number(DMA_END) || offset % bytes !== 0) throw new KernelFault(`dma ${offset.toString(16)}`);
    return offset;
  }
  private mmio(phys: bigint, width: number): { device: MmioDevice | Plic | 'uart' | 'power'; offset: number } {
    const at = Number(BigInt.asUintN(64, phys));
    if (at % width !== 0) throw new KernelFault(`unaligned mmio ${at.toString(16)}`);
    if (at >= UART && at < VIRTIO_FIRST) return { device: 'uart', offset: at - UART };
    const slot = Math.floor((at - VIRTIO_FIRST) / PAGE);
    if (at >= VIRTIO_FIRST && slot < SLOTS) return { device: this.slots[slot]!, offset: at & PAGE_MASK };
    if (at >= PLIC_FIRST && at < PLIC_FIRST + 0x40_0000) return { device: this.plic, offset: at - PLIC_FIRST };
    throw new KernelFault(`mmio ${at.toString(16)}`);
  }
  private load(phys: bigint, width: number): number {
    const { device, offset } = this.mmio(phys, width);
    if (device === 'uart') return offset === 5 ? 0x20 : 0;
    if (device === 'power') return 0;
    return device.load(offset, width);
  }
  private store(phys: bigint, width: number, value: number): void {
    const { device, offset } = this.mmio(phys, width);
    if (device === 'uart') {
      if (offset === 0) this.console += String.fromCharCode(value & 255);
    } else if (device !== 'power') device.store(offset, width, value >>> 0);
  }
  private hw(): Record<string, (...args: never[]) => unknown> {
    const view = (): DataView => new DataView(this.memory.buffer);
    return {
      mmio_load8: (phys: bigint) => this.load(phys, 1),
      mmio_store8: (phys: bigint, value: number) => this.store(phys, 1, value),
      mmio_load32: (phys: bigint) => this.load(phys, 4) | 0,
      mmio_store32: (phys: bigint, value: number) => this.store(phys, 4, value),
      dma_load16: (o: number) => view().getUint16(this.dma(o >>> 0, 2), true),
      dma_load32: (o: number) => view().getUint32(this.dma(o >>> 0, 4), true) | 0,
      dma_store16: (o: number, value: number) => view().setUint16(this.dma(o >>> 0, 2), value, true),
      dma_store32: (o: number, value: number) => view().setUint32(this.dma(o >>> 0, 4), value, true),
      fence_io: () => { this.time += 1n; }, // a kernel that polls sees time go by
      phys_of: (offset: number) => BigInt(KERNEL_PHYS + (offset >>> 0)),
      frames_start: () => BigInt(this.framesStart),
      device_tree: () => BigInt(TREE_PHYS),
      copy_in: (to: number, va: bigint, bytes: number) => {
        const target = this.inKernel(to >>> 0, bytes >>> 0);
        this.span(this.window(va, bytes >>> 0), bytes >>> 0, false, (memory, done) => target.set(memory, done));
      },
      copy_out: (va: bigint, from: number, bytes: number) => {
        const source = this.inKernel(from >>> 0, bytes >>> 0);
        this.span(this.window(va, bytes >>> 0), bytes >>> 0, true, (memory, done) => memory.set(source.subarray(done, done + memory.length)));
      },
      copy_user: (to: bigint, from: bigint, bytes: number) => {
        const middle = Buffer.alloc(bytes >>> 0);
        this.span(this.window(from, bytes >>> 0), bytes >>> 0, false, (memory, done) => middle.set(memory, done));
        this.span(this.window(to, bytes >>> 0), bytes >>> 0, true, (memory, done) => memory.set(middle.subarray(done, done + memory.length)));
      },
      copy_boot: (to: number, phys: bigint, bytes: number) => this.inKernel(to >>> 0, bytes >>> 0).set(this.phys(this.frames(phys, bytes >>> 0), bytes >>> 0)),
      copy_frame: (phys: bigint, from: number, bytes: number) => this.phys(this.frames(phys, bytes >>> 0), bytes >>> 0).set(this.inKernel(from >>> 0, bytes >>> 0)),
      zero_page: (phys: bigint) => {
        if (phys % 4096n !== 0n) throw new KernelFault(`zero_page ${phys.toString(16)}`);
        this.phys(this.frames(phys, PAGE), PAGE).fill(0);
      },
      set_page_table: (offset: number) => { this.inKernel(offset, PAGE); this.root = offset; },
      fence_vm: () => { this.fences++; },
      fence_i: () => undefined,
      set_timer: (ticks: bigint) => { this.timer = BigInt.asUintN(64, ticks); },
      read_time: () => this.time,
      read_instret: () => this.time,
      pending: () => this.pending(),
      enable_interrupts: () => undefined,
      wfi: () => {
        this.naps++;
        if (this.plic.pending()) return;
        if (this.timer === NEVER) throw new KernelFault('idle for ever: no timer is armed');
        if (this.time < this.timer) this.time = this.timer;
      },
      halt: (code: number) => { throw new Halted(code, this.console); },
    } as unknown as Record<string, (...args: never[]) => unknown>;
  }
}
