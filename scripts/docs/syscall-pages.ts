// SPDX-License-Identifier: Apache-2.0
// One page a system call, from abi/syscalls.toml and abi/errors.toml. Pure: tables in, texts out.
// Invariant: a page says only what the tables say, so that code, kernel and manual cannot differ.
// Limits: parameters are explained by name (MEANINGS); a name without a meaning is an error of this file, and a test fails.
import type { Abi, Param, Syscall } from '../lib/abi.js';

/** What a parameter of this name is, in every call that has it. `CALL.NAME` wins over `NAME`. */
export const MEANINGS: Readonly<Record<string, string>> = {
  handle: 'the capability to use: slot number, and its generation from bit 8 on',
  endpoint: 'handle of an endpoint that the caller receives on',
  device: 'handle of a device capability',
  ptr: 'address in the caller\'s memory of the bytes to read',
  len: 'how many bytes',
  len_move: 'bits 0..31: how many bytes; bits 32..63: handle of a capability to move with them, 0 for none',
  buffer: 'bits 0..31: address to write to; bits 32..63: how many bytes fit there',
  'call.reply': 'where the reply goes: bits 0..31 address, bits 32..63 how many bytes fit there',
  'reply.reply': 'the one-shot reply handle that a receive delivered',
  handles: 'bits 0..31: reply handle, 0 for none; bits 32..63: handle of the endpoint to receive on',
  meta: 'address of 32 bytes in the caller\'s memory that take four u64 words; travels in no register',
  deadline_ns: 'absolute guest time in ns; 0 never waits; at most `kernel.wait_max_ns` ahead',
  flags: 'a set of bits, named above; 0 for none',
  rights: 'the rights to give: SEND 1, RECV 2, CLONE 4, GRANT 8, QUERY 16',
  code: 'exit code',
  kind: 'what kind, see above',
  'trap.kind': 'number of the trap (abi/traps.toml)',
  info: 'program counter or line, for the report',
  delta_pages: 'how many pages of 64 KiB to add',
  depth: 'how many messages may wait, 1 to `kernel.endpoint_depth_max`',
  index: 'index of a manifest entry',
  slot: 'slot of the child to fill, 1 to 63 (fixed ones: abi/slots.toml)',
  name: 'address of a name in the caller\'s memory',
  offset: 'where to begin, in bytes',
  'bundle_stat.ptr': 'address to write the record to',
  'bundle_read.ptr': 'address to write to',
  'boot_arg.ptr': 'address to write the value to',
  cap: 'how many bytes fit there',
  key: 'address of the key in the caller\'s memory',
  key_len: 'how many bytes the key has',
  features: 'virtio feature bits that the driver understands',
  width: '1, 2, 4 or 8 bytes',
  queue: 'index of a virtqueue',
  size: 'descriptors in the queue, a power of two',
  list: 'address of the buffer descriptions',
  count: 'how many of them',
  which: 'number of the counter (abi/counters.toml)',
};

const KIND_TEXT: Readonly<Record<Syscall['kind'], string>> = {
  call: 'traps into the kernel',
  inline: 'reads a counter in user mode without a trap',
  runtime: 'used by the module\'s own runtime; modules do not import it',
  mutant: 'exists in the mutant image alone; the shipping kernel has no such call',
};

/** `07_recv.md` */
export function pageName(call: Syscall): string {
  return `${String(call.nr).padStart(2, '0')}_${call.name}.md`;
}

function meaning(call: Syscall, param: Param): string {
  const text = MEANINGS[`${call.name}.${param.name}`] ?? MEANINGS[param.name];
  if (text === undefined) throw new Error(`scripts/docs/syscall-pages.ts: no meaning for ${call.name}.${param.name}`);
  return text;
}

function signature(call: Syscall): string {
  const params = call.params.map(({ name, type }) => `${name}: ${type === 'meta' ? 'u32' : type}`).join(', ');
  return [
    `@external("sys", "${call.name}")`,
    `export declare function sys_${call.name}(${params}): ${call.never ? 'void' : 'i64'};`,
  ].join('\n');
}

