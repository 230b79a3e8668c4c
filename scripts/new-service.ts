// SPDX-License-Identifier: Apache-2.0
// `just new-service NAME`: writes the files and table entries of a service that builds, boots before selftest and is in the gate.
// Invariant: all or nothing: every check is made before the first byte is written, and nothing that exists is overwritten.
// Limits: names of 1 to 15 letters, digits and dashes. Exit codes: 0, 2 usage (bad or taken name), 3 the disk.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { runMain, usage, wrong } from './lib/fail.js';
import { ROOT } from './lib/paths.js';
import {
  manifestText, markerText, moduleText, mutantImports, mutantLine, testText, wireText, type Names,
} from './new-service/templates.js';

const NAME = /^[a-z][a-z0-9-]{0,13}[a-z0-9]$/;
const MANIFEST = 'image/services.toml';
const MARKERS = 'markers/10-bring-up.toml';
/** init-lite's canaries of `init: up NAME`. */
const MUTANTS = 'assembly/services/init-lite/mutants.ts';
const FRAMES = 'assembly/lib/nexus-ipc/frame.ts';
const USAGE = `usage: just new-service NAME
  NAME: 2 to 15 of a-z, 0-9 and -, first a letter. Makes, ready to build and boot:
    assembly/services/NAME/index.ts   assembly/lib/wire/NAME.ts   tests/services/NAME.test.ts
  and adds its entry to ${MANIFEST}, its two lines to ${MARKERS} and their canary to init-lite.
  example: just new-service clockd`;

/** Two capital letters for a name's frames that no protocol has yet: its first letter and the first free second one. */
export function freeMagic(name: string, taken: ReadonlySet<string>): string {
  const first = name[0]!.toUpperCase();
  const seconds = [...name.slice(1).toUpperCase().replace(/[^A-Z]/g, ''), ...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'];
  const second = seconds.find((letter) => !taken.has(first + letter));
  return second === undefined ? wrong(`no two letters beginning with ${first} are free for frames`) : first + second;
}

/** Magics of every protocol in a source text: `Protocol.of(0x4c, 0x4f, ...)`. */
export function magicsOf(source: string): string[] {
  const found = source.matchAll(/Protocol\.of\((0x[0-9a-f]+), (0x[0-9a-f]+)/g);
  return [...found].map(([, a, b]) => String.fromCharCode(Number(a), Number(b)));
}

/** Puts `text` before the block of a TOML file that holds `line`. */
function insertBefore(toml: string, header: string, line: string, text: string, path: string): string {
  const at = toml.indexOf(`\n${line}\n`);
  const block = at === -1 ? -1 : toml.lastIndexOf(`${header}\n`, at);
  if (block === -1) return wrong(`${path}: no block with ${line} to put the new one before`);
  return toml.slice(0, block) + text + toml.slice(block);
}

/** What would be written: path below the root, and its text. @throws Failure 2 for a bad or taken name. */
export function newService(name: string, root: string = ROOT): Map<string, string> {
  if (!NAME.test(name)) usage(`"${name}" is no service name: 2 to 15 of a-z, 0-9 and -, first a letter, last no -`);
  const read = (path: string): string => readFileSync(join(root, path), 'utf8');
  const lower = name.replaceAll('-', '_');
  const wires = [FRAMES, ...wireFiles(root)].map(read);
  const names: Names = { name, lower, upper: lower.toUpperCase(), magic: freeMagic(name, new Set(wires.flatMap(magicsOf))) };
  const fresh = new Map([
    [`assembly/lib/wire/${name}.ts`, wireText(names)],
    [`assembly/services/${name}/index.ts`, moduleText(names)],
    [`tests/services/${name}.test.ts`, testText(names)],
  ]);
  const manifest = read(MANIFEST);
  if (manifest.includes(`name = "${name}"\n`)) usage(`${MANIFEST} has a service "${name}" already`);
  for (const path of fresh.keys()) if (existsSync(join(root, path))) usage(`${path} exists already`);
  fresh.set(MANIFEST, insertBefore(manifest, '[[service]]', 'name = "selftest"', manifestText(names), MANIFEST));
  const markers = read(MARKERS);
  fresh.set(MARKERS, insertBefore(markers, '[[marker]]', 'text = "init: up selftest"', markerText(names), MARKERS));
  fresh.set(MUTANTS, withMutant(read(MUTANTS), names));
  return fresh;
}

/** init-lite's list of canaries with one more. */
function withMutant(source: string, names: Names): string {
  const [imports, end] = [source.indexOf('import { idOf }'), source.lastIndexOf('  return false;\n')];
  if (imports === -1 || end === -1) return wrong(`${MUTANTS}: not the list of canaries that new-service knows`);
  return source.slice(0, imports) + mutantImports(names) + source.slice(imports, end) + mutantLine(names) + source.slice(end);
}

function wireFiles(root: string): string[] {
  const folder = 'assembly/lib/wire';
  return readdirSync(join(root, folder)).filter((file) => file.endsWith('.ts')).map((file) => `${folder}/${file}`);
}

async function main(): Promise<number> {
  const [name, ...rest] = process.argv.slice(2);
  if (name === '--help') {
    console.log(USAGE);
    return 0;
  }
  if (name === undefined || rest.length > 0) usage(`one NAME is wanted\n${USAGE}`);
  const files = newService(name);
  for (const [path, text] of files) {
    mkdirSync(dirname(join(ROOT, path)), { recursive: true });
    writeFileSync(join(ROOT, path), text);
    console.log(`wrote ${path}`);
  }
  console.log(`next: just build, then RUN_UNTIL_MARKER='${name}: ready' just test-os, then just test-host tests/services/${name}.test.ts`);
  return 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await runMain('new-service', main);
