// SPDX-License-Identifier: Apache-2.0
// The nominal types are a barrier: for each confusable pair the compiler refuses the wrong one, for that reason, and takes the
// right one (so that a refusal is not an accident of the fixture).
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { compile } from '../../runtime/node/index.js';
import { ROOT } from '../../scripts/lib/paths.js';
import { PAIRS, program, RAW, TYPES } from './pairs.js';

const FOLDER = 'build/test/compile-fail';
before(() => { mkdirSync(join(ROOT, FOLDER), { recursive: true }); });

/** Compiles a source text without optimising; tells whether it did and what the compiler said. */
async function tries(name: string, source: string): Promise<{ ok: boolean; messages: string }> {
  const path = `${FOLDER}/${name.replace(/\W+/g, '-')}.ts`;
  writeFileSync(join(ROOT, path), source);
  return compile(path, ['--runtime', 'stub']);
}

for (const pair of PAIRS) {
  test(`${pair.given} is no ${pair.wanted}`, async () => {
    const wrong = await tries(`${pair.given} as ${pair.wanted}`, program(pair, false));
    assert.equal(wrong.ok, false, 'it compiled');
    assert.match(wrong.messages, new RegExp(`TS2322: Type '\\S*${pair.given}' is not assignable to type '\\S*${pair.wanted}'`));
  });
}
for (const wanted of new Set(PAIRS.map((pair) => pair.wanted))) {
  test(`the twin with the right type compiles: ${wanted}`, async () => {
    const { ok, messages } = await tries(`right ${wanted}`, program({ wanted, given: wanted }, true));
    assert.ok(ok, messages);
  });
}
for (const { name, source } of RAW) {
  test(`${name} does not compile`, async () => {
    const { ok, messages } = await tries(name, source);
    assert.equal(ok, false);
    assert.match(messages, /TS2322|AS200|TS2345/);
  });
}

for (const [module, names] of Object.entries(TYPES)) {
  test(`each type of ${module} is in a pair, both ways`, () => {
    const source = readFileSync(join(ROOT, `assembly/lib/${module}.ts`), 'utf8');
    assert.deepEqual([...source.matchAll(/^export class (\w+)/gm)].map(([, name]) => name).sort(), [...names].sort());
    for (const name of names) {
      assert.ok(PAIRS.some(({ wanted }) => wanted === name) && PAIRS.some(({ given }) => given === name), name);
    }
  });
}