function parameterTable(call: Syscall): string[] {
  if (call.params.length === 0) return ['It takes no parameters.'];
  let register = 0;
  const rows = call.params.map((param) => {
    const place = param.type === 'meta' ? 'none' : `a${++register}`;
    return `| \`${param.name}\` | ${param.type === 'meta' ? 'u32' : param.type} | ${place} | ${meaning(call, param)} |`;
  });
  return ['| parameter | type | register | meaning |', '|---|---|---|---|', ...rows];
}

function result(call: Syscall): string {
  if (call.never) return 'It does not return.';
  if (call.kind === 'inline') return 'The result is the counter; it cannot fail.';
  if (call.kind === 'runtime') return 'The result goes to the module\'s runtime.';
  return 'The result, in `a0`, is 0 or more on success and minus the number of an error otherwise.';
}

function errorTable(call: Syscall, causes: ReadonlyMap<string, string>, numbers: ReadonlyMap<string, number>): string[] {
  if (call.errors.length === 0) return [];
  const rows = call.errors.map((name) => `| -${numbers.get(name)} | \`${name}\` | ${causes.get(name)} |`);
  return ['## Errors', '', '| result | name | cause |', '|---|---|---|', ...rows, ''];
}

/** One call's page. `causes` are the texts of abi/errors.toml by name. */
export function syscallPage(call: Syscall, abi: Abi, causes: ReadonlyMap<string, string>): string {
  const numbers = new Map(abi.errors.map(({ name, number }) => [name, number]));
  const imported = call.kind === 'call' || call.kind === 'inline' ? ['```ts', signature(call), '```', ''] : [];
  const number = call.kind === 'inline' ? `${call.nr} (never in a register)` : `${call.nr}, in \`a7\``;
  return [
    `# ${call.name}`,
    '',
    call.brief,
    '',
    `Number ${number}. Kind \`${call.kind}\`: ${KIND_TEXT[call.kind]}.`,
    '',
    ...imported,
    ...parameterTable(call),
    '',
    result(call),
    '',
    ...errorTable(call, causes, numbers),
    'Anything else that a caller does wrong (a call that its module does not import, an address outside its memory) ends it:',
    'see [traps](README.md#traps). Generated by `just docs` from `abi/syscalls.toml`.',
    '',
  ].join('\n');
}

/** The folder's index, with the tables that the pages refer to. */
export function syscallIndex(abi: Abi, causes: ReadonlyMap<string, string>): string {
  const cell = (text: string): string => text.replace(/\|/g, '\\|');
  return [
    '# System calls',
    '',
    `ABI version ${abi.version}. Generated by \`just docs\` from \`abi/*.toml\`; a test holds the two together.`,
    '',
    'A module imports each call it uses from the module `sys`. The loader turns those imports into the set of calls that the',
    'service may make. The call\'s number travels in `a7`, parameters in `a1` and on, the result in `a0`. Where a call has `meta`,',
    'the kernel\'s further results come in `a1` to `a4` and the stub stores them as four u64 words at that address.',
    '',
    '| nr | call | what it does |',
    '|---|---|---|',
    ...abi.syscalls.map((call) => `| ${call.nr} | [${call.name}](${pageName(call)}) | ${cell(call.brief)} |`),
    '',
    '## Errors',
    '',
    'A call that failed returns minus one of these numbers. Numbers are never used again for something else.',
    '',
    '| number | name | cause |',
    '|---|---|---|',
    ...abi.errors.map(({ name, number }) => `| ${number} | \`${name}\` | ${cell(causes.get(name) ?? '')} |`),
    '',
    '## Traps',
    '',
    'A service that does what no error covers is ended. The kernel prints `kernel: trap SERVICE NAME`, reports it to the parent,',
    'and the others go on.',
    '',
    '| number | name |',
    '|---|---|',
    ...abi.traps.map(({ name, number }) => `| ${number} | \`${name}\` |`),
    '',
  ].join('\n');
}
