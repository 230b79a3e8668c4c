#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Stands in for QEMU where a test needs QEMU to misbehave: prints a file, waits, ends as told. It proves nothing about the guest.
// STAND_IN_CONSOLE: file to print; STAND_IN_WAIT_MS: wait before the end; STAND_IN_STATUS; STAND_IN_SIGNAL; STAND_IN_STUBBORN=1.
import { appendFileSync, readFileSync, writeSync } from 'node:fs';

const { env } = process;
if (process.argv.includes('--version')) {
  console.log(env.STAND_IN_VERSION ?? 'QEMU emulator version 7.2.22 (stand-in)');
  process.exit(0);
}
if (env.STAND_IN_PIDS) appendFileSync(env.STAND_IN_PIDS, `${process.pid}\n`);
if (env.STAND_IN_ARGV) appendFileSync(env.STAND_IN_ARGV, `${JSON.stringify(process.argv.slice(2))}\n`);
if (env.STAND_IN_STDERR) process.stderr.write(`${env.STAND_IN_STDERR}\n`);
if (env.STAND_IN_STUBBORN === '1') process.on('SIGTERM', () => undefined);
if (env.STAND_IN_CONSOLE) {
  const bytes = readFileSync(env.STAND_IN_CONSOLE);
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at, Math.min(700, bytes.length - at));
}
setTimeout(() => {
  if (env.STAND_IN_SIGNAL) process.kill(process.pid, env.STAND_IN_SIGNAL);
  process.exit(Number(env.STAND_IN_STATUS ?? 0));
}, Number(env.STAND_IN_WAIT_MS ?? 0));
