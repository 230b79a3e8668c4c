// SPDX-License-Identifier: Apache-2.0
// Crash records between guest and host: one codec writes, the other reads, field by field; what is no record is named; addresses mean what
// the kernel's memory map says; the report names functions only where both digests agree.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, test, type TestContext } from 'node:test';
import { buildEntry, Host } from '../../runtime/node/index.js';
import * as address from '../../runtime/crash/address.js';
import {
  CALLS_MAX, DIGEST_BYTES, EVENT_START, NotARecord, RECORD_BYTES, SERVING_NAMES_MAX, decodeCrash, type CrashRecord,
} from '../../runtime/crash/record.js';
import { callText, culprit, json, report, type Tables } from '../../runtime/crash/report.js';
import { findSymbols } from '../../runtime/crash/symbols.js';
import { limit, loadAbi } from '../../scripts/lib/abi.js';
import { ROOT } from '../../scripts/lib/paths.js';

const abi = loadAbi();
const tables: Tables = {
  traps: new Map(abi.traps.map(({ number, name }) => [number, name])),
  errors: new Map(abi.errors.map(({ number, name }) => [number, name])),
  calls: new Map(abi.syscalls.map(({ nr, name }) => [nr, name])),
};
let host: Host;
before(async () => { host = new Host({ name: 'test', wasm: await buildEntry('tests/crash/guest-record.ts') }); });
const call = (name: string, ...args: (number | bigint)[]): number | bigint => host.fn(name)(...args);
function written(): Buffer {
  call('fill');
  return Buffer.from(host.bytes(Number(call('address')), RECORD_BYTES));
}
const sample = (changes: Partial<CrashRecord> = {}): CrashRecord => ({ ...decodeCrash(written()), ...changes });

test('what the guest writes is what the host reads', () => {
  const record = decodeCrash(written());
  const digest = (first: number): string => Buffer.from(Array.from({ length: DIGEST_BYTES }, (_, i) => first + i)).toString('hex');
  const { registers, calls, ...rest } = record;
  assert.deepEqual(rest, {
    sequence: 0x1122334455667788n, service: 'probe-b', id: 0x99aabbccddeeff00n, restarts: 3, parent: 9,
    moduleSha256: digest(1), elfSha256: digest(65), bundleSha256: digest(129),
    cause: 2, generation: 4, index: 17, memoryPages: 8, stackBytes: 16384, pc: 0x1000_b000_1242n, address: 0x4a_0008_0000n, timeNs: 18_402_224_000n,
    withheld: false, servingCount: 3, serving: ['selftest', 'metricsd'],
  });
  assert.deepEqual([...registers], Array.from({ length: 31 }, (_, i) => i + 1).filter((x) => x !== 3).map((x) => [x, BigInt(x) * 0x0101010101n]));
  for (const [x, value] of registers) assert.equal(BigInt.asUintN(64, BigInt(call('register', x))), value);
  assert.deepEqual(calls, [{ nr: 8, argument: 0x105, result: -4 }, { nr: 10, argument: 7, result: null }]);
  calls.forEach(({ nr, argument, result }, n) => assert.deepEqual([call('call', n), call('argument', n), call('result', n)], [nr, argument, result ?? 0]));
  assert.equal(call('valid', RECORD_BYTES), 1);
  assert.equal(call('valid', RECORD_BYTES - 1), 0);
  assert.equal(call('nameBytes'), 7);
});

test('limits of both sides are those of the table; keys are those of the ring', () => {
  assert.equal(call('bytes'), RECORD_BYTES);
  assert.deepEqual([limit(abi, 'crash', 'record_bytes'), limit(abi, 'crash', 'serving_names_max'), limit(abi, 'kernel', 'trace_events')],
    [RECORD_BYTES, SERVING_NAMES_MAX, CALLS_MAX]);
  const slots = limit(abi, 'crash', 'slots');
  const key = (length: number | bigint): string => host.text(Number(call('keyAddress')), Number(length));
  assert.equal(key(call('slotKey', 0)), '/state/crash/00');
  assert.equal(key(call('slotKey', slots - 1)), `/state/crash/${slots - 1}`);
  assert.equal(key(call('nextKey')), '/state/crash/next');
  for (const [sequence, slot] of [[0n, 0], [BigInt(slots) - 1n, slots - 1], [BigInt(slots), 0], [1n << 63n, Number((1n << 63n) % BigInt(slots))]] as const) {
    assert.equal(call('slotOf', sequence), slot);
  }
  for (const { number, name } of abi.traps) {
    const at = Number(call('trapNameAt', number));
    assert.equal(host.text(at, Number(call('trapNameLength'))), name);
  }
  // All that may wait goes out as one BATCH, with the sequence number: 12 bytes of head, 4 of flags and count, 4 and a key of 17 for each.
  const most = limit(abi, 'crash', 'pending_max') * (4 + 17 + RECORD_BYTES) + 4 + 17 + 8 + 16;
  assert.ok(most <= limit(abi, 'kernel', 'message_bytes_max'), `${most} bytes`);
});

