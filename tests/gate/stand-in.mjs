#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Stands in for QEMU where a test needs QEMU to misbehave: prints a file, waits, ends as told. It proves nothing about the guest.
// STAND_IN_CONSOLE: file to print, with @NONCE@ replaced by the nonce of -append. STAND_IN_MUTANT_CONSOLE: the same, where -append
// names a mutant. STAND_IN_NTH_CONSOLE=N:FILE: the same, in the N-th boot that STAND_IN_PIDS counts. STAND_IN_TERMINAL_BYTES: how
// much of it reaches the terminal (all of it reaches the console log). STAND_IN_WAIT_MS: wait before the end. STAND_IN_STATUS,
// STAND_IN_SIGNAL: how it ends. STAND_IN_STUBBORN=1: ignores SIGTERM. STAND_IN_STDERR, STAND_IN_VERSION: what it says.
// STAND_IN_DISK_FULL=1: from here on nothing can be written to uart.log.
import { appendFileSync, readFileSync, rmSync, symlinkSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';

const { env } = process;
if (process.argv.includes('--version')) {
  console.log(env.STAND_IN_VERSION ?? 'QEMU emulator version 7.2.22 (stand-in)');
  process.exit(0);
}
if (env.STAND_IN_PIDS) appendFileSync(env.STAND_IN_PIDS, `${process.pid}\n`);
if (env.STAND_IN_ARGV) appendFileSync(env.STAND_IN_ARGV, `${JSON.stringify(process.argv.slice(2))}\n`);
if (env.STAND_IN_STDERR) process.stderr.write(`${env.STAND_IN_STDERR}\n`);
if (env.STAND_IN_STUBBORN === '1') process.on('SIGTERM', () => undefined);
const append = process.argv[process.argv.indexOf('-append') + 1];
const nonce = /nonce=(\w+)/.exec(append)?.[1] ?? '';
const nth = env.STAND_IN_PIDS ? readFileSync(env.STAND_IN_PIDS, 'utf8').trim().split('\n').length : 0;
const [chosen, file] = (env.STAND_IN_NTH_CONSOLE ?? ':').split(':');
const mutant = /mutant=/.test(append) ? env.STAND_IN_MUTANT_CONSOLE : undefined;
const path = Number(chosen) === nth && file ? file : (mutant ?? env.STAND_IN_CONSOLE);
if (path) {
  const bytes = Buffer.from(readFileSync(path, 'latin1').replaceAll('@NONCE@', nonce), 'latin1');
  const log = process.argv.map((arg) => /logfile=(.*)$/.exec(arg)?.[1]).find((path) => path !== undefined);
  if (log) appendFileSync(log, bytes);
  if (log && env.STAND_IN_DISK_FULL === '1') {
    rmSync(join(dirname(log), 'uart.log'));
    symlinkSync('/dev/full', join(dirname(log), 'uart.log'));
  }
  const end = Math.min(bytes.length, Number(env.STAND_IN_TERMINAL_BYTES ?? bytes.length));
  for (let at = 0; at < end; ) at += writeSync(1, bytes, at, Math.min(700, end - at));
}
setTimeout(() => {
  if (env.STAND_IN_SIGNAL) process.kill(process.pid, env.STAND_IN_SIGNAL);
  process.exit(Number(env.STAND_IN_STATUS ?? 0));
}, Number(env.STAND_IN_WAIT_MS ?? 0));
