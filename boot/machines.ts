// SPDX-License-Identifier: Apache-2.0
// The one place that spells a QEMU command line. A machine is a pure value: the same spec always gives the same argv.
// Invariant: a profile owns its topology (one hart, 64 MiB, pinned virtio slots); nothing outside this file adds an option.
// Limits: `virt` only; Unix socket paths at most SOCKET_PATH_BYTES_MAX bytes (sun_path is 108 with its zero).
import { infra, wrong } from '../scripts/lib/fail.js';

export type Transport = 'modern' | 'legacy';
export const TRANSPORTS: readonly Transport[] = ['modern', 'legacy'];

/** `gate`: deterministic, icount. `run`: real time, for people. `gdb`: the gate's machine, halted before the first instruction. */
export type Mode = 'gate' | 'run' | 'gdb';

export const QEMU = 'qemu-system-riscv64';
export const SOCKET_PATH_BYTES_MAX = 100;
/** How long QEMU waits before it looks for the bridge again. */
export const BRIDGE_RECONNECT_S = 1;
/** abi/limits.toml [kernel] boot_args_bytes_max; tests/gate holds the two together. */
export const BOOT_ARGS_BYTES_MAX = 1024;

/** Unix sockets of one machine. `dcgm`: the bridge listens, QEMU connects (in mode run again and again). The others: QEMU listens. */
export interface Sockets {
  dcgm: string;
  exports: string;
  control: string;
  gdb: string;
}

/** How the console is wired: `pty` is the raw byte stream alone; `monitor` lets a person reach QEMU's monitor by Ctrl-A c. */
export type Console = 'pty' | 'monitor';

/** The disk of slot 2. scripts/lib/disk.ts makes one. */
export interface Drive {
  /** an image file; `throwaway`: a flush need not reach the host's disk, for nobody reads the image after this boot */
  source: { file: string; throwaway: boolean } | { nbd: string };
  readOnly?: boolean;
  /** the device offers neither FLUSH nor a switch for its cache */
  noFlush?: boolean;
}

/** Everything that decides an argv. */
export interface MachineSpec {
  transport: Transport;
  mode: Mode;
  kernelPath: string;
  bundlePath: string;
  /** the kernel's command line, from bootArgs() */
  append: string;
  sockets: Sockets;
  console: Console;
  /** file to which QEMU itself copies every console byte: complete even where a terminal loses what was pending at the end */
  consoleLog?: string;
  /** false in the bench profile, which has no virtio device */
  devices: boolean;
  /** absent: slot 2 stays empty */
  drive?: Drive;
  /** QEMU starts the guest only once the host's end of the export port is connected, so that it is there from the first instruction */
  waitForExport?: boolean;
}

/** Keys of the kernel's command line. */
export interface BootArgs {
  profile: string;
  /** 16 lower-case hex digits */
  nonce: string;
  /** the bundle's identity: SHA-256 of its manifest, 64 hex digits */
  bundle: string;
  idle: 'poll' | 'sleep';
  recipe?: string;
  mutant?: number;
  diag?: boolean;
  /** services that init-lite leaves out of this boot */
  without?: readonly string[];
  /** profile crash: which operations it performs; 8 hex digits each */
  seed?: string;
  round?: string;
  /** profile soak: minutes of guest time */
  minutes?: number;
  /** profile run: ms between two exports of the image's own series; absent: limits.exportd export_interval_ns */
  exportMs?: number;
}

/** The bench profile has no virtio device, so it boots without the services that prove one when they start. */
export const BENCH_PROFILE = 'bench';
const NEEDS_DEVICES: readonly string[] = ['statefsd', 'rngd', 'keystored', 'portd', 'dcgmd', 'exportd'];

/** What a boot profile leaves out: whether the machine has virtio devices, and the services of `without`. */
export function partsOf(profile: string): { devices: boolean; without?: readonly string[] } {
  return profile === BENCH_PROFILE ? { devices: false, without: NEEDS_DEVICES } : { devices: true };
}

const ICOUNT = ['-icount', 'shift=0,sleep=off', '-seed', '42', '-rtc', 'base=2026-01-01T00:00:00,clock=vm'];

/** The kernel's command line, keys in a fixed order. @throws Failure 1 on a value that the format cannot carry. */
export function bootArgs(args: BootArgs): string {
  if (!/^[0-9a-f]{16}$/.test(args.nonce)) wrong(`nonce "${args.nonce}" is not 16 hex digits`);
  if (!/^[0-9a-f]{64}$/.test(args.bundle)) wrong(`bundle "${args.bundle}" is not a SHA-256`);
  const pairs: [string, string | undefined][] = [
    ['profile', args.profile],
    ['nonce', args.nonce],
    ['bundle', args.bundle],
    ['idle', args.idle],
    ['recipe', args.recipe],
    ['mutant', args.mutant === undefined ? undefined : String(args.mutant)],
    ['diag', args.diag === true ? 'on' : undefined],
    ['without', args.without?.join('.')],
    ['seed', args.seed],
    ['round', args.round],
    ['minutes', args.minutes === undefined ? undefined : String(args.minutes)],
    ['export_ms', args.exportMs === undefined ? undefined : String(args.exportMs)],
  ];
  const text = pairs
    .filter((pair): pair is [string, string] => pair[1] !== undefined)
    .map(([key, value]) => (/^[A-Za-z0-9._-]+$/.test(value) ? `${key}=${value}` : wrong(`${key} "${value}" has a bad character`)))
    .join(' ');
  if (text.length >= BOOT_ARGS_BYTES_MAX) wrong(`the boot arguments are longer than ${BOOT_ARGS_BYTES_MAX} bytes`);
  return text;
}

