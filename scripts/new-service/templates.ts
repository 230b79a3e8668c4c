// SPDX-License-Identifier: Apache-2.0
// The texts of a new service: its protocol, its module, its test, its manifest entry and its markers. Pure: a name in, texts out.
// Invariant: what these texts make builds, boots, passes the gate and has its canaries without another edit (a test does it).
// Limits: one request (ECHO); the rest is for whoever writes the service.

/** The spellings of one service's name. */
export interface Names {
  /** `clockd`, `my-service` */
  name: string;
  /** `CLOCKD`, `MY_SERVICE` */
  upper: string;
  /** `clockd`, `my_service` */
  lower: string;
  /** two ASCII letters that begin each of its frames */
  magic: string;
}

const SPDX = '// SPDX-License-Identifier: Apache-2.0';
const hex = (char: string): string => `0x${char.charCodeAt(0).toString(16)}`;

/** assembly/lib/wire/NAME.ts */
export function wireText({ name, upper, magic }: Names): string {
  return `${SPDX}
// Owns: ${name}'s frames: "${magic}" version 1, nonce u32. Ops, statuses and limits; the head is nexus-ipc's.
// Invariant: numbers are frozen; a number is never used again for something else.
// Limits: ECHO carries at most ${upper}_ECHO_BYTES_MAX bytes.
import { Protocol } from "../nexus-ipc/frame";

export const ${upper}: Protocol = Protocol.of(${hex(magic[0]!)}, ${hex(magic[1]!)}, 1, 4, false);

/** ECHO: body any bytes. Reply: how often it was asked u32, then the same bytes. */
export const ${upper}_OP_ECHO: u8 = 1;

export const ${upper}_OK: u8 = 0;
export const ${upper}_MALFORMED: u8 = 1;
export const ${upper}_OVER_LIMIT: u8 = 2;
export const ${upper}_UNSUPPORTED: u8 = 3;

export const ${upper}_ECHO_BYTES_MAX: u32 = 64;
`;
}

/** assembly/services/NAME/index.ts */
export function moduleText({ name, upper }: Names): string {
  return `${SPDX}
// ${name}: gives back what it was sent, and how often it was asked.
// Invariant: a request changes nothing but the count; nothing waits on anyone.
// Limit: ${upper}_ECHO_BYTES_MAX bytes a request.
import { M_${upper}_READY, mark } from "../../gen/markers";
import { MUT_${upper}_READY_EVIDENCE_BROKEN, mutant } from "../../gen/mutants";
import { Request, serve, serverRoute } from "../../lib/nexus-ipc/index";
import {
  ${upper}, ${upper}_ECHO_BYTES_MAX, ${upper}_MALFORMED, ${upper}_OK, ${upper}_OP_ECHO, ${upper}_OVER_LIMIT,
  ${upper}_UNSUPPORTED,
} from "../../lib/wire/${name}";

export const vigil_abi: i32 = 1;

let asked: u32 = 0;
/** The bytes given back last; the evidence reads them. */
const echoed: usize = memory.data(64, 8);

/** Keeps the bytes and counts; false when they are too many. */
function echo(from: usize, length: u32): bool {
  if (length > ${upper}_ECHO_BYTES_MAX) return false;
  memory.copy(echoed, from, length);
  asked++;
  return true;
}

function onEcho(request: Request): void {
  const length = request.body.length;
  const from = request.body.takeBytes(length);
  if (!echo(from, length)) {
    request.answer(${upper}_OVER_LIMIT);
    return;
  }
  request.answer(${upper}_OK).putU32(asked).putBytes(echoed, length);
}

const probe: usize = memory.data<u8>([0x70, 0x72, 0x6f, 0x62, 0x65]);

/** Ready means: a request came back as it was sent, and one byte too many did not. */
function onPing(): bool {
  if (mutant(MUT_${upper}_READY_EVIDENCE_BROKEN)) return false;
  return echo(probe, 5) && memory.compare(echoed, probe, 5) == 0 && !echo(probe, ${upper}_ECHO_BYTES_MAX + 1);
}

function onReady(): void {
  mark(M_${upper}_READY);
}

export function main(): void {
  serverRoute(${upper}_OP_ECHO, onEcho);
  serve(${upper}, ${upper}_MALFORMED, ${upper}_UNSUPPORTED, onPing, onReady);
}
`;
}

