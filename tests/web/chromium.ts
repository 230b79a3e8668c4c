// SPDX-License-Identifier: Apache-2.0
// Owns: a headless Chromium for tests, driven by the DevTools protocol over two pipes (no port, no library).
// Invariant: every wait has a deadline; what the page logs, and every address that it asks for, is kept; the browser and its profile are gone
// after close(). Limits: one page; the browser is found by name and never downloaded.
import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];
const executable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};
export const chromium: string | null =
  NAMES.flatMap((name) => (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, name))).find(executable) ?? null;
/** Why the browser tests do not run here; false: they do. */
export const skip: string | false = chromium === null ? `no browser (${NAMES.join(', ')})` : false;

const ANSWER_MS = 30_000;
const FLAGS = [
  '--headless', '--remote-debugging-pipe', '--no-first-run', '--no-default-browser-check', '--disable-gpu', '--disable-extensions', '--disable-sync',
  '--disable-background-networking', '--disable-component-update', '--disable-dev-shm-usage', '--force-device-scale-factor=1', '--hide-scrollbars',
  // To root Chromium refuses its sandbox; the page under test is our own.
  ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
];

type Params = Record<string, unknown>;
interface Message { id?: number; method?: string; params?: Params; result?: Params; error?: { message: string }; sessionId?: string }

export class Browser {
  /** what the page said: console, exceptions, refused by its security policy */
  readonly said: string[] = [];
  readonly requests: string[] = [];
  private readonly waiting = new Map<number, { resolve(result: Params): void; reject(error: Error): void }>();
  private nextId = 1;
  private session: string | undefined;
  private rest = '';
  private loads = 0;

  private constructor(private readonly child: ChildProcess, private readonly profile: string) {
    (child.stdio[4] as Readable).setEncoding('utf8').on('data', (chunk: string) => { this.take(chunk); });
    (child.stdio[3] as Writable).on('error', () => undefined); // its end is seen as the process's
    child.once('close', () => { for (const { reject } of this.waiting.values()) reject(new Error('the browser ended')); });
  }

  static async start(): Promise<Browser> {
    const profile = mkdtempSync(join(tmpdir(), 'vigil-chromium-'));
    const child = spawn(chromium!, [...FLAGS, `--user-data-dir=${profile}`, 'about:blank'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    const browser = new Browser(child, profile);
    try {
      const { targetId } = await browser.ask('Target.createTarget', { url: 'about:blank' });
      const { sessionId } = await browser.ask('Target.attachToTarget', { targetId, flatten: true });
      browser.session = sessionId as string;
      for (const domain of ['Page', 'Runtime', 'Network', 'Log', 'DOM']) await browser.ask(`${domain}.enable`);
    } catch (error) {
      await browser.close();
      throw error;
    }
    return browser;
  }

  ask(method: string, params: Params = {}): Promise<Params> {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => { this.waiting.delete(id); reject(new Error(`${method}: no answer in ${ANSWER_MS} ms`)); }, ANSWER_MS);
      const done = <T>(then: (value: T) => void) => (value: T): void => { clearTimeout(timer); this.waiting.delete(id); then(value); };
      this.waiting.set(id, { resolve: done(resolve), reject: done(reject) });
      (this.child.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, ...(this.session === undefined ? {} : { sessionId: this.session }) })}\0`);
    });
  }

  /** Opens an address and waits for its load. */
  async open(url: string): Promise<void> {
    const before = this.loads;
    await this.ask('Page.navigate', { url });
    await this.until('the load', () => this.loads > before);
  }

  /** Waits until something else has loaded a page. */
  async loaded(action: () => Promise<unknown>): Promise<void> {
    const before = this.loads;
    await action();
    await this.until('the load', () => this.loads > before);
  }

  /** The value of an expression in the page; promises are awaited. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.ask('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails));
    return (result as { value: T }).value;
  }

  async key(key: 'Tab' | 'Enter' | ' ', shift = false): Promise<void> {
    const code = key === ' ' ? 'Space' : key;
    const about = { key, code, windowsVirtualKeyCode: { Tab: 9, Enter: 13, ' ': 32 }[key], modifiers: shift ? 8 : 0, ...(key === 'Tab' ? {} : { text: key === 'Enter' ? '\r' : ' ' }) };
    await this.ask('Input.dispatchKeyEvent', { type: 'keyDown', ...about });
    await this.ask('Input.dispatchKeyEvent', { type: 'keyUp', ...about });
  }

  async scheme(value: 'light' | 'dark', media = ''): Promise<void> {
    await this.ask('Emulation.setEmulatedMedia', { media, features: [{ name: 'prefers-color-scheme', value }] });
  }
  async width(width: number, height = 900): Promise<void> {
    await this.ask('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
  }
  async screenshot(): Promise<Buffer> {
    const { data } = await this.ask('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true });
    return Buffer.from(data as string, 'base64');
  }

  async close(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const ended = new Promise((resolve) => { this.child.once('close', resolve); });
      this.child.kill('SIGTERM');
      const killer = setTimeout(() => { this.child.kill('SIGKILL'); }, 5_000);
      await ended;
      clearTimeout(killer);
    }
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  private async until(what: string, done: () => boolean): Promise<void> {
    const deadline = performance.now() + ANSWER_MS;
    while (!done()) {
      if (performance.now() > deadline) throw new Error(`${what} did not come in ${ANSWER_MS} ms`);
      await sleep(20);
    }
  }

  private take(chunk: string): void {
    const parts = (this.rest + chunk).split('\0');
    this.rest = parts.pop()!;
    for (const part of parts) {
      const { id, method, params = {}, result, error } = JSON.parse(part) as Message;
      const waiting = id === undefined ? undefined : this.waiting.get(id);
      if (waiting !== undefined) {
        if (error === undefined) waiting.resolve(result ?? {});
        else waiting.reject(new Error(error.message));
      }
      if (method === 'Page.loadEventFired') this.loads++;
      if (method === 'Network.requestWillBeSent') this.requests.push((params['request'] as { url: string }).url);
      if (method === 'Log.entryAdded') this.said.push((params['entry'] as { text: string }).text);
      if (method === 'Runtime.exceptionThrown' || method === 'Runtime.consoleAPICalled') this.said.push(JSON.stringify(params));
    }
  }
}