/** The four socket paths below one short private directory. @throws Failure 3 when a path would not fit in sun_path. */
export function socketsIn(dir: string): Sockets {
  const at = (name: string): string => {
    const path = `${dir}/${name}`;
    if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) infra(`socket path "${path}" is too long; set TMPDIR to a short path`);
    return path;
  };
  return { dcgm: at('dcgm.sock'), exports: at('export.sock'), control: at('control.sock'), gdb: at('gdb.sock') };
}

/** A value inside a comma-separated QEMU option. */
function value(text: string): string {
  return text.replace(/,/g, ',,');
}

function consoleArgs(kind: Console, log: string | undefined): string[] {
  const copy = log === undefined ? '' : `,logfile=${value(log)}`;
  if (kind === 'monitor') return ['-chardev', `stdio,id=console,mux=on,signal=off${copy}`, '-serial', 'chardev:console', '-mon', 'console'];
  return ['-chardev', `stdio,id=console,signal=off${copy}`, '-serial', 'chardev:console', '-monitor', 'none'];
}

/** Slot 2: the disk of /state. An error is the guest's to handle: QEMU's default would stop the machine when the host's disk is full. */
function driveArgs(drive: Drive): string[] {
  const { source, readOnly = false, noFlush = false } = drive;
  const protocol =
    'nbd' in source
      ? `driver=nbd,server.type=unix,server.path=${value(source.nbd)},export=state`
      : `driver=file,filename=${value(source.file)}${source.throwaway ? ',cache.no-flush=on' : ''}`;
  const format = `driver=raw,node-name=state,file=state-file${'file' in source && source.throwaway ? ',cache.no-flush=on' : ''}`;
  const readOnlyArg = readOnly ? ',read-only=on' : '';
  const cache = noFlush ? ',write-cache=off,config-wce=off' : '';
  return [
    '-blockdev', `${protocol},node-name=state-file${readOnlyArg}`,
    '-blockdev', `${format}${readOnlyArg}`,
    '-device', `virtio-blk-device,drive=state,bus=virtio-mmio-bus.2,werror=report,rerror=report${cache}`,
  ];
}

/** Slot 0: entropy. Slot 1: the multiport console with the three host ports of portd. Slot 2: the disk. Everything else stays empty. */
function deviceArgs({ sockets, mode, waitForExport = false }: MachineSpec): string[] {
  // In real time QEMU comes back to a bridge that was started anew; in the gate a bridge that went is a fault, and time is not the host's.
  const again = mode === 'run' ? `,reconnect=${BRIDGE_RECONNECT_S}` : '';
  return [
    '-device', 'virtio-rng-device,bus=virtio-mmio-bus.0',
    '-device', 'virtio-serial-device,id=vser,max_ports=4,bus=virtio-mmio-bus.1',
    '-chardev', `socket,id=dcgm,path=${sockets.dcgm}${again}`,
    '-device', 'virtserialport,bus=vser.0,nr=1,chardev=dcgm,name=org.vigil.dcgm',
    '-chardev', `socket,id=export,path=${sockets.exports},server=on,wait=${waitForExport ? 'on' : 'off'}`,
    '-device', 'virtserialport,bus=vser.0,nr=2,chardev=export,name=org.vigil.export',
    '-chardev', `socket,id=control,path=${sockets.control},server=on,wait=off`,
    '-device', 'virtserialport,bus=vser.0,nr=3,chardev=control,name=org.vigil.control',
  ];
}

const BOARD = [
  '-M', 'virt',
  '-cpu', 'rv64,sstc=on,zba=on,zbb=on',
  '-smp', '1',
  '-m', '64M',
  '-display', 'none',
  '-no-reboot',
  '-nodefaults',
  '-no-user-config',
];

/** The argv of the bench's second boot: one bare image under icount, no bundle, no device but the UART. */
export function bareArgv(kernelPath: string): string[] {
  return [...BOARD, ...ICOUNT, ...consoleArgs('pty', undefined), '-kernel', kernelPath];
}

/** The argv of one machine, without the program's name. */
export function qemuArgv(spec: MachineSpec): string[] {
  return [
    ...BOARD,
    '-global', `virtio-mmio.force-legacy=${spec.transport === 'legacy'}`,
    ...(spec.mode === 'run' ? [] : ICOUNT),
    ...consoleArgs(spec.console, spec.consoleLog),
    ...(spec.devices ? deviceArgs(spec) : []),
    ...(spec.devices && spec.drive !== undefined ? driveArgs(spec.drive) : []),
    ...(spec.mode === 'gdb' ? ['-S', '-chardev', `socket,id=gdb,path=${spec.sockets.gdb},server=on,wait=off`, '-gdb', 'chardev:gdb'] : []),
    '-kernel', spec.kernelPath,
    '-initrd', spec.bundlePath,
    '-append', spec.append,
  ];
}
