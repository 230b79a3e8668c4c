// SPDX-License-Identifier: Apache-2.0
// `vigil crash ls|show IMAGE`: the crash records of an image of /state, with function names where the build's are of the same bytes.
// Invariant: nothing is written; a slot that cannot be read or is of another version is named and makes the exit code 1, and never hides
// the others. Exit codes: 0 done, 1 damage (or no such record), 2 usage, 3 the image cannot be read.
import { join } from 'node:path';
import type { Command } from 'commander';
import { decodeCrash, NotARecord, type CrashRecord } from '../../runtime/crash/record.js';
import { culprit, json, report, time, trapName, type Tables } from '../../runtime/crash/report.js';
import { findSymbols } from '../../runtime/crash/symbols.js';
import { loadAbi, type Numbered } from '../lib/abi.js';
import { usage, wrong } from '../lib/fail.js';
import { ROOT, SYMBOLS } from '../lib/paths.js';
import type { StateImage } from '../lib/state-image.js';
import type { Job } from '../vigil.js';
import { note, print, printJson } from '../command/output.js';
import { openStore, warnOfDamage } from './state.js';

const PREFIX = '/state/crash/';
const NEXT = `${PREFIX}next`;

interface Options { json?: boolean; live?: boolean; symbols?: string }
interface Records { records: CrashRecord[]; bad: string[] }

function tables(): Tables {
  const abi = loadAbi(ROOT);
  const byNumber = (rows: Numbered[]): Map<number, string> => new Map(rows.map(({ name, number }) => [number, name]));
  return { traps: byNumber(abi.traps), errors: byNumber(abi.errors), calls: new Map(abi.syscalls.map(({ nr, name }) => [nr, name])) };
}

/** Every record, oldest first, and what could not be read. */
function recordsOf(image: StateImage): Records {
  const found: Records = { records: [], bad: [] };
  for (const { key } of image.status === 'blank' ? [] : [...image.keys(PREFIX)]) {
    if (key === NEXT) continue;
    const value = image.get(key);
    if (typeof value === 'string') {
      found.bad.push(`${key} cannot be read: ${value}`);
      continue;
    }
    try {
      found.records.push(decodeCrash(value));
    } catch (error) {
      if (!(error instanceof NotARecord)) throw error;
      found.bad.push(`${key} is no crash record: ${error.message}`);
    }
  }
  found.records.sort((a, b) => (a.sequence < b.sequence ? -1 : 1));
  return found;
}

/** Reads everything; says what is wrong on stderr. The second value is the exit code so far. */
async function read(path: string, options: Options): Promise<[CrashRecord[], number]> {
  const image = await openStore(path, options);
  const { records, bad } = recordsOf(image);
  image.close();
  for (const text of bad) note(text);
  return [records, Math.max(bad.length > 0 ? 1 : 0, warnOfDamage(path, image))];
}

const folderOf = (options: Options): string => options.symbols ?? join(ROOT, SYMBOLS);

async function ls(path: string, options: Options): Promise<number> {
  const [records, code] = await read(path, options);
  const names = tables();
  const rows = records.map((record) => ({ record, found: findSymbols(folderOf(options), record) }));
  if (options.json === true) {
    printJson({ image: path, crashes: rows.map(({ record, found }) => json(record, names, found)) });
    return code;
  }
  const width = Math.max(0, ...records.map(({ service }) => service.length));
  for (const { record, found } of rows) {
    const when = `${time(record.timeNs)} s`.padStart(18);
    const what = `${record.service.padEnd(width)}  ${trapName(names, record).padEnd(19)}`;
    print(`${String(record.sequence).padStart(5)}  ${what} ${when}  ${culprit(record, found)}`);
  }
  if (records.length === 0) note('no crash records');
  return code;
}

async function show(path: string, number: string | undefined, options: Options): Promise<number> {
  if (number !== undefined && !/^\d{1,19}$/.test(number)) usage(`${number} is no sequence number (vigil crash ls prints them)`);
  const [records, code] = await read(path, options);
  const record = number === undefined ? records.at(-1) : records.find(({ sequence }) => sequence === BigInt(number));
  if (record === undefined) return wrong(`${path} holds no crash record${number === undefined ? '' : ` ${number}`}`);
  const found = findSymbols(folderOf(options), record);
  if (options.json === true) printJson(json(record, tables(), found));
  else for (const line of report(record, tables(), found)) print(line);
  return code;
}

/** Registers `vigil crash`. */
export function register(program: Command, run: (job: Job) => void): void {
  const crash = program.command('crash').description('What services left behind that ended by a fault or by order.');
  const one = (name: string, what: string, examples: string[]): Command =>
    crash.command(name).description(what).argument('<image>', 'the image file, for example .vigil/state.img')
      .option('--json', 'print JSON')
      .option('--live', 'read it although a running machine uses it: its last bytes may be on their way')
      .option('--symbols <folder>', 'where the function names are (default: build/symbols of this checkout)')
      .addHelpText('after', `\nExamples:\n${examples.map((line) => `  vigil crash ${line}`).join('\n')}`);
  one('ls', 'List the records, oldest first: number, service, trap, guest time, function.', ['ls .vigil/state.img'])
    .action((image: string, options: Options) => run(() => ls(image, options)));
  one('show', 'Print one record (the newest unless a number is given).', ['show .vigil/state.img', 'show .vigil/state.img 17'])
    .argument('[number]', 'its sequence number')
    .action((image: string, number: string | undefined, options: Options) => run(() => show(image, number, options)));
}
