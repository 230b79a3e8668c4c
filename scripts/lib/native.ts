// SPDX-License-Identifier: Apache-2.0
// From a .wasm to RISC-V: wasm2c (module name svc or kernel), one patch, one gcc run over runtime/guest, checks.
// Conventions that runtime/guest relies on: the generated file is module.c beside module.h, named by the macro MODULE_C
// (services) or KERNEL_C (kernel); symbol TEXT_BASE is the link address of a service; build/gen is on the include path.
// Invariant: output depends on the inputs and the tool versions alone: no paths, no build id, no time (a test rebuilds).
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { checkServiceElf } from './elf.js';
import { Failure, infra, wrong } from './fail.js';

const run = promisify(execFile);
const TOOL_PREFIX = 'riscv64-unknown-elf-';
const TOOL_TIMEOUT_MS = 180_000;

/** Address of the first module's text; each further module lies one span above (docs/format/bundle.md). */
export const TEXT_FIRST = 0x1000_0000_0000n;
export const TEXT_SPAN_BYTES = 0x1000_0000n;

/** Flags for both; no distribution of loops into calls of the very memcpy that they implement. */
const COMMON_FLAGS = [
  '-O2', '-std=gnu99', '-ffreestanding', '-nostdinc', '-nostdlib', '-static', '-mcmodel=medany', '-mtune=thead-c906',
  '-mno-strict-align', '-fno-tree-loop-distribute-patterns', '-fno-math-errno', '-fno-asynchronous-unwind-tables',
  '-fno-pic', '-fno-common', '-fno-ident', '-fno-stack-protector', '-Werror=implicit-function-declaration',
  '-Wl,--build-id=none', '-Wl,-z,noexecstack', '-Wl,--no-warn-rwx-segments', '-Wl,-z,max-page-size=4096',
];
/** Unused functions of the runtime (rounding, table accessors) fall away; the instance size is kept for the packer. */
export const SERVICE_FLAGS = [
  ...COMMON_FLAGS, '-march=rv64gc_zba_zbb', '-mabi=lp64d', '-ffunction-sections', '-Wl,--gc-sections',
  '-Wl,-u,vigil_instance_bytes',
];
/** Soft-float, so that the kernel never touches a service's floating-point state. */
export const KERNEL_FLAGS = [...COMMON_FLAGS, '-march=rv64imac_zba_zbb_zicsr_zifencei', '-mabi=lp64'];

const MEM_ADDR_OLD = '#define MEM_ADDR(mem, addr, n) &((mem)->data[addr])';
const MEM_ADDR_NEW = '#define MEM_ADDR(mem, addr, n) (vigil_memory + (addr))';

/** Runs a tool; a missing one is infrastructure, a failing one is our error with its first diagnostic lines. */
export async function runTool(root: string, tool: string, args: string[], cwd: string): Promise<string> {
  try {
    const { stdout } = await run(tool, args, { cwd, timeout: TOOL_TIMEOUT_MS, maxBuffer: 16 << 20, env: toolEnv() });
    return stdout;
  } catch (error) {
    const failed = error as NodeJS.ErrnoException & { stderr?: string; killed?: boolean };
    if (failed.code === 'ENOENT') return infra(`${tool} is not installed; run \`npx just doctor\` for the command that installs it`);
    if (failed.killed) return infra(`${tool} did not finish in ${TOOL_TIMEOUT_MS / 1000} s`);
    throw new Failure(1, firstErrors(failed.stderr ?? failed.message, root));
  }
}

/** The C locale, so that messages and sort orders do not depend on the machine. */
function toolEnv(): NodeJS.ProcessEnv {
  return { ...process.env, LC_ALL: 'C', LANGUAGE: '', SOURCE_DATE_EPOCH: '0' };
}

/** The lines of a tool's output that say why, without the machine's paths; notes only when there is nothing else. */
function firstErrors(text: string, root: string): string {
  const lines = text.split('\n').map((line) => line.replaceAll(`${root}/`, '').replace(/^\S*\/(ld|as|gcc)(\.\w+)?: /, '$1: '));
  const told = lines.filter((line) => line.trim() !== '' && !line.startsWith('collect2:'));
  const errors = told.filter((line) => /error|undefined reference|^ld: /i.test(line));
  const shown = errors.length > 0 ? errors : told.length > 0 ? told : lines;
  return shown.slice(0, 8).join('\n');
}

/** Version line of gcc: part of every cache key. */
export async function gccVersion(root: string): Promise<string> {
  return (await runTool(root, `${TOOL_PREFIX}gcc`, ['--version'], root)).split('\n')[0] ?? '';
}

/** Version of the installed wabt package: part of every cache key. */
export function wabtVersion(root: string): string {
  const require = createRequire(join(root, 'package.json'));
  return (require('wabt/package.json') as { version: string }).version;
}

let headers: Promise<string> | null = null;

/** GCC's own freestanding headers (stdint.h, stddef.h, stdbool.h): the only ones besides ours. */
function gccHeaders(root: string): Promise<string> {
  headers ??= runTool(root, `${TOOL_PREFIX}gcc`, ['-print-file-name=include'], root).then((path) => path.trim());
  return headers;
}