test('what is no record is refused with the reason', () => {
  const bad = (change: (bytes: Buffer) => Buffer | void, why: RegExp): void => {
    const bytes = written();
    const changed = change(bytes) ?? bytes;
    assert.throws(() => decodeCrash(changed), (error: Error) => error instanceof NotARecord && why.test(error.message));
  };
  bad(() => Buffer.alloc(0), /does not begin/);
  bad((bytes) => { bytes[0] = 0; }, /does not begin/);
  bad((bytes) => { bytes.writeUInt16LE(2, 4); }, /version 2, this command reads 1/);
  bad((bytes) => bytes.subarray(0, RECORD_BYTES - 1), /663 bytes/);
  bad((bytes) => { bytes.writeUInt16LE(1, 6); }, /says 1, not 664/);
  bad((bytes) => { bytes.writeUInt16LE(SERVING_NAMES_MAX + 1, 30); }, /beyond its limit/);
  bad((bytes) => { bytes.writeUInt16LE(CALLS_MAX + 1, 160 + 24); }, /beyond its limit/);
  bad((bytes) => { bytes.writeUInt16LE(2, 160 + 26); }, /beyond its limit/);
  for (const name of ['', 'Probe', '\x1b[2J', '-a', 'a b']) bad((bytes) => { bytes.fill(0, 32, 64); bytes.write(name, 32, 'latin1'); }, /name/);
  bad((bytes) => { bytes[600] = 0x1b; }, /name/);
  bad((bytes) => { bytes[160 + 28] = 2; }, /withholds something/);
});

