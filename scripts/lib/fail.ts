// SPDX-License-Identifier: Apache-2.0
// How a host tool ends: one line that says what is wrong and what to do, and one of four exit codes.
// Invariant: every failure that a person can cause or mend is a Failure; anything else is a bug and keeps its stack.

/** Exit codes shared by every script: 0 done, 1 the product is wrong, 2 usage, 3 infrastructure (tool, disk, port). */
export type ExitCode = 1 | 2 | 3;

/** A failure with a one-line message and an exit code. */
export class Failure extends Error {
  constructor(
    readonly exitCode: ExitCode,
    message: string,
  ) {
    super(message);
    this.name = 'Failure';
  }
}

/** A file of ours says something wrong (exit code 1). */
export function wrong(message: string): never {
  throw new Failure(1, message);
}

/** The command line is wrong (exit code 2). */
export function usage(message: string): never {
  throw new Failure(2, message);
}

/** The machine lacks something (exit code 3). */
export function infra(message: string): never {
  throw new Failure(3, message);
}

const INFRA_CODES: Record<string, string> = {
  ENOSPC: 'the disk is full; free some space and run again',
  EACCES: 'permission denied; check who owns the checkout',
  EROFS: 'the file system is read-only',
  EISDIR: 'a folder lies where a file belongs; remove it and run again',
  ENOTDIR: 'a file lies where a folder belongs; remove it and run again',
  EMFILE: 'too many open files; raise `ulimit -n`',
  EADDRINUSE: 'the address is taken; end the run that holds it, or choose another port',
  EBUSY: 'the file is in use; end the run that holds it and run again',
  ETXTBSY: 'the program is running; end it and run again',
  EDQUOT: 'the disk quota is used up; free some space and run again',
};

/** What nobody can read or keep any more ends the script: a reader that left wants no more (signal handlers clean up), the rest is 3. */
function outputLost(name: string, error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') {
    if (process.listenerCount('SIGTERM') > 0) process.emit('SIGTERM');
    else process.exit(process.exitCode);
    return;
  }
  process.stderr.write(`${name}: the output cannot be written: ${error.message}\n`);
  process.exit(3);
}

/** Runs a script's main and turns its outcome into the process's exit code. */
export async function runMain(name: string, main: () => Promise<number>): Promise<void> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => outputLost(name, error));
  try {
    process.exitCode = await main();
  } catch (error) {
    if (error instanceof Failure) {
      process.stderr.write(`${name}: ${error.message}\n`);
      process.exitCode = error.exitCode;
      return;
    }
    const code = (error as NodeJS.ErrnoException).code ?? '';
    const hint = Object.hasOwn(INFRA_CODES, code) ? INFRA_CODES[code] : undefined;
    if (hint !== undefined) {
      process.stderr.write(`${name}: ${hint} (${(error as Error).message})\n`);
      process.exitCode = 3;
      return;
    }
    process.stderr.write(`${name}: internal error: ${(error as Error).stack ?? String(error)}\n`);
    process.exitCode = 1;
  }
}