/** Writes module.c and module.h beside the .wasm and patches the one address macro to use tp. */
export async function toC(root: string, folder: string, wasm: string, moduleName: string): Promise<void> {
  const require = createRequire(join(root, 'package.json'));
  const tool = join(dirname(require.resolve('wabt/package.json')), 'bin/wasm2c');
  const target = join(folder, 'module.c');
  await runTool(root, process.execPath, [tool, wasm, '-n', moduleName, '-o', 'module.c'], folder);
  writeFileSync(target, patchMemAddr(readFileSync(target, 'utf8'), relative(root, target)));
}

/** Replaces wasm2c's little-endian MEM_ADDR. @throws Failure 1 unless it stands there exactly once. */
export function patchMemAddr(source: string, name: string): string {
  const parts = source.split(MEM_ADDR_OLD);
  if (parts.length !== 2) wrong(`${name}: MEM_ADDR stands there ${parts.length - 1} times, expected once; another wabt?`);
  return parts.join(MEM_ADDR_NEW);
}

export interface NativeJob {
  root: string;
  /** folder with the .wasm; receives module.c, NAME.full.elf and NAME.elf */
  folder: string;
  name: string;
  textBase: bigint;
  /** include folders with generated headers, relative to the root, first wins */
  gen: string[];
  /** absolute path of C that runs in place of the module's main: fixtures that forge their ELF */
  nativeC?: string;
}

function includes(job: { root: string; folder: string; gen: string[] }, gccIncludes: string): string[] {
  const own = [job.folder, ...job.gen.map((folder) => join(job.root, folder))].map((folder) => `-I${folder}`);
  return [...own, `-I${join(job.root, 'runtime/guest/include')}`, '-isystem', gccIncludes];
}

/** Builds a service's ELF from NAME.wasm; returns the size of its instance struct in bytes. */
export async function buildServiceElf(job: NativeJob): Promise<number> {
  const { root, folder, name } = job;
  mkdirSync(folder, { recursive: true });
  await toC(root, folder, `${name}.wasm`, 'svc');
  const full = join(folder, `${name}.full.elf`);
  const guest = join(root, 'runtime/guest');
  const args = [
    ...SERVICE_FLAGS,
    ...includes(job, await gccHeaders(root)),
    '-DMODULE_C="module.c"',
    ...(job.nativeC === undefined ? [] : [`-DNATIVE_C="${job.nativeC}"`]),
    `-Wl,--defsym=TEXT_BASE=0x${job.textBase.toString(16)}`,
    `-Wl,-T,${join(guest, 'service.ld')}`,
    '-o', full,
    join(guest, 'service.c'),
  ];
  await runTool(root, `${TOOL_PREFIX}gcc`, args, folder);
  const instance = checkServiceElf(readFileSync(full), `${name}.elf`, job.textBase, TEXT_SPAN_BYTES);
  await strip(root, full, join(folder, `${name}.elf`));
  return instance;
}

/** Builds the kernel image from kernel.wasm: one translation unit of C, one of assembly. Keeps symbols for gdb. */
export async function buildKernelElf(root: string, folder: string, gen: string[], target: string): Promise<void> {
  await toC(root, folder, 'kernel.wasm', 'kernel');
  const guest = join(root, 'runtime/guest');
  const full = join(folder, 'kernel.full.elf');
  const args = [
    ...KERNEL_FLAGS,
    ...includes({ root, folder, gen }, await gccHeaders(root)),
    '-DKERNEL_C="module.c"',
    `-Wl,-T,${join(guest, 'kernel.ld')}`,
    '-o', full,
    join(guest, 'kernel.c'),
    join(guest, 'kernel.S'),
  ];
  await runTool(root, `${TOOL_PREFIX}gcc`, args, folder);
  mkdirSync(dirname(target), { recursive: true });
  await strip(root, full, target);
}

/** Builds a bare image of the bench from NAME.wasm in `folder`, with the flags of a service; NAME.elf keeps its symbols. */
export async function buildBenchElf(root: string, folder: string, gen: string[], name: string): Promise<string> {
  await toC(root, folder, `${name}.wasm`, 'svc');
  const target = join(folder, `${name}.elf`);
  const bench = join(root, 'runtime/guest/bench');
  const args = [
    ...SERVICE_FLAGS.filter((flag) => !flag.startsWith('-Wl,-u,')),
    ...includes({ root, folder, gen }, await gccHeaders(root)),
    '-DMODULE_C="module.c"',
    `-Wl,-T,${join(bench, 'bench.ld')}`,
    '-o', target,
    join(bench, `${name}.c`),
  ];
  await runTool(root, `${TOOL_PREFIX}gcc`, args, folder);
  return target;
}

/** What is loaded at boot carries no symbols; the .full.elf beside it does. */
async function strip(root: string, from: string, to: string): Promise<void> {
  rmSync(to, { force: true });
  await runTool(root, `${TOOL_PREFIX}objcopy`, ['--strip-all', from, to], root);
}