test('a record that withholds says so, for people and for machines, and shows no register and no argument', () => {
  const bytes = written();
  bytes[160 + 28] = 1;
  bytes.fill(0, 160 + 20, 160 + 24);
  bytes.fill(0, 160 + 64, 160 + 312);
  for (let n = 0; n < 2; n++) bytes.fill(0, 160 + 312 + 8 * n, 160 + 312 + 8 * n + 3);
  const record = decodeCrash(bytes);
  assert.deepEqual([record.withheld, record.registers.size], [true, 0]);
  const text = report(record, tables, { without: 'x' }).join('\n');
  assert.match(text, /\n  registers withheld: the manifest says crash_registers = false/);
  assert.match(text, /\(withheld\) = -4/);
  assert.doesNotMatch(text, /those that were saved|\(0x/);
  assert.equal(json(record, tables, { without: 'x' })['withheld'], true);
  assert.doesNotMatch(report(sample(), tables, { without: 'x' }).join('\n'), /withheld/);
});

test('any bytes: a record or a reason, never another error', () => {
  let seed = 0x2f6e2b1;
  const next = (): number => { seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0; return seed >>> 8; };
  for (let n = 0; n < 2000; n++) {
    const bytes = written();
    for (let k = 0; k < 4; k++) bytes[next() % RECORD_BYTES] = next() & 255;
    try {
      for (const line of report(decodeCrash(bytes), tables, { without: 'x' })) assert.match(line, /^[\x20-\x7e]*$/);
    } catch (error) {
      assert.ok(error instanceof NotARecord, `round ${n}: ${String(error)}`);
    }
  }
});

test('the memory map is the kernel\'s', () => {
  const text = readFileSync(join(ROOT, 'assembly/kernel/layout.ts'), 'utf8');
  for (const name of ['WINDOW_INSTANCE', 'WINDOW_TABLE', 'WINDOW_STACK_LOWEST', 'WINDOW_STACK_TOP', 'WINDOW_MEMORY', 'TEXT_FIRST', 'TEXT_STRIDE',
    'KERNEL_MEMORY_VA', 'RAM_START'] as const) {
    const known = new RegExp(`const ${name}: u64 = (\\w+);`).exec(text);
    assert.equal(address[name], BigInt(known![1]!.replaceAll('_', '')), name);
  }
  assert.equal(address.WINDOW_BYTES, BigInt(limit(abi, 'kernel', 'window_bytes')));
});

test('a fault address is explained by where it lies', () => {
  const window = 18n << 34n;
  const says = (at: bigint, trap: string, why: RegExp): void => assert.match(address.explain(sample({ address: at }), trap), why, `${at.toString(16)} ${trap}`);
  says(window + 0x2_0000_0000n + 8n * 65536n, 'oob_write', /: 0 bytes past the end of its linear memory \(8 pages, 524288 bytes\)/);
  says(window + 0x2_0000_0000n + 0x1_ffff_fffen, 'oob_write', /8589410302 bytes past the end/);
  says(window + 0x1f0000n - 16384n - 8n, 'stack_overflow', /below its stack of 16384 bytes, by 8 bytes/);
  says(window + 0x1f0000n - 8n, 'wild_access', /in its stack, 8 bytes below the top/);
  says(window + 0x2_0000_0010n, 'wild_access', /in its linear memory, at 0x10/);
  says(window + 0x80000n, 'wild_access', /function table/);
  says(window + 0x10000n, 'wild_access', /instance/);
  says(window, 'wild_access', /unmapped part/);
  says(17n << 34n, 'wild_access', /manifest entry 16, another service/);
  says(0n, 'wild_access', /null page/);
  says(0x1000_0000n, 'wild_access', /devices/);
  says(0x8020_0000n, 'wild_access', /physical memory/);
  says(0x1000_b000_0000n, 'wild_access', /in text/);
  says(0x2000_0000_0040n, 'wild_access', /kernel's memory/);
  says((1n << 64n) - 8n, 'wild_access', /nowhere/);
  says(0n, 'oob_read', /bulk or table access/);
  says((64n << 32n) | 0xffff_fff0n, 'bad_pointer', /passed 0xfffffff0 with 64 bytes to a call; its memory ends at 0x80000/);
  says(33n, 'bad_syscall', /call 33/);
  says(77n, 'abort', /line 77/);
  says(0x30200073n, 'illegal_instruction', /instruction there is 0x30200073/);
  says(0n, 'div_by_zero', /no address/);
  says(0n, 'killed', /by order/);
});

/** A folder with a file of names for the sample record. */
function symbols(t: TestContext, changes: Record<string, unknown> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'vigil-names-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const record = sample();
  const file = {
    format: 1, module: 'fixtures-probe', wasm_sha256: record.moduleSha256, elf_sha256: record.elfSha256,
    functions: [{ at: 0x1200, bytes: 0x100, name: 'fixtures/probe/trap' }, { at: 0x2000, bytes: 16, name: 'wasm_rt_trap' }], ...changes,
  };
  writeFileSync(join(folder, `${record.elfSha256}.json`), typeof changes.text === 'string' ? changes.text : JSON.stringify(file));
  return folder;
}

test('names come from the build of the same module and the same text alone; otherwise the reason is told', (t) => {
  const shown = (folder: string): string => report(sample(), tables, findSymbols(folder, sample())).join('\n');
  assert.match(shown(symbols(t)), /in +fixtures\/probe\/trap \+ 0x42 \(0x1000b0001242\)/);
  const empty = mkdtempSync(join(tmpdir(), 'vigil-names-'));
  t.after(() => rmSync(empty, { recursive: true }));
  assert.match(shown(empty), /in +0x1000b0001242\n.*none: .* no names of this text: it is of another build/);
  assert.match(shown(symbols(t, { elf_sha256: '00' })), /names +none: .* is of another text/);
  assert.match(shown(symbols(t, { wasm_sha256: '00' })), /names +none: .* is of another text/);
  assert.match(shown(symbols(t, { format: 2 })), /names +none: .*not a file of names/);
  assert.match(shown(symbols(t, { text: '{"half":' })), /names +none: .*damaged/);
});

test('a trap of the runtime is told by who called it', (t) => {
  const folder = symbols(t);
  const inRuntime = sample({ pc: 0x1000_b000_2004n, registers: new Map([[1, 0x1000_b000_1250n]]) });
  assert.equal(culprit(inRuntime, findSymbols(folder, inRuntime)), 'fixtures/probe/trap');
  const lines = report(inRuntime, tables, findSymbols(folder, inRuntime)).join('\n');
  assert.match(lines, /in +wasm_rt_trap \+ 0x4/);
  assert.match(lines, /called from +fixtures\/probe\/trap/);
  const without = sample({ pc: 0x1000_b000_2004n, registers: new Map() });
  assert.equal(culprit(without, findSymbols(folder, without)), 'wasm_rt_trap', 'ra was not saved');
  assert.equal(culprit(without, { without: 'x' }), '0x1000b0002004');
  // A return address just behind a call that ends its function belongs to that function.
  const atEnd = sample({ pc: 0x1000_b000_2004n, registers: new Map([[1, 0x1000_b000_1300n]]) });
  assert.equal(culprit(atEnd, findSymbols(folder, atEnd)), 'fixtures/probe/trap');
});

test('calls read as they were made; a report and its JSON say the same', (t) => {
  assert.equal(callText({ nr: 8, argument: 0x105, result: -4 }, tables), 'call(0x105) = -4 timeout');
  assert.equal(callText({ nr: 10, argument: 7, result: null }, tables), 'reply_recv(0x7): it ended here');
  assert.equal(callText({ nr: EVENT_START, argument: 0, result: null }, tables), 'start');
  assert.equal(callText({ nr: 60, argument: 0, result: 5 }, tables), 'call 60(0x0) = 5');
  assert.equal(callText({ nr: 6, argument: 0, result: -99 }, tables), 'send(0x0) = -99');
  const found = findSymbols(symbols(t), sample());
  const text = report(sample(), tables, found).join('\n');
  const machine = json(sample(), tables, found);
  assert.equal(machine.function, 'fixtures/probe/trap');
  assert.deepEqual([machine.trap, machine.service, machine.function_offset], ['oob_write', 'probe-b', 0x42]);
  for (const value of [machine.service, machine.trap, machine.address_meaning, machine.module_sha256, machine.bundle_sha256]) assert.ok(text.includes(String(value)));
  assert.match(text, /waiting for it +selftest, metricsd and 1 more/);
  assert.match(text, /started by +manifest entry 9/);
  assert.match(report(sample({ parent: 0 }), tables, found).join('\n'), /started by +init-lite/);
});
