// SPDX-License-Identifier: Apache-2.0
// A worker thread with one warm compiler: asc, then wabt's validator with threads disabled, for one job after another.
// Plain JavaScript on purpose: the TypeScript loader of the main thread would transform these two large packages (8 s).
// Message in: {source, root, flags, replace} or {validate, name}. Message out: {wasm, read} or {error, failure}.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { parentPort } from 'node:worker_threads';

const CATEGORY_ERROR = 3;

/** The features of asc's output; everything else, threads first of all, is refused. */
const FEATURES = {
  threads: false,
  exceptions: false,
  simd: false,
  tail_call: false,
  memory64: false,
  gc: false,
  function_references: false,
  relaxed_simd: false,
  multi_value: false,
  reference_types: false,
  extended_const: false,
  annotations: false,
  code_metadata: false,
  mutable_globals: true,
  sat_float_to_int: true,
  sign_extension: true,
  bulk_memory: true,
};

/** An error of the sources, as opposed to a bug of ours. */
class Wrong extends Error {}

/** One diagnostic as `file:line:col: code: text`; a position in the standard library has no line of ours. */
function line({ message, code, category, range }, texts) {
  if (category !== CATEGORY_ERROR) return [];
  const path = range?.source?.normalizedPath;
  const name = `${code < 1000 ? 'AS' : 'TS'}${code}`; // asc's own codes are below 1000, the others are TypeScript's
  if (path === undefined) return [`asc: ${name}: ${message}`];
  const before = texts.get(path)?.slice(0, range.start).split('\n');
  const at = before === undefined ? '' : `:${before.length}:${before[before.length - 1].length + 1}`;
  return [`${path}${at}: ${name}: ${message}`];
}

let asc = null;
let wabt = null;

/** Assembles a fixture written as text, for what an optimiser would never let through (an address beyond any memory). */
async function assemble(source, root) {
  wabt ??= await createRequire(import.meta.url)('wabt')();
  const text = readFileSync(join(root, source), 'utf8');
  let module = null;
  try {
    module = wabt.parseWat(source, text, FEATURES);
    const { buffer } = module.toBinary({});
    await validate(buffer, source);
    return { wasm: Uint8Array.from(buffer), read: { [source]: createHash('sha256').update(text).digest('hex') } };
  } catch (error) {
    throw error instanceof Wrong ? error : new Wrong(error.message.trim());
  } finally {
    module?.destroy();
  }
}

async function compile({ source, root, flags, replace }) {
  if (source.endsWith('.wat')) return assemble(source, root);
  asc ??= await import('assemblyscript/asc');
  const texts = new Map();
  const read = {};
  const errors = [];
  const problems = [];
  let wasm = null;
  const { error } = await asc.main([source, ...flags, '--outFile', 'out.wasm', '--baseDir', root], {
    stdout: { write: () => {} },
    stderr: { write: (chunk) => void problems.push(chunk.toString()) },
    readFile: (name) => {
      const path = name.replace(/^\.\//, '');
      read[path] = null;
      try {
        const text = replace[path] ?? readFileSync(join(root, path), 'utf8');
        texts.set(path, text);
        read[path] = createHash('sha256').update(text).digest('hex');
        return text;
      } catch {
        return null; // asc tries several candidates; an absent one is part of `read`
      }
    },
    writeFile: (_name, contents) => void (wasm = contents),
    listFiles: () => [],
    reportDiagnostic: (diagnostic) => void errors.push(...line(diagnostic, texts)),
  });
  if (wasm === null || error !== null) {
    if (errors.length === 0) errors.push(`${source}: ${error?.message ?? 'asc wrote nothing'} ${problems.join(' ').trim()}`);
    throw new Wrong([...new Set(errors)].join('\n'));
  }
  await validate(wasm, source);
  return { wasm, read };
}

async function validate(bytes, name) {
  wabt ??= await createRequire(import.meta.url)('wabt')();
  let module = null;
  try {
    module = wabt.readWasm(bytes, FEATURES);
    module.validate();
  } catch (error) {
    const detail = error.message.split('\n').filter((text) => text.trim() !== '').pop() ?? 'invalid';
    throw new Wrong(`${name}: not valid WebAssembly with threads disabled: ${detail.trim()}`);
  } finally {
    module?.destroy();
  }
}

parentPort.on('message', async (job) => {
  try {
    if (job.validate !== undefined) {
      await validate(job.validate, job.name);
      parentPort.postMessage({ wasm: job.validate, read: {} });
    } else {
      parentPort.postMessage(await compile(job));
    }
  } catch (error) {
    parentPort.postMessage({ error: error instanceof Wrong ? error.message : error.stack, failure: error instanceof Wrong });
  }
});