/** tests/services/NAME.test.ts */
export function testText({ name, magic }: Names): string {
  return `${SPDX}
// ${name}'s shipping module under Node: ready only after its evidence, the limit at and over its edge, frames it must refuse.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { buildModule, Host, type Script } from '../../runtime/node/index.js';

const ECHO_BYTES_MAX = 64;
let wasm: Uint8Array;
before(async () => { wasm = await buildModule('${name}'); });

function run(script: (io: Host) => Script): void {
  new Host({ name: '${name}', wasm }).run(script);
}

/** A request of op \`op\` with this nonce and body. */
function frame(op: number, nonce: number, body: Uint8Array): Uint8Array {
  const out = Buffer.alloc(8 + body.length);
  out.write('${magic}', 0, 'ascii');
  out.writeUInt8(1, 2);
  out.writeUInt8(op, 3);
  out.writeUInt32LE(nonce, 4);
  out.set(body, 8);
  return out;
}

test('prints ready once, before it answers the ping', () => {
  run(function* (io) {
    const ping = Buffer.from([0x49, 0x4e, 1, 2, 7, 0, 0, 0]);
    assert.equal((yield* io.call('init-lite', ping))?.at(-1), 0);
    assert.deepEqual(io.console, ['${name}: ready']);
    yield* io.call('init-lite', ping);
    assert.equal(io.console.length, 1);
  });
});

test('gives back what was sent, with the nonce, and counts', () => {
  run(function* (io) {
    for (const [asked, text] of ['', 'hello', 'x'.repeat(ECHO_BYTES_MAX)].entries()) {
      const got = Buffer.from((yield* io.call('selftest', frame(1, 40 + asked, Buffer.from(text)))) ?? []);
      assert.deepEqual([...got.subarray(0, 4)], [...Buffer.from('${magic}'), 1, 0x81]);
      assert.deepEqual([got.readUInt8(4), got.readUInt32LE(5), got.readUInt32LE(9)], [0, 40 + asked, asked + 1]);
      assert.equal(got.subarray(13).toString(), text);
    }
  });
});

test('refuses one byte too many, an unknown op and a foreign frame, each with its status', () => {
  run(function* (io) {
    const refusals = [
      [frame(1, 1, Buffer.alloc(ECHO_BYTES_MAX + 1)), 2],
      [frame(9, 2, Buffer.alloc(0)), 3],
      [Buffer.from('nonsense'), 1],
    ] as const;
    for (const [bytes, status] of refusals) assert.equal((yield* io.call('selftest', bytes))?.[4], status);
  });
});
`;
}

/** The entry of image/services.toml. */
export function manifestText({ name }: Names): string {
  return `[[service]]
name = "${name}"
memory_pages = 4
depth = 16
restart_budget = 3
slots = ["init", "samgrd", "policyd", "logd", "metricsd"]
calls = []

`;
}

/** The two lines of markers/10-bring-up.toml. */
export function markerText({ name, lower }: Names): string {
  return `[[marker]]
text = "init: up ${name}"
by = "init-lite"
canary = { mutant = "init_skips_up_${lower}", expect = "missing" }

[[marker]]
text = "${name}: ready"
by = "${name}"
canary = { mutant = "${lower}_ready_evidence_broken", expect = "missing" }

`;
}

/** What init-lite's list of canaries imports for it. */
export function mutantImports({ upper }: Names): string {
  return `import { MUT_INIT_SKIPS_UP_${upper} } from "../../gen/mutants";\nimport { SVC_${upper}_ID } from "../../gen/services";\n`;
}

/** Its line in that list. */
export function mutantLine({ upper }: Names): string {
  return `  if (mutant(MUT_INIT_SKIPS_UP_${upper})) return id == SVC_${upper}_ID;\n`;
}
