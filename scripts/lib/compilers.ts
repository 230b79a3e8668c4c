// SPDX-License-Identifier: Apache-2.0
// Warm compilers: up to COMPILERS_MAX worker threads, started when first needed, that serve a queue of jobs in order.
// `npm start` and --watch keep one Compilers for their life, so that a one-line change meets a warm compiler.
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { AscJob, AscResult } from './asc.js';
import { Failure } from './fail.js';

const COMPILERS_MAX = 2;

/** Bytes to validate instead of a source to compile. */
interface ValidateJob {
  validate: Uint8Array;
  name: string;
}
interface Waiting {
  job: AscJob | ValidateJob;
  resolve(result: AscResult): void;
  reject(error: Error): void;
}
interface Thread {
  worker: Worker;
  current: Waiting | null;
}
type Answer = AscResult | { error: string; failure: boolean };

export class Compilers {
  private readonly threads: Thread[] = [];
  private readonly queue: Waiting[] = [];

  /** Compiles one module and validates it with threads disabled. @throws Failure 1 with one line an error. */
  compile(job: AscJob): Promise<AscResult> {
    return this.submit(job);
  }

  /** Validates a finished module with threads and every other unused feature disabled. @throws Failure 1. */
  async validate(bytes: Uint8Array, name: string): Promise<void> {
    await this.submit({ validate: bytes, name });
  }

  private submit(job: AscJob | ValidateJob): Promise<AscResult> {
    return new Promise((resolve, reject) => {
      this.queue.push({ job, resolve, reject });
      this.pump();
    });
  }

  private pump(): void {
    const limit = Math.min(COMPILERS_MAX, availableParallelism());
    while (this.queue.length > 0) {
      let thread = this.threads.find(({ current }) => current === null);
      if (thread === undefined) {
        if (this.threads.length >= limit) return;
        thread = this.start();
      }
      thread.current = this.queue.shift()!;
      thread.worker.ref();
      thread.worker.postMessage(thread.current.job);
    }
  }

  private start(): Thread {
    const worker = new Worker(new URL('./compile-worker.mjs', import.meta.url), { execArgv: [] });
    const thread: Thread = { worker, current: null };
    worker.on('message', (answer: Answer) => {
      const waiting = thread.current;
      thread.current = null;
      worker.unref(); // an idle compiler keeps no process alive
      if ('wasm' in answer) waiting?.resolve(answer);
      else waiting?.reject(answer.failure ? new Failure(1, answer.error) : new Error(answer.error));
      this.pump();
    });
    worker.on('error', (error: Error) => {
      // A dead thread must not be given another job; its own job fails.
      this.threads.splice(this.threads.indexOf(thread), 1);
      thread.current?.reject(error);
      this.pump();
    });
    this.threads.push(thread);
    return thread;
  }

  /** Ends the worker threads. */
  async close(): Promise<void> {
    await Promise.all(this.threads.splice(0).map(({ worker }) => worker.terminate()));
  }
}
