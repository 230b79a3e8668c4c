// SPDX-License-Identifier: Apache-2.0
// `just bench`: boots profile=bench and then the bare images, all under icount, reads the figures that they print, writes
// build/bench.json, prints them beside the budgets of boot/budgets.toml and compares them exactly with boot/bench.golden.json for this
// toolchain; below the table, the size of the kernel (scripts/size.ts).
// Refresh, after a change that is meant: `just bench --refresh`, and commit the golden file with the change that moved it.
// Exit codes: 0 within budget and as recorded, 1 not, 2 usage, 3 infrastructure.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { BARE_IMAGES, BARE_PREFIX, buildBareImage, runBareImage, type BareImage } from './bench/bare-image.js';
import { GOLDEN, benchTable, compare, guestFigures, readBudgets, readGolden, toolchainKey } from './gate/bench.js';
import type { Figures, Toolchain } from './gate/bench.js';
import { freshImage, withBuildOption } from './gate/fresh.js';
import { findQemu } from './gate/find-qemu.js';
import { parsed } from './gate/options.js';
import { boot, interruptible } from './gate/session.js';
import { parseTimeout, runWhole } from './gate/stop.js';
import { infra, runMain, wrong } from './lib/fail.js';
import { ROOT, pathsOf } from './lib/paths.js';
import { readSizes, sizeLines } from './size.js';

const GCC = 'riscv64-unknown-elf-gcc';

function packageVersion(name: string): string {
  return (JSON.parse(readFileSync(join(ROOT, 'node_modules', name, 'package.json'), 'utf8')) as { version: string }).version;
}

/** @throws Failure 3 when the compiler is missing. */
function toolchain(): Toolchain {
  const run = spawnSync(GCC, ['-dumpfullversion'], { encoding: 'utf8', timeout: 10_000 });
  if (run.error !== undefined || run.status !== 0) infra(`${GCC} is missing; run: just doctor`);
  return { gcc: run.stdout.trim(), asc: packageVersion('assemblyscript'), wabt: packageVersion('wabt') };
}

function imageBytes(): number {
  const dir = pathsOf(ROOT, 'shipping').image;
  return ['kernel.elf', 'bundle.vgb'].map((name) => statSync(join(dir, name)).size).reduce((a, b) => a + b, 0);
}

async function main(): Promise<number> {
  const program = new Command('bench')
    .description('Count guest instructions and compare them with budgets and with the golden file.')
    .option('--refresh', `record this run in ${GOLDEN} for this toolchain (refused when a budget is missed)`)
    .option('--timeout <duration>', 'host wall limit', '120s')
    .addHelpText('after', '\nExamples:\n  just bench\n  just bench --refresh   # after a change that is meant to move a figure');
  if (!parsed(withBuildOption(program))) return 0;
  const options = program.opts<{ refresh?: boolean; timeout: string; build: boolean }>();
  const budgets = readBudgets();
  const golden = readGolden();
  const tools = toolchain();
  const key = toolchainKey(tools);
  const timeoutMs = parseTimeout(options.timeout);
  await freshImage('shipping', options.build, (line) => console.log(line));
  const result = await boot({
    transport: 'modern', profile: 'bench', recipe: 'bench', stop: () => runWhole(timeoutMs), signal: interruptible(),
  });
  if (result.result !== 'pass') {
    for (const line of result.report) console.log(line);
    console.log(result.verdict);
    return result.exitCode;
  }
  const prefix = result.ladder.figures ?? wrong('markers/profiles/bench.toml names no figures');
  const qemuBinary = findQemu();
  const bare: Figures = {};
  for (const name of Object.keys(BARE_IMAGES) as BareImage[]) {
    const lines = runBareImage(qemuBinary.path, await buildBareImage(name));
    Object.assign(bare, guestFigures(lines, BARE_PREFIX, budgets, name));
  }
  const figures: Figures = {
    ...guestFigures(result.lines, prefix, budgets),
    ...bare,
    image_bytes: imageBytes(),
  };
  const qemu = qemuBinary.verdict.version;
  const known = golden[key]?.figures ?? null;
  const rows = compare(figures, budgets, options.refresh === true ? null : known);
  mkdirSync(join(ROOT, 'build'), { recursive: true });
  writeFileSync(join(ROOT, 'build/bench.json'), `${JSON.stringify({ ...figures, toolchain: { ...tools, qemu } }, null, 2)}\n`);
  for (const line of [...benchTable(rows), '', ...sizeLines(readSizes())]) console.log(line);
  const over = rows.filter((row) => row.overBudget).map((row) => row.key);
  const moved = rows.filter((row) => row.differs).map((row) => row.key);
  if (over.length > 0) console.log(`OVER BUDGET: ${over.join(', ')}`);
  if (options.refresh === true && over.length === 0) {
    const entry = { qemu, recorded_utc: new Date().toISOString(), figures };
    writeFileSync(join(ROOT, GOLDEN), `${JSON.stringify({ ...golden, [key]: entry }, null, 2)}\n`);
    console.log(`recorded in ${GOLDEN} for ${key}`);
  } else if (known === null) {
    console.log(`${GOLDEN} has no entry for ${key}: compared with the budgets alone`);
  } else if (moved.length > 0) {
    console.log(`MOVED from ${GOLDEN}: ${moved.join(', ')} (meant? just bench --refresh)`);
  }
  const good = over.length === 0 && moved.length === 0;
  const met = rows.length - new Set([...over, ...moved]).size;
  console.log(`${good ? 'PASS' : 'FAIL'} bench ${met}/${rows.length} rows (${key}, qemu ${qemu})`);
  return good ? 0 : 1;
}

await runMain('bench', main);
