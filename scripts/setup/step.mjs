// SPDX-License-Identifier: Apache-2.0
//
// Owns: running one long set-up command (its output goes to build/setup.log), and the one error type of set-up.
// Invariant: what a command prints never reaches the terminal: a person sees one progress line, and one error on failure.
// Limits: keeps the last KEEP_BYTES of output for the diagnosis; ends a command after its own time limit.
import { spawn } from 'node:child_process';
import { appendFileSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

const KEEP_BYTES = 64 * 1024;
const PROGRESS_MS = 1_000;
const PLAIN_PROGRESS_MS = 15_000;

/** Set-up cannot go on: what is wrong, what to do about it, and the exit code (2 usage, 3 infrastructure). */
export class SetupError extends Error {
  constructor(problem, remedy, exitCode = 3) {
    super(`${problem}: ${remedy}`);
    this.problem = problem;
    this.remedy = remedy;
    this.exitCode = exitCode;
  }
}

/**
 * Runs a command to its end.
 * @returns {Promise<{code: number, output: string, timedOut: boolean}>} code 127 when it could not be started
 */
export function runStep({ label, command, args, env, cwd, logFile, limitMs }) {
  mkdirSync(dirname(logFile), { recursive: true });
  appendFileSync(logFile, `\n$ ${command} ${args.join(' ')}\n`);
  const startedMs = Date.now();
  const terminal = process.stderr.isTTY === true;
  const seconds = () => Math.round((Date.now() - startedMs) / 1000);
  const show = () =>
    process.stderr.write(
      terminal ? `\r\u001b[Ksetup: ${label} ... ${seconds()} s` : `setup: ${label} ... ${seconds()} s\n`,
    );
  show();
  const ticker = setInterval(show, terminal ? PROGRESS_MS : PLAIN_PROGRESS_MS);
  return new Promise((resolve) => {
    let output = '';
    let timedOut = false;
    let settled = false;
    const finish = (code) => {
      if (settled) return;
      settled = true;
      clearInterval(ticker);
      clearTimeout(limit);
      if (terminal) process.stderr.write('\r\u001b[K');
      resolve({ code, output, timedOut });
    };
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const limit = setTimeout(() => {
      timedOut = true;
      child.kill('SIGTERM');
    }, limitMs);
    const keep = (chunk) => {
      const text = chunk.toString('utf8');
      output = (output + text).slice(-KEEP_BYTES);
      try {
        appendFileSync(logFile, text);
      } catch {
        // A full disk stops the log, not the diagnosis: the command's own output names it.
      }
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.on('error', (error) => {
      output += String(error.message);
      finish(127);
    });
    child.on('close', (code) => finish(code ?? 1));
  });
}
